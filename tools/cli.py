"""The command `pullback`: compile ahead of time, show a stage, inspect and run a library.

Results go to stdout, messages to stderr. Exit codes: 0 done, 1 the program or its input is at
fault, 2 wrong usage, 70 a defect of pullback. `run` and `inspect` load neither torch nor MLIR.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..runtime.errors import PullbackError
from . import isolation

app = typer.Typer(
    help=__doc__.splitlines()[0],
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Function = Annotated[
    str, typer.Argument(metavar="FILE.py:FUNCTION", help="The torch function, by file and name.")
]
Transform = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION",
        help="What to compile, with `f` for FUNCTION: 'vmap(hessian(f), in_dims=(0,))'. "
        "Transforms: grad, grad_and_value, vmap, vjp, jvp, jacrev, jacfwd, hessian, linearize. "
        "Omitted: the function itself.",
    ),
]
Args = Annotated[
    list[str],
    typer.Option(
        "--arg",
        metavar="NAME=DTYPE[SHAPE]",
        help="An argument of the transformed function: x=f64[256,6], or a leaf of a pytree, "
        "params.w=f32[3] or params[0]=f32[3]; n=3 is a static value. One for each, in any order.",
    ),
]
Example = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A function in FILE.py that returns example arguments, instead of --arg.",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the entry point; default: FUNCTION.")]
Library = Annotated[Path, typer.Argument(metavar="NAME.so", exists=True, dir_okay=False)]


@app.command()
def compile(
    function: Function,
    transform: Transform = None,
    arg: Args = [],  # noqa: B006  (typer reads the default)
    example: Example = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where NAME.so and NAME.h go.")
    ] = Path(),
    name: Name = None,
    params: Annotated[
        str, typer.Option(help="Captured tensors (weights): args, embed or file.")
    ] = "embed",
) -> None:
    """Compile FUNCTION, transformed, to NAME.so and NAME.h."""
    raise NotImplementedError


def main() -> None:
    app()


_ = (isolation, Any, Iterator, contextmanager, sys, PullbackError, Library)
if __name__ == "__main__":
    main()
