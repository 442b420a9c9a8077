"""`invsolve run`: arguments."""

from __future__ import annotations

import argparse
import warnings

from ..specs.options import RunOptions
from ..specs.settings import POSTERIOR_STEPS, STEPS
from .arguments import DEVICE, argument_adder, options_from

EXIT = "Exit code: 0; 1 where some of several pictures could not be restored (each is named), 2 after bad input."


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "run",
        help="restore pictures",
        description="Restore degraded pictures, or with --simulate degrade clean ones, restore and measure them.",
        epilog=EXIT,
    )
    parser.set_defaults(command=_run)
    add = argument_adder(parser, RunOptions)
    add("task", "TASK", "name of a shipped task (see invsolve info) or a YAML file")
    inputs = "degraded pictures (clean ones with --simulate): files, directories, or skimage:NAME"
    add("--input", "FILE|DIR", inputs, nargs="+", action="extend", dest="inputs")
    add("--output", "DIR|FILE", "for the results (default: here), or of one picture the restored file")
    add("--simulate", None, "degrade the input first; print PSNR, SSIM and LPIPS")
    add("--steps", "N", f"network evaluations (default {STEPS}; of a sample of --samples {POSTERIOR_STEPS})")
    add("--samples", "K", "write K posterior samples, their mean and their deviation")
    add("--prior", "NAME|PATH", "a name of invsolve info, or a file")
    add_degradation(argument_adder(parser.add_argument_group("the degradation"), RunOptions))
    add_files(argument_adder(parser.add_argument_group("files"), RunOptions))
    add = argument_adder(parser.add_argument_group("the computation"), RunOptions)
    add("--seed", "S", "of all randomness")
    add("--device", None, DEVICE)
    add("--precision", None, "of the network (default: bf16 where the processor has instructions for it)")
    add("--compile", None, "have torch.compile fuse the network: a minute at first")
    add("--cuda-graphs", None, "replay the network's kernels from a CUDA graph")
    add("--tile", "N", "evaluate larger pictures in overlapping tiles of NxN pixels")
    add("--batch", "N", "pictures at a time; on a CPU 2 megapixels at most, or one")
    add("--lpips-trunk", "FILE", "AlexNet's weights for LPIPS (else $INVSOLVE_LPIPS_TRUNK, else downloaded once)")
    add("--no-lpips", None, "with --simulate: PSNR and SSIM alone; nothing is downloaded")


def add_degradation(add) -> None:
    sigma = (
        "standard deviation of the noise: a number for images on [-1, 1]; or N/255, for N of 255 gray levels (25/255 "
        "is 0.196 on [-1, 1]); or auto, estimated (default: auto; 0 for inpainting, whose observed pixels then stay as "
        "they are; with --simulate the task's)"
    )
    add("--sigma", "S|N/255|auto", sigma)
    masks = "inpainting: white = observed, black = missing; of a directory the mask of the picture's name"
    add("--mask", "FILE|DIR", masks + " (default: transparent = missing)")
    add("--mask-color", "COLOR", "inpainting: missing is what was painted in this colour, as '#ff00ff'")
    add("--invert-mask", None, "inpainting: white = missing")
    add("--fit-mask", None, "inpainting: resize the mask to the picture")
    add("--kernel", "FILE", "deblurring: the kernel, a picture or a .npy")
    boundary = (
        "deblurring: beyond the edges; valid: unknown, and restored too (default: valid; with --simulate the task's)"
    )
    add("--boundary", None, boundary)
    add("--keep-margin", None, "deblurring: keep what was restored beyond the edges")
    add("--factor", "N", "super-resolution: enlarge each side by N")
    add("--outscale", "S", "super-resolution: enlarge each side by S, by the next integer factor and Lanczos")
    changes = "other parameters of the task, as operator.std=2 (see invsolve info TASK)"
    add("--set", "NAME=VALUE", changes, nargs="+", action="extend", dest="changes")


def add_files(add) -> None:
    add("--format", None, "of the restored picture (default: png; input: the input's where that is one of these)")
    add("--quality", "Q", "of JPEG and WebP, 1 to 100; WebP is lossless at 100")
    add("--keep-profile", None, "keep the colours of the input's ICC profile (default: convert to sRGB)")
    add("--recursive", None, "take the sub-directories of directories too, and make the like below --output")
    add("--skip-existing", None, "leave out pictures whose restored file exists")
    add("--json", None, "print a line of JSON for each picture")
    add("--quiet", None, "print errors alone")


def _run(arguments: argparse.Namespace) -> int:
    from ..apps.run import run

    options = options_from(arguments, RunOptions)
    if options.quiet:
        warnings.simplefilter("ignore")
    return run(options)
