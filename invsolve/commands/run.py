"""`invsolve run`: arguments."""

from __future__ import annotations

import argparse

from ..specs.options import RunOptions
from .arguments import DEVICE, argument_adder, options_from


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "run",
        help="restore pictures",
        description="Restore degraded pictures, or with --simulate degrade clean ones, restore and measure them.",
    )
    parser.set_defaults(command=_run)
    add = argument_adder(parser, RunOptions)
    add("task", "TASK", "name of a shipped task (see invsolve info) or a YAML file")
    inputs = "degraded pictures (clean ones with --simulate): files, directories, or skimage:NAME"
    add("--input", "FILE|DIR", inputs, nargs="+", action="extend", dest="inputs")
    add("--output", "DIR", "for the results (default: here)")
    add("--simulate", None, "degrade the input first; print PSNR, SSIM and LPIPS")
    add("--steps", "N", "network evaluations")
    add("--samples", "K", "write K posterior samples, their mean and their deviation")
    add("--prior", "NAME|PATH", "a name of invsolve info, or a file")
    add("--mask", "FILE", "inpainting: white = observed, black = missing")
    add("--kernel", "FILE", "deblurring: the kernel, a picture or a .npy")
    add("--boundary", None, "deblurring: beyond the edges; reflect for photographs (default: the task's)")
    add("--seed", "S", "of all randomness")
    add("--device", None, DEVICE)
    add("--precision", None, "of the network (default: bf16 where the processor has instructions for it)")
    add("--compile", None, "have torch.compile fuse the network: a minute at first")
    add("--cuda-graphs", None, "replay the network's kernels from a CUDA graph")
    add("--tile", "N", "evaluate larger pictures in overlapping tiles of NxN pixels")
    add("--batch", "N", "pictures at a time; on a CPU 2 megapixels at most, or one")
    add("--lpips-trunk", "FILE", "AlexNet's weights for LPIPS (else $INVSOLVE_LPIPS_TRUNK)")


def _run(arguments: argparse.Namespace) -> None:
    from ..apps.run import run

    run(options_from(arguments, RunOptions))
