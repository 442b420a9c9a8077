"""`invsolve train`, `distill`, `finetune`, `calibrate` and `ema`: arguments."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ..runtime.printing import counted
from .arguments import add_device, minutes


def add(commands: argparse._SubParsersAction) -> None:
    weights = {"metavar": "NAME|PATH"}
    parser = _add_training(commands, _train, "train a denoiser, the teacher of a prior; resumes where it stopped")
    parser.add_argument("--denoiser", help="go on with this one, of the configuration's network", **weights)

    parser = _add_training(commands, _distill, "distil a denoiser into a generative one (NCVSD); resumes likewise")
    parser.add_argument("--teacher", required=True, help="the denoiser to distil", **weights)
    parser.add_argument("--generator", help="go on with this prior, distilled from the teacher earlier", **weights)

    parser = _add_training(commands, _finetune, "fine-tune a generative denoiser for few evaluations; resumes likewise")
    parser.add_argument("--generator", required=True, help="the prior to fine-tune", **weights)
    parser.add_argument("--teacher", required=True, help="the denoiser whose features compare pictures", **weights)

    calibration = "train a generative denoiser's samples to spread as they should; resumes likewise"
    parser = _add_training(commands, _calibrate, calibration)
    parser.add_argument("--generator", required=True, help="the prior to calibrate", **weights)

    parser = commands.add_parser("ema", help="another width of a training's average, from its stored snapshots")
    parser.set_defaults(command=_ema)
    parser.add_argument("run", type=Path, metavar="DIR", help="the --out of a training with snapshot_every")
    parser.add_argument("--std", type=float, required=True, metavar="S", help="relative width of the average, as 0.08")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the weights, .safetensors")


def _add_training(
    commands: argparse._SubParsersAction, command: Callable[[argparse.Namespace], None], help: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(command.__name__.removeprefix("_"), help=help)
    parser.set_defaults(command=command)
    config = "YAML file of the training, or the name of a shipped one (see invsolve info)"
    parser.add_argument("config", metavar="CONFIG", help=config)
    data = "folders or zips of pictures, and their shares"
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH[:WEIGHT]", help=data)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for checkpoints and logs")
    cache = "for decoded pictures that memory does not hold (default OUT/cache)"
    parser.add_argument("--cache", type=Path, metavar="DIR", help=cache)
    add_device(parser)
    pause = "pause then; the same command goes on"
    parser.add_argument("--max-minutes", type=minutes, default=math.inf, metavar="M", help=pause)
    return parser


def _train(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.teacher import train

    config = find_recipe(arguments.config, "train")
    _report(train(config, denoiser=arguments.denoiser, **_common(arguments)))


def _distill(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.distill import distill

    config = find_recipe(arguments.config, "distill")
    _report(distill(config, arguments.teacher, generator=arguments.generator, **_common(arguments)))


def _finetune(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.finetune import finetune

    config = find_recipe(arguments.config, "finetune")
    _report(finetune(config, arguments.generator, arguments.teacher, **_common(arguments)))


def _calibrate(arguments: argparse.Namespace) -> None:
    from ..specs.recipe import find_recipe
    from ..training.calibrate import calibrate

    config = find_recipe(arguments.config, "calibrate")
    _report(calibrate(config, arguments.generator, **_common(arguments)))


def _common(arguments: argparse.Namespace) -> dict[str, object]:
    return {name: getattr(arguments, name) for name in ("data", "out", "device", "max_minutes", "cache")}


def _report(written: Path) -> None:
    from ..runtime.processes import rank

    if rank() == 0:
        print(f"wrote {written}")


def _ema(arguments: argparse.Namespace) -> None:
    from ..training.posthoc import reconstruct

    count, error = reconstruct(arguments.run, arguments.std, arguments.out)
    print(f"wrote {arguments.out}, from {counted(count, 'snapshot')}, the averaging density within {error:.1%}")
