"""`invsolve generate`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import add_device, at_least


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "generate",
        help="draw pictures from noise alone, to see what a prior knows",
        description="Draw pictures from noise alone, to see what a prior knows: a generative denoiser in one "
        "evaluation or several, a plain one by reverse diffusion.",
    )
    parser.add_argument("--prior", default="default", metavar="NAME|PATH", help="a name of invsolve info, or a file")
    parser.add_argument("--count", type=at_least(1), default=16, metavar="N", help="pictures (default 16)")
    parser.add_argument(
        "--size", type=at_least(1), metavar="N", help="pixels per side (default: the prior's only size, or else 256)"
    )
    parser.add_argument(
        "--steps", type=at_least(1), default=16, metavar="N", help="network evaluations a picture (default 16)"
    )
    parser.add_argument(
        "--levels",
        type=float,
        nargs="+",
        default=(),
        metavar="S",
        help="falling noise levels in place of --steps; the published two are 80 8 (default: from the prior's largest)",
    )
    parser.add_argument("--label", metavar="L", help="class, a number or a name (default: none)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="of all randomness (default 0)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for the pictures (default: here)")
    add_device(parser)
    parser.add_argument("--batch", type=at_least(1), default=8, metavar="N", help="pictures at a time (default 8)")
    parser.set_defaults(command=_generate)


def _generate(arguments: argparse.Namespace) -> None:
    from ..apps.generate import GenerateOptions, generate

    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    generate(GenerateOptions(**options))
