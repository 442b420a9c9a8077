"""`invsolve report`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = ("html", "csv", "latex")


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("report", help="write a benchmark's report.html again, or a table, finished or not")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out of invsolve bench")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="html: report.html; csv: summary.csv, all means with their intervals; latex: summary.tex, a table "
        "(default html)",
    )
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    from ..bench.export import write_csv, write_latex
    from ..bench.report.page import write_report

    write = {"html": write_report, "csv": write_csv, "latex": write_latex}[arguments.format]
    print(f"wrote {write(arguments.directory)}")
