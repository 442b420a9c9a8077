"""Training samples: random crops, flips and scales of decoded pictures.

Sample ``i`` of a run depends on ``(seed, i)`` alone, so that the same pictures come whatever the number of workers or
processes, and after a restart.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import signal
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..images.files import in_channels
from ..runtime.random_streams import stream_key

SCALARS = 4  # standard normals that come with every sample: for its noise levels, and for dropping its label
UNLABELLED = -1


class Crops(Dataset):
    """Endless random crops: item ``i`` is ``(picture uint8 [C, crop, crop], normals float32 [4], i, class)``.

    ``folders`` are ``(pictures, weight)`` pairs; folders come in proportion to their weights. Pictures smaller than
    the crop are extended by reflection. ``labels`` are the classes, of ``classes``, of every folder's pictures; without
    them the class is -1. C is 3, or with ``channels`` 1 crops are gray. With ``zoom`` (low, high), at
    most 1, crops show the picture at a random scale, see
    :func:`scaled_crop`.
    """

    def __init__(
        self,
        folders: Sequence[tuple[list[np.ndarray], float]],
        crop: int,
        seed: int,
        labels: Sequence[list[int]] | None = None,
        classes: int = 0,
        zoom: tuple[float, float] = (1.0, 1.0),
        channels: int = 3,
    ):
        self.channels = channels
        self.folders = [pictures for pictures, _ in folders]
        weights = np.array([weight for _, weight in folders], dtype=float)
        if not len(folders) or not ((weights > 0) & np.isfinite(weights)).all():
            raise ValueError(f"every folder needs a positive, finite weight, found {weights.tolist()}")
        self.cumulative = (weights / weights.sum()).cumsum()
        self.crop, self.seed, self.labels, self.classes, self.zoom = crop, seed, labels, classes, zoom

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int, int]:
        rng = np.random.Generator(np.random.Philox(key=stream_key(self.seed, index)))
        folder = min(np.searchsorted(self.cumulative, rng.random()), len(self.folders) - 1)
        number = rng.integers(len(self.folders[folder]))
        picture = self.folders[folder][number]
        label = self.labels[folder][number] if self.classes else UNLABELLED
        scale = self._scale(rng, picture)
        picture = scaled_crop(picture, self.crop, scale, rng) if scale < 1 else whole_crop(picture, self.crop, rng)
        if rng.random() < 0.5:
            picture = picture[:, :, ::-1]
        normals = rng.standard_normal(SCALARS, dtype=np.float32)
        return torch.from_numpy(in_bytes(picture.copy(), self.channels)), torch.from_numpy(normals), index, label

    def _scale(self, rng: np.random.Generator, picture: np.ndarray) -> float:
        """Log-uniform between the bounds of ``zoom``, but large enough for the scaled picture to hold a crop."""
        if self.zoom == (1.0, 1.0):
            return 1.0
        scale = math.exp(rng.uniform(*np.log(self.zoom)))
        return min(1.0, max(scale, self.crop / min(picture.shape[1:])))

    def batches(
        self, first: int, batch: int, workers: int = 0, pin: bool = False, share: tuple[int, int] = (0, 1)
    ) -> Iterator[list[Tensor]]:
        """Batches of consecutive samples from sample ``first`` on, without end; to be closed where there are workers.

        With ``share`` (k, n) it is the k-th of n equal, consecutive parts of every batch.
        """
        number, size = share[0], batch // share[1]
        starts = itertools.count(first + number * size, batch)
        context = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
        batches = iter(
            DataLoader(
                self,
                batch_sampler=(list(range(start, start + size)) for start in starts),
                num_workers=workers,
                pin_memory=pin,
                prefetch_factor=4 if workers else None,
                multiprocessing_context=context if workers else None,
                worker_init_fn=outlive_signals,
            )
        )
        try:
            yield from batches
        finally:
            if workers:
                batches._shutdown_workers()  # not at exit, where Python would send them SIGTERM, and wait for ever


def outlive_signals(worker: int) -> None:
    """Ignore SIGTERM and SIGINT, which may come to all processes of a group: the main one decides what happens then."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def whole_crop(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """``[3, size, size]`` pixels from a random place, the picture extended by reflection where it is smaller."""
    pad = [max(0, size - n) for n in picture.shape[1:]]
    if any(pad):
        picture = np.pad(picture, ((0, 0), *((p // 2, p - p // 2) for p in pad)), mode="symmetric")
    top, left = (rng.integers(n - size + 1) for n in picture.shape[1:])
    return picture[:, top : top + size, left : left + size]


def scaled_crop(picture: np.ndarray, size: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A random crop of the picture reduced by ``scale`` (antialiased, cubic); only what it shows is computed."""
    side = size / scale
    top, left = (rng.uniform(0, n - side) for n in picture.shape[1:])
    margin = 3 / scale  # the filter reaches 2 pixels of the reduced picture
    rows, columns = (
        slice(max(0, math.floor(start - margin)), math.ceil(start + side + margin)) for start in (top, left)
    )
    region = Image.fromarray(np.ascontiguousarray(picture[:, rows, columns].transpose(1, 2, 0)))
    x, y = left - columns.start, top - rows.start
    box = (x, y, min(x + side, region.width), min(y + side, region.height))  # rounding may step over the edge
    return np.asarray(region.resize((size, size), Image.Resampling.BICUBIC, box)).transpose(2, 0, 1)


def in_bytes(picture: np.ndarray, channels: int) -> np.ndarray:
    """A picture uint8 ``[3, H, W]`` in 1 channel, gray, or as it is."""
    return picture if channels == 3 else in_channels(torch.from_numpy(picture).float(), 1).round().byte().numpy()


def to_unit(pictures: Tensor, device: torch.device) -> Tensor:
    """uint8 pictures to float images in [-1, 1] on ``device``."""
    return pictures.to(device, non_blocking=True).float() / 127.5 - 1
