"""What a training reads before it begins: its pictures, with their classes, and the part of them that is held out."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..priors.spectrum import radial_spectrum
from ..runtime import processes
from ..specs.recipe import RunConfig
from .crops import Crops, to_unit
from .labels import class_labels, class_names, one_hot
from .sources import Source, load_pictures

GIGABYTE = 1e9


@dataclass(frozen=True)
class HeldOut:
    """Images ``[B, 3, crop, crop]`` for validation, perhaps none, with their classes, one-hot, where there are any."""

    images: Tensor
    labels: Tensor | None = None

    def first(self, count: int) -> HeldOut:
        return HeldOut(self.images[:count], None if self.labels is None else self.labels[:count])


def read_data(
    data: Sequence[str], config: RunConfig, cache: Path, classes: int = 0
) -> tuple[Crops, list[np.ndarray], list[int]]:
    """Training crops from folders or zip files, ``PATH`` or ``PATH:WEIGHT``, and the held-out pictures of the first.

    Pictures that together take more than ``config.memory_gb`` once they are decoded, or that several processes need,
    lie in a file in ``cache``. Held out are the last ``config.holdout`` of every source, or with classes the last of
    each, in proportion. Third is the held-out pictures' classes, empty where ``classes`` is 0.

    Raises:
        ValueError: one is missing, has too few pictures, in all or of its classes, or one that cannot be read or has no
            class, or its weight is not positive.
    """
    entries = [folder_and_weight(entry) for entry in data]
    sources, weights = [Source(path) for path, _ in entries], [weight for _, weight in entries]
    for source in sources:
        if len(source.names) <= config.holdout:
            raise ValueError(f"{source.path} has {len(source.names)} pictures but {config.holdout} are to be held out")
    labels = class_labels(sources, classes)
    held_out = [held_out_numbers(*each, config.holdout) for each in zip(sources, labels, strict=True)]
    small = processes.count() == 1 and sum(s.decoded_bytes() for s in sources) <= config.memory_gb * GIGABYTE
    pictures = [load_pictures(source, None if small else cache) for source in sources]
    folders, kept_labels = [], []
    for each, weight, classified, held in zip(pictures, weights, labels, held_out, strict=True):
        folders.append(([picture for i, picture in enumerate(each) if i not in held], weight))
        kept_labels.append([label for i, label in enumerate(classified) if i not in held])
    crops = Crops(folders, config.crop, config.seed, kept_labels, classes, config.zoom)
    first = sorted(held_out[0])
    return crops, [pictures[0][i] for i in first], [labels[0][i] for i in first if classes]


def held_out_numbers(source: Source, labels: Sequence[int], count: int) -> set[int]:
    """Which of a source's pictures are held out: the last ``count``, or, with ``labels``, the last ones of each class.

    Raises:
        ValueError: a class would have no picture left to train on.
    """
    if not labels:
        return set(range(len(source.names) - count, len(source.names)))
    sizes = Counter(labels)
    if count > len(labels) - len(sizes):
        raise ValueError(
            f"{source.path} has {len(labels)} pictures of {len(sizes)} classes but {count} are to be held out, which "
            "leaves a class without a picture to train on"
        )
    numbers, shares = set(), proportional(sizes, count)
    for number, label in reversed(list(enumerate(labels))):
        if shares[label]:
            shares[label] -= 1
            numbers.add(number)
    return numbers


def proportional(sizes: Mapping[int, int], count: int) -> dict[int, int]:
    """Shares that sum to ``count``, in proportion to ``sizes`` up to rounding, and each less than its size."""
    total = sum(sizes.values())
    shares = {name: count * size // total for name, size in sorted(sizes.items())}
    while sum(shares.values()) < count:
        wanting = {name: count * sizes[name] - total * n for name, n in shares.items() if n < sizes[name] - 1}
        shares[max(wanting, key=wanting.get)] += 1  # of equals the first
    return shares


def classes_of(data: Sequence[str], classes: int) -> list[str]:
    """Names of the classes that folders' names give; none where there are no classes, or their files number them."""
    return class_names([Source(folder_and_weight(entry)[0]) for entry in data]) if classes else []


def describe_data(data: Sequence[str], classes: int = 0) -> list[str]:
    """A line a source that tells it from others, wherever it lies: its pictures, their classes and its weight."""
    entries = [folder_and_weight(entry) for entry in data]
    sources = [Source(path) for path, _ in entries]
    lines = [f"{len(s.names)} of weight {w:g} ({s.content()})" for s, (_, w) in zip(sources, entries, strict=True)]
    if not classes:
        return lines
    digests = [hashlib.blake2b(repr(each).encode(), digest_size=8) for each in class_labels(sources, classes)]
    # The last words tell states of versions that held out the last classes, not a part of each.
    return [
        f"{line} of classes ({digest.hexdigest()}), each held out in part"
        for line, digest in zip(lines, digests, strict=True)
    ]


def folder_and_weight(entry: str) -> tuple[Path, float]:
    """``PATH:WEIGHT``, or ``PATH`` for weight 1; one whose own name ends like a weight is taken whole."""
    name, _, weight = entry.rpartition(":")
    if name and not Path(entry).exists():
        with contextlib.suppress(ValueError):
            return Path(name), float(weight)
    return Path(entry), 1.0


def center_crops(pictures: Sequence[np.ndarray], size: int, device: torch.device) -> Tensor:
    """Central ``size`` x ``size`` pixels of every picture that has them, as images in [-1, 1]; perhaps none."""
    fitting = [p for p in pictures if min(p.shape[1:]) >= size]
    corners = [((p.shape[1] - size) // 2, (p.shape[2] - size) // 2) for p in fitting]
    crops = [p[:, i : i + size, j : j + size] for p, (i, j) in zip(fitting, corners, strict=True)]
    return to_unit(torch.from_numpy(np.stack(crops) if crops else np.empty((0, 3, size, size), np.uint8)), device)


def held_out_images(
    pictures: Sequence[np.ndarray], labels: Sequence[int], size: int, classes: int, device: torch.device
) -> HeldOut:
    """:func:`center_crops` of held-out pictures, with their classes."""
    fitting = [label for p, label in zip(pictures, labels, strict=False) if min(p.shape[1:]) >= size]
    hot = one_hot(torch.tensor(fitting, dtype=torch.long, device=device), classes)
    return HeldOut(center_crops(pictures, size, device), hot)


def training_spectrum(crops: Crops) -> Tensor:
    """Radial power spectrum of 512 training crops, for the solver's warm start."""
    pictures = torch.stack([crops[index][0] for index in range(512)])
    return radial_spectrum(to_unit(pictures, torch.device("cpu")))
