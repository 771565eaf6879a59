"""The command `pullback`: compile ahead of time, show a stage, inspect and run a library.

Results go to stdout, messages to stderr. Exit codes: 0 done, 1 the program or its input is at
fault, 2 wrong usage, 70 a defect of pullback. `run` and `inspect` load neither torch nor MLIR.
"""

from __future__ import annotations

import difflib
import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..runtime.errors import PullbackError

app = typer.Typer(
    help="Ahead-of-time compiler for torch functions, their derivatives and batched versions.",
    epilog="Exit codes: 0 done, 1 the program or its input is at fault, 2 wrong usage, "
    "70 a defect of pullback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Function = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FUNCTION",
        help="The torch function, by file and name. Also package.module:FUNCTION; the name may be "
        "that of a torch.nn.Module, GraphModule or ExportedProgram. Or FILE.pt2, a program written "
        "by torch.export.save, whose example inputs stand for --arg.",
    ),
]
Transform = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION",
        help="What to compile, with `f` for FUNCTION, in any nesting: grad, grad_and_value, "
        "jacrev, jacfwd, hessian (argnums, has_aux and chunk_size as in torch.func); vmap(f, "
        "in_dims, out_dims, chunk_size=N); vjp(f) takes the primals and `ct`, and gives the output "
        "and the cotangents of the primals; jvp(f) and linearize(f) take the primals and for "
        "each, x, its tangent x_dot, and give the output and its tangent; functional(f) of a "
        "module takes its parameters first, as `params`. Examples: 'vmap(hessian(f), "
        "in_dims=(0,))', 'vjp(f, argnums=0)', 'grad(functional(f))'. Omitted: the function itself.",
    ),
]
Args = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="NAME=DTYPE[SHAPE]",
        help="An argument of the transformed function: x=f64[256,6], or a leaf of a pytree, "
        "params.w=f32[3] or params[0]=f32[3]; n=3 is a static value. Repeat for each; dtypes are "
        "bf16, f16, f32, f64, i32, i64, bool, and f32[] is a scalar.",
    ),
]
Example = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A function in FILE.py that returns example arguments (a tuple, or a dict of keyword "
        "arguments), instead of --arg.",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the C function; default: FUNCTION.")]
Params = Annotated[
    Literal["embed", "args", "file"],
    typer.Option(
        help="Where tensors go that FUNCTION reaches otherwise (weights): into the library, "
        "further inputs, or NAME.params beside the library."
    ),
]
Target = Annotated[
    Literal["cpu", "cuda"],
    typer.Option(help="What the library runs on: this CPU, or NVIDIA GPUs (none is needed here)."),
]
Tf32 = Annotated[
    bool,
    typer.Option("--tf32", help="Products of f32 on a GPU may round their factors to TF32."),
]
Library = Annotated[Path, typer.Argument(metavar="NAME.so", exists=True, dir_okay=False)]

STAGES = (
    "captured",
    "pb",
    "expanded",
    "simplified",
    "linalg",
    "scheduled",
    "bufferized",
    "llvm-dialect",
    "llvm",
    "asm",
)
CUDA_STAGES = (
    *STAGES[:5],
    "bufferized",
    "kernels",
    "planned",
    "outlined",
    "nvvm",
    "ptx",
    "sass",
)


@app.command()
def compile(
    function: Function,
    transform: Transform = None,
    arg: Args = None,
    example: Example = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where NAME.so and NAME.h go.")
    ] = Path(),
    name: Name = None,
    params: Params = "embed",
    target: Target = "cpu",
    tf32: Tf32 = False,
) -> None:
    """Compile FUNCTION, transformed, to NAME.so and NAME.h.

    For example: pullback compile model.py:loss --transform "grad(f)" --arg w=f32[10] -o build
    """
    from . import isolation

    if not isolation.in_child():
        raise typer.Exit(isolation.run_again(__spec__.name))
    with progress("importing torch and MLIR") as say:
        from ..frontend.precision import tf32_wanted
        from ..pipelines import targets

        lowered = lower(function, transform, arg, example, name, params, say)
        out.mkdir(parents=True, exist_ok=True)

        def watch(stage: str, state: Any) -> None:
            isolation.record(stage, state)
            say(f"compiling: {stage} done")

        module = lowered.module()
        with module.context:
            path = targets.pipeline(target).build(
                module,
                lowered.interface,
                out,
                targets.options(target, tf32_wanted(target, tf32 or None)),
                watch,
            )
    size = path.stat().st_size
    print(f"{path} ({size / 1024:.1f} KB), {path.with_suffix('.h')}", file=sys.stderr)


@app.command()
def show(
    function: Function,
    stage: Annotated[
        str,
        typer.Option(
            metavar="NAME | A..B",
            help=f"One of {', '.join(STAGES)}; for the target cuda {', '.join(CUDA_STAGES)}.",
        ),
    ] = "simplified",
    transform: Transform = None,
    arg: Args = None,
    example: Example = None,
    name: Name = None,
    params: Params = "embed",
    target: Target = "cpu",
    tf32: Tf32 = False,
) -> None:
    """Print the program as it is after a stage, or the difference between two."""
    from . import isolation

    names = stage.split("..")
    known = STAGES if target == "cpu" else CUDA_STAGES
    if len(names) > 2 or not set(names) <= set(known):
        raise typer.BadParameter(f"{stage!r} is not one of {', '.join(known)}, or two as A..B")
    if not isolation.in_child():
        raise typer.Exit(isolation.run_again(__spec__.name))
    with progress("importing torch and MLIR") as say:
        lowered = lower(function, transform, arg, example, name, params, say)
        texts = [stage_text(lowered, one, target, tf32) for one in names]
    if len(texts) == 1:
        print(texts[0].rstrip())
    else:
        before, after = (text.splitlines() for text in texts)
        print("\n".join(difflib.unified_diff(before, after, *names[:2], lineterm="", n=2)))


@app.command()
def inspect(library: Library) -> None:
    """Print the manifest of a library: inputs, outputs, target, cost, errors; as JSON.

    Of one for GPUs also the kernels: grid, block, registers, shared memory, spills, occupancy.
    """
    from ..runtime.manifest import read

    print(json.dumps(read(library), indent=2))


@app.command()
def run(
    library: Library,
    inputs: Annotated[Path, typer.Argument(metavar="IN.npz", exists=True, dir_okay=False)],
    outputs: Annotated[Path, typer.Argument(metavar="OUT.npz", dir_okay=False)],
) -> None:
    """Call a library with arrays by name from IN.npz and write its results by name to OUT.npz."""
    from ..runtime import execute

    function = execute.run(library, inputs, outputs)
    print(f"{outputs}: {', '.join(spec.name for spec in function.outputs)}", file=sys.stderr)


def lower(
    function: str,
    transform: str | None,
    arg: list[str] | None,
    example: str | None,
    name: str | None,
    params: Any,
    say: Any,
) -> Any:
    """Everything before the pipeline, from the texts of the options."""
    from ..frontend import command
    from ..frontend import compile as compiler

    say("capturing")
    try:
        job = command.resolve(function, transform, arg or (), example, name)
        return compiler.lower(job.function, job.args, job.kwargs, job.name, params, job.transform)
    except (PullbackError, OSError):
        raise
    except Exception as error:  # of the user's own code, or of torch about it
        file = str(Path(function.rpartition(":")[0]).resolve())
        frames = traceback.extract_tb(error.__traceback__)
        places = [(file, frame.lineno or 0) for frame in frames if frame.filename == file]
        message = f"{type(error).__name__}: {error}"
        raise PullbackError(message, places[-1] if places else None) from None


def stage_text(lowered: Any, stage: str, target: Target, tf32: bool) -> str:
    if stage == "captured":
        return str(lowered.traced.graph)
    module = lowered.module()
    if stage == "pb":
        return str(module)
    from ..frontend.precision import tf32_wanted
    from ..pipelines import targets

    with module.context:
        return targets.pipeline(target).show(
            module,
            lowered.interface,
            stage,
            targets.options(target, tf32_wanted(target, tf32 or None)),
        )


@contextmanager
def progress(text: str) -> Iterator[Any]:
    """A line on stderr that says what is happening, if a person is looking."""
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield status.update


def main() -> None:
    try:
        app()
    except PullbackError as error:
        from ..dialects.errors import InternalError

        print(f"pullback: error: {error}", file=sys.stderr)
        sys.exit(70 if isinstance(error, InternalError) else 1)
    except OSError as error:
        print(f"pullback: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
