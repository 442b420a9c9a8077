"""The `invsolve` command: argument parsing and printing only."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from .training.stop import Stopped

DIVERGED = 1
BAD_INPUT = 2
SIGNAL = 128  # + its number
INTERRUPTED = SIGNAL + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; with one line on stderr 1 after a training that diverged, 2 after bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("invsolve: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Stopped as stopped:
        print(f"invsolve: {stopped}", file=sys.stderr)
        return SIGNAL + stopped.signal
    except FloatingPointError as error:
        return _refuse(str(error), DIVERGED)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, whose import would cost every command a second
            raise
        return _refuse("out of GPU memory: try a smaller --batch, or --device cpu")
    return 0


def _refuse(message: str, code: int = BAD_INPUT) -> int:
    print(f"invsolve: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version() -> str:
    try:
        return metadata.version("invsolve")
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


class _Parser(argparse.ArgumentParser):
    """Reports a bad argument in one line, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message} (see {self.prog} --help)"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="invsolve", description="Restore images from degraded measurements y = A x + n.")
    parser.add_argument("--version", action="version", version=f"invsolve {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_info(commands)
    _add_train(commands)
    _add_distill(commands)
    _add_ema(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction) -> None:
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
    parser.add_argument("--steps", type=_at_least(1), default=4, metavar="N", help="network evaluations (default 4)")
    parser.add_argument(
        "--samples", type=_at_least(2), metavar="K", help="write K posterior samples, their mean and their deviation"
    )
    parser.add_argument("--prior", default="default", metavar="NAME|PATH", help="a name of invsolve info, or a file")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="inpainting: white = observed, black = missing")
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="deblurring: the kernel, a picture or a .npy")
    parser.add_argument("--seed", type=_at_least(0), default=0, metavar="S", help="of all randomness (default 0)")
    _add_device(parser)
    parser.add_argument("--batch", type=_at_least(1), default=8, metavar="N", help="pictures at a time (default 8)")
    parser.add_argument(
        "--lpips-trunk", type=Path, metavar="FILE", help="AlexNet's weights for LPIPS (else $INVSOLVE_LPIPS_TRUNK)"
    )
    parser.set_defaults(command=_run)


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("info", help="list the tasks and the priors")
    parser.set_defaults(command=_info)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("train", help="train a denoiser, the teacher of a prior; resumes where it stopped")
    _add_training(parser)
    parser.set_defaults(command=_train)


def _add_distill(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("distill", help="distil a denoiser into a generative one (NCVSD); resumes likewise")
    _add_training(parser)
    parser.add_argument("--teacher", required=True, metavar="NAME|PATH", help="the denoiser to distil")
    parser.set_defaults(command=_distill)


def _add_ema(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("ema", help="another width of a training's average, from its stored snapshots")
    parser.add_argument("run", type=Path, metavar="DIR", help="the --out of a training with snapshot_every")
    parser.add_argument("--std", type=float, required=True, metavar="S", help="relative width of the average, as 0.08")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the weights, .safetensors")
    parser.set_defaults(command=_ema)


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the network and its training")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH[:WEIGHT]",
        help="folders or zips of pictures, and their shares",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for checkpoints and logs")
    _add_device(parser)
    parser.add_argument(
        "--max-minutes", type=_minutes, default=math.inf, metavar="M", help="pause then; the same command goes on"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: CUDA if there is one"
    )


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return integer


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _run(arguments: argparse.Namespace) -> None:
    from .run import RunOptions, run

    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    run(RunOptions(**options))


def _info(arguments: argparse.Namespace) -> None:
    from .checkpoint import list_priors, resolve
    from .task import list_tasks, load_task

    print("Tasks (noise levels are for images on [-1, 1]):")
    for name in list_tasks():
        task = load_task(name)
        print(f"  {name:<16} {task.description}; sigma_y {task.sigma_y:g}")
    print("Priors:")
    for name, description in list_priors():
        absent = "" if resolve(name).is_file() else " (its file is not here)"
        print(f"  {name:<16} {description}{absent}")


def _train(arguments: argparse.Namespace) -> None:
    from .training.commands import train

    _report(train(arguments.config, arguments.data, arguments.out, arguments.device, arguments.max_minutes))


def _distill(arguments: argparse.Namespace) -> None:
    from .training.commands import distill

    where = (arguments.config, arguments.teacher, arguments.data, arguments.out)
    _report(distill(*where, arguments.device, arguments.max_minutes))


def _ema(arguments: argparse.Namespace) -> None:
    from .training.posthoc import reconstruct

    count, error = reconstruct(arguments.run, arguments.std, arguments.out)
    print(f"wrote {arguments.out}, from {count} snapshots, the averaging density within {error:.1%}")


def _report(written: Path) -> None:
    from .training.processes import rank

    if rank() == 0:
        print(f"wrote {written}")


if __name__ == "__main__":
    sys.exit(main())
