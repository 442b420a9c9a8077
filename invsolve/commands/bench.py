"""`invsolve bench`: arguments."""

from __future__ import annotations

import argparse

from ..specs.options import BenchOptions
from .arguments import DEVICE, argument_adder, options_from


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        help="compare methods on many pictures; resumes where it stopped",
        description="Degrade clean pictures, restore them by several methods, measure, and report means and pictures. "
        "The same command resumes (without --redo); under torchrun the pictures are shared between the processes.",
    )
    parser.set_defaults(command=_bench)
    add = argument_adder(parser, BenchOptions)
    add("--data", "DIR|ZIP", "clean pictures of any sizes, flat or in folders")
    add("--out", "DIR", "for the results and the report")
    add("--tasks", "A,B,...", "of invsolve info (default all)")
    methods = (
        "ncvsd, posterior, teacher, teacher-diffusion or a peer such as dps, each with its own number of steps where "
        "one follows, as ncvsd:16; baseline (the simplest), one by its name such as baseline:tv, or baselines, all "
        "that a task has (default baseline,ncvsd,teacher)"
    )
    add("--methods", "A,B,...", methods)
    redo = (
        "of --methods: drop what --out holds of them at these tasks and compute it again; all else is kept; repeat "
        "without --redo to go on after an interruption"
    )
    add("--redo", "A,B,...", redo)
    add("--steps", "N", "of ncvsd and teacher")
    add("--limit", "N", "take the first N pictures, in name order")
    add("--size", "N", "take the central N x N pixels of each picture (default: the whole picture)")
    add("--reduce", "N", "before that, average pictures over blocks of N x N pixels: FFHQ's 1024 to 256 by 4")
    add("--batch", "N", "pictures at a time")
    add("--prior", "NAME|PATH", "of ncvsd")
    add("--denoiser", "NAME|PATH", "of teacher and the peers")
    add("--seed", "S", "of all randomness")
    add("--samples", "K", "restore each picture K times; measure spread and calibration")
    add("--pictures", "M", "show the first M in the report")
    add("--precision", None, "of the network (default: fp32)")
    add(
        "--metrics",
        "A,B,...",
        "further: fid (needs all --pictures), and pyiqa's without reference, such as niqe or musiq",
    )
    add("--device", None, DEVICE)
    add("--lpips-trunk", "FILE", "AlexNet's weights for LPIPS (else $INVSOLVE_LPIPS_TRUNK)")


def _bench(arguments: argparse.Namespace) -> None:
    from ..bench.runner import bench

    bench(options_from(arguments, BenchOptions))
