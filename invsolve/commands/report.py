"""`invsolve report`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("report", help="write a benchmark's report.html again, finished or not")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out of invsolve bench")
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    from ..bench.report.page import write_report

    print(f"wrote {write_report(arguments.directory)}")
