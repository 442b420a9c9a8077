"""What the scripts that tune settings share: options, pictures, measurements and a coordinate descent."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.networks.inference import PRECISIONS
from invsolve.runtime.random_streams import MEASUREMENT, NoiseStreams
from invsolve.specs.task import Task, list_tasks
from operators import LinearOperator

DIGITS = 3  # of a value that is tried
Settings = TypeVar("Settings")


def options_parser(doc: str, images: int, minutes: float, prior: str) -> argparse.ArgumentParser:
    """The options that all have, with these defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of training pictures")
    parser.add_argument(
        "--images", type=int, default=images, help="pictures, the last in name order (default %(default)s)"
    )
    parser.add_argument("--crop", type=int, help="their central crop, in pixels (default: the whole)")
    parser.add_argument("--tasks", nargs="+", default=list_tasks())
    parser.add_argument("--minutes", type=float, default=minutes, help="the longest search, each (default %(default)s)")
    parser.add_argument("--prior", default=prior, help="its name or file (default %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network (default fp32)")
    parser.add_argument("--lpips-trunk", type=Path)
    return parser


def tune_and_show(
    parser: argparse.ArgumentParser,
    tune: Callable[[argparse.Namespace], None],
    as_yaml: Callable[[list[dict[str, Any]]], str],
) -> None:
    """Tune by the options of the command line, unless ``--show``, and print the best of ``--out``."""
    options = parser.parse_args()
    if not options.show:
        if options.data is None:
            parser.error("--data is missing: folders of training pictures")
        try:
            tune(options)
        except ValueError as error:
            parser.error(str(error))
    print(as_yaml(read_lines(options.out)), end="")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an output of JSON lines; one that an interruption cut off is removed from it."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def read_pictures(options: argparse.Namespace) -> Tensor:
    """The last ones of ``--data``, ``[B, 3, H, W]``. Raises ValueError where the crop does not fit."""
    files = list_pictures([options.data])[-options.images :]
    images = [read_image(file, 3) for file in files]  # of any sizes, where they are cropped
    images = images if options.crop is None else [central_crop(image, options.crop) for image in images]
    return torch.stack(images).to(options.device)


def measure(task: Task, truth: Tensor) -> tuple[LinearOperator, Tensor]:
    """A task's operator and its measurements of some pictures, the same at every call."""
    operator = task.make_operator(tuple(truth.shape[1:])).to(truth.device)
    noise = NoiseStreams(0, [(i, MEASUREMENT) for i in range(len(truth))], truth.device)
    return operator, task.measure(operator, truth, noise)


def search(
    loss: Callable[[Settings], float],
    settings: Settings,
    names: Sequence[str],
    moves: Callable[[Settings, str, float], Iterable[Settings]],
    minutes: float,
    least_gain: float = 0.0,
) -> Settings:
    """Coordinate descent from ``settings`` over those of ``names``, until the moves are a quarter of the first ones.

    ``moves(settings, name, scale)`` gives the settings to try, whose moves are in proportion to ``scale``; it is halved
    after a round that improves nothing by more than ``least_gain``.
    """
    deadline = time.monotonic() + 60 * minutes
    lowest, scale = loss(settings), 1.0
    while scale > 0.2:
        improved = False
        for name in names:
            for other in moves(settings, name, scale):
                if time.monotonic() > deadline:
                    return settings
                found = loss(other)
                if found < lowest - least_gain:
                    lowest, settings, improved = found, other, True
                    break
        if not improved:
            scale /= 2
    return settings


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
