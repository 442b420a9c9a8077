"""`invsolve convert`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="make a prior of a published EDM2 or NCVSD checkpoint, or a small file of one that was trained on",
        description="Read a published checkpoint (edm2-*.pkl, ncvsd-*.pkl) without running the code it holds, and "
        "write it as a prior's file; or write a prior of this project as its difference from another one.",
    )
    parser.add_argument(
        "source", type=Path, metavar="FILE", help="the checkpoint, .pkl or a torch.save file; with --base a prior's"
    )
    parser.add_argument(
        "--base", metavar="PRIOR", help="store a prior's weights rounded, as a difference from those of this one"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the prior, .safetensors")
    parser.set_defaults(command=_convert)


def _convert(arguments: argparse.Namespace) -> None:
    if arguments.base is None:
        from ..foreign.convert import convert, summary

        print(summary(convert(arguments.source, arguments.out)))
    else:
        from ..priors.file import write_difference
        from ..priors.registry import resolve

        write_difference(arguments.out, arguments.source, resolve(arguments.base))
    print(f"wrote {arguments.out}")
