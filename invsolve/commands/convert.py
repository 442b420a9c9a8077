"""`invsolve convert`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="make a prior of a published EDM2 or NCVSD checkpoint",
        description="Read a published checkpoint (edm2-*.pkl, ncvsd-*.pkl) without running the code it holds, and "
        "write it as a prior's file.",
    )
    parser.add_argument("source", type=Path, metavar="FILE", help="the checkpoint, .pkl or a torch.save file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the prior, .safetensors")
    parser.set_defaults(command=_convert)


def _convert(arguments: argparse.Namespace) -> None:
    from ..foreign.convert import convert, summary

    print(summary(convert(arguments.source, arguments.out)))
    print(f"wrote {arguments.out}")
