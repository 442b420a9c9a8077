"""What commands print: results on stdout, notes on stderr."""

from __future__ import annotations

import sys
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line, with escapes for what the encoding lacks: the names of files may be any bytes."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def note(line: str) -> None:
    """Print ``note: `` and a line on stderr."""
    say(f"note: {line}", sys.stderr)


def warn(message: Warning | str, *_: object, **__: object) -> None:
    """Print ``warning: `` and a line on stderr; takes what :func:`warnings.showwarning` is called with."""
    say(f"warning: {' '.join(str(message).split())}", sys.stderr)


def error(line: str) -> None:
    """Print ``invsolve: error: `` and a message, in one line, on stderr."""
    say(f"invsolve: error: {' '.join(line.split())}", sys.stderr)


def counted(number: int, noun: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
