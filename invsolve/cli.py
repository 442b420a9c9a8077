"""The `invsolve` command: its parser, its exit codes and its one line on an error."""

from __future__ import annotations

import argparse
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from . import __version__
from .commands import COMMANDS
from .runtime.printing import error, warn
from .runtime.signals import Stopped, heeding_interrupts

DIVERGED = 1
BAD_INPUT = 2
SIGNAL = 128  # + its number
INTERRUPTED = SIGNAL + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; with one line on stderr 1 after a training that diverged, 2 after bad input or where the memory or a compiler is
    wanting, 130 after Ctrl-C, 143 after SIGTERM; 1 where some of several pictures could not be restored, with a line
    for each.
    """
    arguments = _parser().parse_args(argv)
    try:
        with heeding_interrupts(), warnings.catch_warnings():
            warnings.showwarning = warn
            warnings.filterwarnings("ignore", message="y (reaches|lies)")  # what commands read is on the right scale
            return arguments.command(arguments) or 0
    except KeyboardInterrupt:
        print("invsolve: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Stopped as stopped:
        print(f"invsolve: {stopped}", file=sys.stderr)
        return SIGNAL + stopped.signal
    except FloatingPointError as error:
        return _refuse(str(error), DIVERGED)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    except MemoryError:
        return _refuse(_out_of_memory(arguments))
    except RuntimeError as error:
        advice = _advice(error, arguments)
        if advice is None:
            raise
        return _refuse(advice)


def _advice(error: RuntimeError, arguments: argparse.Namespace) -> str | None:
    """What to say of an error of torch's that the user can do something about, None of any other.

    Known by names, since torch's import would cost every command a second.
    """
    if type(error).__name__ == "OutOfMemoryError":
        return _out_of_memory(arguments, "GPU ")
    if "DefaultCPUAllocator" in str(error):
        return _out_of_memory(arguments)
    if type(getattr(error, "inner_exception", error)).__name__ == "InvalidCxxCompiler":  # torch.compile wraps it
        return "--compile needs a C++ compiler, and none was found: install one, name it in CXX, or leave --compile out"
    return None


def _out_of_memory(arguments: argparse.Namespace, which: str = "") -> str:
    """What to try among the command's own options."""
    advice = {"config": "a smaller batch in the recipe", "batch": "a smaller --batch", "tile": "--tile 256"}
    possible = [words for option, words in advice.items() if hasattr(arguments, option)]
    if which and hasattr(arguments, "device"):
        possible.append("--device cpu")
    return f"out of {which}memory" + (f": try {', or '.join(possible)}" if possible else "")


def _refuse(message: str, code: int = BAD_INPUT) -> int:
    error(message)
    return code


class _Parser(argparse.ArgumentParser):
    """Reports a bad argument in one line, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message} (see {self.prog} --help)"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="invsolve", description="Restore images from degraded measurements y = A x + n.")
    parser.add_argument("--version", action="version", version=f"invsolve {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
