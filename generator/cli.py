"""The command line: ``tilewright COMMAND``.

Exit codes: 0 success, 1 the design failed its check, 2 the input is wrong, 3 a tool is missing or
broke, 130 interrupted, 141 the reader of our output went away, 70 a fault of ours (with a traceback).
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer
from tilewright import __version__
from tilewright.errors import TilewrightError, ToolError

try:
    from typer.exceptions import TyperException as UsageProblem
except ImportError:  # before typer 0.26, its exceptions were click's
    from click import ClickException as UsageProblem  # type: ignore[assignment]

# A module of tilewright.commands each, in the order of --help. Commands import what is heavy when they run.
COMMANDS = ("new", "check", "build", "verify", "synth", "run", "report", "demo", "schema", "doctor")

INTERRUPTED = 130
BROKEN_PIPE = 141
INTERNAL_FAULT = 70

# What the machine refuses is no fault of ours: told in one line.
_MACHINE_REFUSES = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EIO,
    errno.ENOTDIR, errno.EEXIST,
}


def make_app() -> typer.Typer:
    """The command line with every command of ``COMMANDS``."""
    app = typer.Typer(
        name="tilewright", help="One YAML file in, a verified AI accelerator out.", add_completion=False,
        pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        if version:
            print(f"tilewright {__version__}")
        elif context.invoked_subcommand is None:
            print(context.get_help())

    for name in COMMANDS:
        import_module(f"tilewright.commands.{name}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = make_app()(given, prog_name="tilewright", standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # how typer tells a KeyboardInterrupt
            print("interrupted", file=sys.stderr)
        return result if isinstance(result, int) else 0
    except TilewrightError as error:
        return _fail(error, given)
    except UsageProblem as problem:
        return _usage(problem)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            return _broken_pipe()
        raise
    except OSError as error:
        if error.errno not in _MACHINE_REFUSES:
            return _internal_fault()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(ToolError(f"{where}{os.strerror(error.errno or 0).lower()}"), given)
    except Exception:
        return _internal_fault()


def _fail(error: TilewrightError, given: list[str]) -> int:
    from tilewright.console import fail

    try:
        code = fail(error, as_json="--json" in given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _broken_pipe()


def _usage(problem: Exception) -> int:
    context = getattr(problem, "ctx", None)
    command = context.command_path if context else "tilewright"
    text = " ".join(problem.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    print(f"{command}: {text}; see {command} --help", file=sys.stderr)
    return 2


def _broken_pipe() -> int:
    # Python flushes stdout once more on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _internal_fault() -> int:
    traceback.print_exc()
    print(f"tilewright {__version__}: this is a fault of Tilewright, not of your input", file=sys.stderr)
    return INTERNAL_FAULT


if __name__ == "__main__":
    sys.exit(main())
