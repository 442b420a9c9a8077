"""`invsolve generate`: arguments."""

from __future__ import annotations

import argparse

from ..specs.options import GenerateOptions
from .arguments import DEVICE, argument_adder, options_from


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "generate",
        help="sample pictures from noise alone, to see what a prior knows",
        description="Sample pictures from noise alone, to see what a prior knows: a generative denoiser in one "
        "evaluation or several, a plain one by reverse diffusion.",
    )
    parser.set_defaults(command=_generate)
    add = argument_adder(parser, GenerateOptions)
    add("--prior", "NAME|PATH", "a name of invsolve info, or a file")
    add("--count", "N", "pictures")
    add("--size", "N", "pixels per side (default: the prior's only size, or else 256)")
    add("--steps", "N", "network evaluations a picture")
    levels = "falling noise levels in place of --steps; the published two are 80 8 (default: from the prior's largest)"
    add("--levels", "S", levels, nargs="+")
    add("--label", "L", "class, a number or a name (default: none)")
    add("--seed", "S", "of all randomness")
    add("--out", "DIR", "for the pictures (default: here)")
    compare = "print the Frechet distance from these pictures' central squares, by AlexNet's features; of many pictures"
    add("--compare", "DIR|ZIP", compare)
    add("--lpips-trunk", "FILE", "AlexNet's weights for --compare (else $INVSOLVE_LPIPS_TRUNK, else downloaded once)")
    add("--device", None, DEVICE)
    add("--batch", "N", "pictures at a time")


def _generate(arguments: argparse.Namespace) -> None:
    from ..apps.generate import generate

    generate(options_from(arguments, GenerateOptions))
