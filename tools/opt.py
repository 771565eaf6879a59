"""`pullback-opt`: reads pb modules, runs named passes over them, prints what comes out.

A pass is a function of the module (those of the dialect and the lowering stages) or any upstream
pass by its pipeline name. What `pullback show --stage X` prints is accepted here.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mlir import ir

SEPARATOR = re.compile(r"^// -----.*\n?", re.MULTILINE)
EXPECTATION = re.compile(r"expected-error\s*(?:@([+-]\d+|above|below))?\s*\{\{(.*?)\}\}")


class Diagnostic(NamedTuple):
    line: int | None
    message: str


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments().parse_args(argv)
    try:
        stdin = options.input == "-"
        data = sys.stdin.buffer.read() if stdin else Path(options.input).read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"pullback-opt: error: {options.input}: {error}")
    sys.exit(guarded(lambda: process(text, options)))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "pullback-opt",
        description="Reads pb modules, runs passes over them in order, prints what comes out.",
        epilog=f"Passes of pullback: {', '.join(PASSES)}; the stages that `pullback show` prints, "
        "from linalg on; any other name is a pass of mlir-opt.",
        allow_abbrev=False,
    )
    parser.add_argument("input", nargs="?", default="-", help="a file, or - for stdin (default)")
    parser.add_argument(
        "-p",
        "--passes",
        dest="pipeline",
        action="extend",
        default=[],
        type=split_passes,
        metavar="PASSES",
        help="comma-separated passes, in order: 'pb-expand-transforms,pb-simplify,cse'",
    )
    for name in PASSES:
        parser.add_argument(
            f"--{name}", dest="pipeline", action="append_const", const=name, help=argparse.SUPPRESS
        )
    parser.add_argument(
        "--split-input-file", action="store_true", help="treat the parts between // ----- alone"
    )
    parser.add_argument(
        "--verify-diagnostics",
        action="store_true",
        help="check errors against the comments // expected-error@+1 {{part of the message}}",
    )
    parser.add_argument(
        "--print-ir-after-all",
        action="store_true",
        help="print the module after each pass (stderr)",
    )
    parser.add_argument(
        "--mlir-print-debuginfo", action="store_true", help="print the location of each op"
    )
    return parser


def split_passes(text: str) -> list[str]:
    """Splits at commas outside of the options {...} and nested pipelines (...) of a pass."""
    names, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "({") - (character in ")}")
        if character == "," and depth == 0:
            names.append(text[start:i])
            start = i + 1
    return [name.strip() for name in (*names, text[start:]) if name.strip()]


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, run in a child process: upstream passes assert on some input."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        except Exception as error:  # a defect of a rule or a pass: where, without a traceback
            frame = traceback.extract_tb(error.__traceback__)[-1]
            what = f"internal error: {type(error).__name__}: {error}"
            print(f"pullback-opt: {what} ({frame.filename}:{frame.lineno})", file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        print(f"pullback-opt: error: MLIR ended with {name}", file=sys.stderr)
        return 1
    return os.waitstatus_to_exitcode(status)


def process(text: str, options: argparse.Namespace) -> int:
    """Runs the passes over each part of the input; 0 if every part went as expected."""
    file = "<stdin>" if options.input == "-" else options.input
    printed, failed = [], False
    for line, part in parts(text, options.split_input_file):
        expected = list(expectations(part, line)) if options.verify_diagnostics else []
        found, output = run_part("\n" * line + part, options)
        if output is not None:
            printed.append(output)
        for diagnostic in mismatches(found, expected):
            where = f"{file}:{diagnostic.line}" if diagnostic.line else file
            print(f"{where}: {diagnostic.message}", file=sys.stderr)
            failed = True
    sys.stdout.write("// -----\n".join(printed))
    return int(failed)


def parts(text: str, split: bool) -> Iterable[tuple[int, str]]:
    """The parts of the input, each with the number of lines before it."""
    start = 0
    for match in SEPARATOR.finditer(text) if split else ():
        yield text.count("\n", 0, start), text[start : match.start()]
        start = match.end()
    yield text.count("\n", 0, start), text[start:]


def run_part(text: str, options: argparse.Namespace) -> tuple[list[Diagnostic], str | None]:
    """The errors of one part; what comes out of it, if there are none."""
    from mlir import ir

    from ..dialects import pb  # noqa: F401  (registers the dialect)
    from ..dialects.errors import PullbackError

    with ir.Context():
        try:
            program = Program(ir.Module.parse(text))
            for name in options.pipeline:
                program.run(name)
                if options.print_ir_after_all:
                    dump = program.text(options.mlir_print_debuginfo)
                    print(f"// -----// IR dump after {name} //----- //\n{dump}", file=sys.stderr)
            return [], program.text(options.mlir_print_debuginfo)
        except ir.MLIRError as error:  # pyright: ignore[reportAttributeAccessIssue]
            return [from_mlir(d) for d in error.error_diagnostics] or [
                Diagnostic(None, str(error).removeprefix("error: "))
            ], None
        except PullbackError as error:
            return [Diagnostic(error.location and error.location[1], error.message)], None


def from_mlir(diagnostic: Any) -> Diagnostic:
    from ..dialects.diagnostics import user_location

    location = user_location(diagnostic.location)
    notes = [f"\n  note: {note.message}" for note in diagnostic.notes]
    return Diagnostic(location and location[1], diagnostic.message + "".join(notes))


class Program:
    """A module on its way through passes and stages."""

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.lowering: Any = None  # the state of the CPU pipeline, once in it

    def run(self, name: str) -> None:
        from ..dialects.errors import VerifyError
        from ..pipelines import cpu

        stage = next((stage for stage in cpu.STAGES if stage.name == name), None)
        if name in PASSES:
            transform = import_module(f"..dialects.pb.transforms.{PASSES[name]}", __package__)
            refuse_foreign_ops(self.module)
            transform.run(self.module)
        elif stage is not None:
            self.lowering = self.lowering or cpu.Compilation(
                self.module, interface(self.module), cpu.Options()
            )
            if name.startswith("llvm") and self.lowering.lowered is None:
                raise VerifyError(f"{name} needs the stage linalg before it in the same run")
            stage.run(self.lowering)
        else:
            self.upstream(name)
        self.module.operation.verify()

    def upstream(self, name: str) -> None:
        from mlir.passmanager import PassManager

        from ..dialects.errors import VerifyError

        try:
            manager = PassManager.parse(f"builtin.module({name})")
        except ValueError as error:
            raise VerifyError(f"unknown pass: {str(error).splitlines()[0]}") from None
        manager.run(self.module.operation)

    def text(self, locations: bool) -> str:
        if self.lowering is not None and self.lowering.code is not None:
            return self.lowering.text()
        return str(self.module.operation.get_asm(enable_debug_info=locations)).rstrip("\n") + "\n"


def refuse_foreign_ops(module: ir.Module) -> None:
    """The transforms know the ops of pb only."""
    from ..dialects.diagnostics import user_location
    from ..dialects.errors import VerifyError
    from ..dialects.pb import OPS
    from ..dialects.pb.transforms import functions

    for function in functions.functions(module):
        for op in functions.ops(function):
            if op.operation.name not in OPS:
                raise VerifyError(f"{op.operation.name} is no op of pb", user_location(op.location))


def interface(module: ir.Module) -> Any:
    """The interface of an artifact made of @main, for the stages that need one."""
    from ..dialects.errors import VerifyError
    from ..dialects.pb.transforms import functions
    from ..dialects.pb.types import element_type, shape
    from ..pipelines.cpu import Interface, TensorSpec

    for function in functions.functions(module):
        if function.name.value == "main":
            break
    else:
        raise VerifyError("the stages of a pipeline need a function @main")

    def specs(kind: str, types: Iterable[ir.Type]) -> list[TensorSpec]:
        names = {"i1": "bool"}
        return [
            TensorSpec(
                f"{kind}{i}", names.get(str(element_type(t)), str(element_type(t))), shape(t)
            )
            for i, t in enumerate(types)
        ]

    type_ = function.type
    return Interface("f", specs("in", type_.inputs), specs("out", type_.results))


def expectations(text: str, before: int) -> Iterable[Diagnostic]:
    for number, line in enumerate(text.splitlines(), before + 1):
        for offset, message in EXPECTATION.findall(line):
            step = {"": 0, "above": -1, "below": 1}.get(offset)
            yield Diagnostic(number + (int(offset) if step is None else step), message)


def mismatches(found: list[Diagnostic], expected: list[Diagnostic]) -> list[Diagnostic]:
    """Errors that were not expected, and expected ones that did not come."""
    missing, surprises = list(expected), []
    for error in found:
        match = next(
            (e for e in missing if e.line == error.line and e.message in error.message), None
        )
        if match is None:
            surprises.append(error._replace(message=f"error: {error.message}"))
        else:
            missing.remove(match)
    return surprises + [
        e._replace(message=f'error: expected error "{e.message}" was not produced') for e in missing
    ]


#: Name of a pass -> its file in dialects/pb/transforms.
PASSES = {
    "pb-inline": "inline",
    "pb-expand-transforms": "expand",
    "pb-jvp": "jvp",
    "pb-linearize": "linearize",
    "pb-transpose": "transpose",
    "pb-vmap": "vmap",
    "pb-simplify": "simplify",
}

if __name__ == "__main__":
    main()
