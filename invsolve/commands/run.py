"""`invsolve run`: arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..specs.degradations import BOUNDARIES
from .arguments import add_device, add_precision, at_least


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "run",
        help="restore pictures",
        description="Restore degraded pictures, or with --simulate degrade clean ones, restore and measure them.",
    )
    parser.add_argument("task", metavar="TASK", help="name of a shipped task (see invsolve info) or a YAML file")
    parser.add_argument(
        "--input",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE|DIR",
        dest="inputs",
        help="degraded pictures (clean ones with --simulate): files, directories, or skimage:NAME",
    )
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="for the results (default: here)")
    parser.add_argument("--simulate", action="store_true", help="degrade the input first; print PSNR, SSIM and LPIPS")
    parser.add_argument("--steps", type=at_least(1), default=4, metavar="N", help="network evaluations (default 4)")
    parser.add_argument(
        "--samples", type=at_least(2), metavar="K", help="write K posterior samples, their mean and their deviation"
    )
    parser.add_argument("--prior", default="default", metavar="NAME|PATH", help="a name of invsolve info, or a file")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="inpainting: white = observed, black = missing")
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="deblurring: the kernel, a picture or a .npy")
    parser.add_argument(
        "--boundary",
        choices=BOUNDARIES,
        help="deblurring: beyond the edges; reflect for photographs (default: the task's)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="of all randomness (default 0)")
    add_device(parser)
    add_precision(parser, None)
    parser.add_argument("--compile", action="store_true", help="have torch.compile fuse the network: a minute at first")
    parser.add_argument("--cuda-graphs", action="store_true", help="replay the network's kernels from a CUDA graph")
    parser.add_argument(
        "--tile", type=at_least(1), metavar="N", help="evaluate larger pictures in overlapping tiles of NxN pixels"
    )
    parser.add_argument(
        "--batch",
        type=at_least(1),
        default=8,
        metavar="N",
        help="pictures at a time (default 8; on a CPU 2 megapixels at most, or one)",
    )
    parser.add_argument(
        "--lpips-trunk", type=Path, metavar="FILE", help="AlexNet's weights for LPIPS (else $INVSOLVE_LPIPS_TRUNK)"
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from ..apps.run import RunOptions, run

    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    run(RunOptions(**options))
