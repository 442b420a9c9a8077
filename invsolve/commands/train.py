"""`invsolve train`, `invsolve distill`, `invsolve finetune` and `invsolve ema`: arguments."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from .arguments import add_device, minutes


def add(commands: argparse._SubParsersAction) -> None:
    _add_train(commands)
    _add_distill(commands)
    _add_finetune(commands)
    _add_ema(commands)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("train", help="train a denoiser, the teacher of a prior; resumes where it stopped")
    _add_training(parser)
    parser.set_defaults(command=_train)


def _add_distill(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("distill", help="distil a denoiser into a generative one (NCVSD); resumes likewise")
    _add_training(parser)
    parser.add_argument("--teacher", required=True, metavar="NAME|PATH", help="the denoiser to distil")
    parser.add_argument(
        "--generator", metavar="NAME|PATH", help="go on with this prior, distilled from the teacher earlier"
    )
    parser.set_defaults(command=_distill)


def _add_finetune(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "finetune", help="fine-tune a generative denoiser for few evaluations; resumes likewise"
    )
    _add_training(parser)
    parser.add_argument("--generator", required=True, metavar="NAME|PATH", help="the prior to fine-tune")
    parser.add_argument(
        "--teacher", required=True, metavar="NAME|PATH", help="the denoiser whose features judge pictures"
    )
    parser.set_defaults(command=_finetune)


def _add_ema(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("ema", help="another width of a training's average, from its stored snapshots")
    parser.add_argument("run", type=Path, metavar="DIR", help="the --out of a training with snapshot_every")
    parser.add_argument("--std", type=float, required=True, metavar="S", help="relative width of the average, as 0.08")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the weights, .safetensors")
    parser.set_defaults(command=_ema)


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", help="YAML file of the training, or the name of a shipped one (see invsolve info)"
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH[:WEIGHT]",
        help="folders or zips of pictures, and their shares",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for checkpoints and logs")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="for decoded pictures that memory does not hold (default OUT/cache)"
    )
    add_device(parser)
    parser.add_argument(
        "--max-minutes", type=minutes, default=math.inf, metavar="M", help="pause then; the same command goes on"
    )


def _train(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.teacher import train

    where = (find_recipe(arguments.config, "train"), arguments.data, arguments.out)
    _report(train(*where, arguments.device, arguments.max_minutes, arguments.cache))


def _distill(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.teacher import distill

    where = (find_recipe(arguments.config, "distill"), arguments.teacher, arguments.data, arguments.out)
    _report(distill(*where, arguments.device, arguments.max_minutes, arguments.generator, arguments.cache))


def _finetune(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.finetune import finetune

    where = (find_recipe(arguments.config, "finetune"), arguments.generator, arguments.teacher, arguments.data)
    _report(finetune(*where, arguments.out, arguments.device, arguments.max_minutes, arguments.cache))


def _ema(arguments: argparse.Namespace) -> None:
    from ..training.posthoc import reconstruct

    count, error = reconstruct(arguments.run, arguments.std, arguments.out)
    print(f"wrote {arguments.out}, from {count} snapshots, the averaging density within {error:.1%}")


def _report(written: Path) -> None:
    from ..runtime.processes import rank

    if rank() == 0:
        print(f"wrote {written}")
