"""`invsolve bench`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import add_device, add_precision, at_least


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        help="compare methods on many pictures; resumes where it stopped",
        description="Degrade clean pictures, restore them by several methods, measure, and report means and pictures. "
        "The same command resumes (without --redo); under torchrun the pictures are shared between the processes.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR|ZIP", help="clean square pictures, in any layout of FFHQ"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the results and the report")
    parser.add_argument(
        "--tasks", type=_names, default=["all"], metavar="A,B,...", help="of invsolve info (default all)"
    )
    parser.add_argument(
        "--methods",
        type=_names,
        default=["baseline", "ncvsd", "teacher"],
        metavar="A,B,...",
        help="baseline, ncvsd, teacher, teacher-diffusion or a peer such as dps, each with its own number of steps "
        "where one follows, as ncvsd:16 (default baseline,ncvsd,teacher)",
    )
    parser.add_argument(
        "--redo",
        type=_names,
        default=[],
        metavar="A,B,...",
        help="of --methods: drop what --out holds of them at these tasks and compute it again; all else is kept; "
        "repeat without --redo to go on after an interruption",
    )
    parser.add_argument("--steps", type=at_least(1), default=4, metavar="N", help="of ncvsd and teacher (default 4)")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="take the first N pictures, in name order")
    parser.add_argument("--size", type=at_least(1), default=256, metavar="N", help="pixels per side (default 256)")
    parser.add_argument("--batch", type=at_least(1), default=1, metavar="N", help="pictures at a time (default 1)")
    parser.add_argument("--prior", default="default", metavar="NAME|PATH", help="of ncvsd")
    parser.add_argument("--denoiser", default="teacher", metavar="NAME|PATH", help="of teacher and the peers")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="of all randomness (default 0)")
    parser.add_argument(
        "--samples", type=at_least(2), metavar="K", help="restore each picture K times; measure spread and calibration"
    )
    parser.add_argument(
        "--pictures", type=at_least(0), default=4, metavar="M", help="show the first M in the report (default 4)"
    )
    add_precision(parser, "fp32")
    add_device(parser)
    parser.add_argument(
        "--lpips-trunk", type=Path, metavar="FILE", help="AlexNet's weights for LPIPS (else $INVSOLVE_LPIPS_TRUNK)"
    )
    parser.set_defaults(command=_bench)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _bench(arguments: argparse.Namespace) -> None:
    from ..bench.runner import BenchOptions, bench

    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    bench(BenchOptions(**options))
