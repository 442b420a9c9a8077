"""Training pictures: folders and zip files decoded once into memory, random crops and flips.

Sample ``i`` of a run depends on ``(seed, i)`` alone, so that the same pictures come whatever the number of workers or
processes, and after a restart.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..image import SUFFIXES, decode_image, read_image, to_bytes
from ..noise import stream_key
from . import processes

MACOS_EXTRAS = "__MACOSX"  # a folder of hidden files, with pictures' suffixes, that macOS adds to zip files
SCALARS = 4  # standard normals that come with every sample, for its noise levels


def load_pictures(source: Path) -> list[np.ndarray]:
    """All pictures below a folder or in a zip file, sorted by path, as uint8 arrays ``[3, H, W]``.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    images = zipped_images(source) if source.is_file() else folder_images(source)
    progress = tqdm(images, desc=source.name, leave=False, disable=processes.rank() > 0)
    pictures = [np.ascontiguousarray(to_bytes(image).transpose(2, 0, 1)) for image in progress]
    if not pictures:
        raise ValueError(f"no pictures {'in' if source.is_file() else 'below'} {source}")
    return pictures


def folder_images(folder: Path) -> Iterator[Tensor]:
    for file in sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES):
        yield read_image(file)


def zipped_images(path: Path) -> Iterator[Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = (PurePosixPath(name) for name in archive.namelist())
            for entry in sorted(e for e in entries if e.suffix.lower() in SUFFIXES and e.parts[0] != MACOS_EXTRAS):
                yield decode_image(io.BytesIO(archive.read(str(entry))), f"{path}/{entry}")
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a zip file of pictures ({error})") from None


class Crops(Dataset):
    """Endless random crops: item ``i`` is ``(picture uint8 [3, crop, crop], normals float32 [4], i)``.

    ``folders`` are ``(pictures, weight)`` pairs; a folder is drawn in proportion to its weight. Pictures smaller than
    the crop are extended by reflection.
    """

    def __init__(self, folders: Sequence[tuple[list[np.ndarray], float]], crop: int, seed: int):
        self.folders = [pictures for pictures, _ in folders]
        weights = np.array([weight for _, weight in folders], dtype=float)
        if not len(folders) or not ((weights > 0) & np.isfinite(weights)).all():
            raise ValueError(f"every folder needs a positive, finite weight, found {weights.tolist()}")
        self.cumulative = (weights / weights.sum()).cumsum()
        self.crop, self.seed = crop, seed

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        rng = np.random.Generator(np.random.Philox(key=stream_key(self.seed, index)))
        pictures = self.folders[min(np.searchsorted(self.cumulative, rng.random()), len(self.folders) - 1)]
        picture = pictures[rng.integers(len(pictures))]
        pad = [max(0, self.crop - n) for n in picture.shape[1:]]
        if any(pad):
            picture = np.pad(picture, ((0, 0), *((p // 2, p - p // 2) for p in pad)), mode="symmetric")
        top, left = (rng.integers(n - self.crop + 1) for n in picture.shape[1:])
        picture = picture[:, top : top + self.crop, left : left + self.crop]
        if rng.random() < 0.5:
            picture = picture[:, :, ::-1]
        normals = rng.standard_normal(SCALARS, dtype=np.float32)
        return torch.from_numpy(picture.copy()), torch.from_numpy(normals), index

    def batches(
        self, first: int, batch: int, workers: int = 0, pin: bool = False, share: tuple[int, int] = (0, 1)
    ) -> Iterator[list[Tensor]]:
        """Batches of consecutive samples from sample ``first`` on, without end.

        With ``share`` (k, n) it is the k-th of n equal, consecutive parts of every batch.
        """
        number, size = share[0], batch // share[1]

        def indices() -> Iterator[list[int]]:
            start = first + number * size
            while True:
                yield list(range(start, start + size))
                start += batch

        return iter(
            DataLoader(
                self,
                batch_sampler=indices(),
                num_workers=workers,
                pin_memory=pin,
                prefetch_factor=4 if workers else None,
                multiprocessing_context="fork" if workers else None,
            )
        )


def seed_of(seed: int, index: tuple[int, ...]) -> int:
    """A well-mixed seed for a torch generator, which takes 63 bits."""
    return stream_key(seed, index) % 2**63


class SampleNoise:
    """Standard normals for training samples, drawn on the device, a function of ``(seed, sample index)`` alone."""

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device):
        self.device = device
        self.generators = []
        for index in indices:
            self.generators.append(torch.Generator(device=device).manual_seed(seed_of(seed, (int(index), 1))))

    def split(self, count: int) -> list[SampleNoise]:
        """``count`` sources for consecutive equal shares of the samples; each stream goes on where it is."""
        size = len(self.generators) // count
        parts = [SampleNoise(0, (), self.device) for _ in range(count)]
        for i, part in enumerate(parts):
            part.generators = self.generators[i * size : (i + 1) * size]
        return parts

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """The next normals ``[B, *shape]``, each sample from its own stream."""
        out = torch.empty(len(self.generators), *shape, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out


def to_unit(pictures: Tensor, device: torch.device) -> Tensor:
    """uint8 pictures to float images in [-1, 1] on ``device``."""
    return pictures.to(device, non_blocking=True).float() / 127.5 - 1
