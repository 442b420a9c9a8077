"""The `invsolve` command: its parser, its exit codes and its one line on an error."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from .commands import COMMANDS
from .training.stop import Stopped

DIVERGED = 1
BAD_INPUT = 2
SIGNAL = 128  # + its number
INTERRUPTED = SIGNAL + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; with one line on stderr 1 after a training that diverged, 2 after bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
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
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, whose import would cost every command a second
            raise
        return _refuse("out of GPU memory even for one image: try --tile 256, or --device cpu")
    return 0


def _refuse(message: str, code: int = BAD_INPUT) -> int:
    print(f"invsolve: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version() -> str:
    try:
        return metadata.version("invsolve")
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


class _Parser(argparse.ArgumentParser):
    """Reports a bad argument in one line, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message} (see {self.prog} --help)"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="invsolve", description="Restore images from degraded measurements y = A x + n.")
    parser.add_argument("--version", action="version", version=f"invsolve {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
