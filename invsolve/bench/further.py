"""Further measures, on request: those that need no true picture (pyiqa's), and the Fréchet distance of a set (FID).

Their networks are downloaded by those packages at first use. What cannot be had is said in one line before anything is
restored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..images.files import read_image, to_bytes
from ..images.metrics import Metric
from ..runtime.optional import import_with_torchvision
from .statistics import Benchmark
from .store import TRUTH, Pair, file_name, picture_folders

FID = "fid"
Fid = Any  # torchmetrics.image.fid.FrechetInceptionDistance
INSTALL = 'pip install "invsolve[metrics]"'


def load_further(names: Sequence[str], device: torch.device) -> dict[str, Metric]:
    """The measures of pyiqa that have these names, ``fid`` apart, whose values a picture has by itself.

    Raises ValueError where pyiqa or the network of one is not to be had, or it needs the true picture.
    """
    wanted = [name for name in names if name != FID]
    if not wanted:
        return {}
    try:
        pyiqa = import_with_torchvision("pyiqa")
    except Exception as error:  # what the packages below it raise where they do not fit each other
        raise ValueError(f"--metrics {wanted[0]}: needs pyiqa, {INSTALL} ({_line(error)})") from None
    found: dict[str, Metric] = {}
    for name in wanted:
        if name not in pyiqa.list_models(metric_mode="NR"):
            raise ValueError(f"--metrics {name}: is neither {FID} nor a measure of pyiqa's without reference")
        try:
            network = pyiqa.create_metric(name, device=device)
        except Exception as error:  # whatever its downloads and the packages below them raise
            raise ValueError(f"--metrics {name}: pyiqa cannot load it ({_line(error)})") from None
        found[name] = _of_image(network)
    return found


def _of_image(network: Callable[[torch.Tensor], torch.Tensor]) -> Metric:
    def measure(x: torch.Tensor, truth: torch.Tensor) -> list[float | None]:
        with torch.no_grad():
            return network((x.float().clamp(-1, 1) + 1) / 2).flatten().tolist()

    return measure


def load_fid(device: torch.device) -> Fid:
    """torchmetrics' FID on Inception's 2048 features. Raises ValueError where it, or its weights, are not to be had."""
    try:
        module = import_with_torchvision("torchmetrics.image.fid")
        return module.FrechetInceptionDistance(feature=2048).to(device).set_dtype(torch.float64)
    except Exception as error:  # a missing package, or whatever a download raises
        needed = f"torchmetrics with torch-fidelity and Inception's weights, {INSTALL}"
        raise ValueError(f"--metrics {FID}: needs {needed} ({_line(error)})") from None


def fids(benchmark: Benchmark, measure: Fid) -> Mapping[Pair, float]:
    """The FID of each method at each task between its pictures and the true ones, from the files of both.

    At least two pictures are wanted. It is biased upwards for few: of one benchmark's methods it compares well, between
    benchmarks of other numbers of pictures not at all.
    """
    found: dict[Pair, float] = {}
    for task, entries in benchmark.tasks.items():
        folders = picture_folders(benchmark.directory, task)
        for entry in entries:
            measure.reset()
            for folder in folders:
                for file, real in ((TRUTH, True), (file_name(entry.method), False)):
                    measure.update(_pixels(folder / f"{file}.png").to(measure.device), real=real)
            found[task, entry.method] = float(measure.compute())
    return found


def _pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(to_bytes(read_image(path))).permute(2, 0, 1)[None]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
