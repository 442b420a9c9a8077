"""The pictures of a training: read from folders and zip files, with their classes, and a part of them held out."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..runtime import processes
from ..specs.recipe import RunConfig
from .crops import Crops, in_bytes, to_unit
from .labels import class_labels, class_names, one_hot
from .sources import Source, digest, load_pictures

GIGABYTE = 1e9


@dataclass(frozen=True)
class HeldOut:
    """Images ``[B, C, crop, crop]`` for validation, perhaps none, with their classes, one-hot, where there are any.

    ``name`` is that of the source, its file's or folder's.
    """

    images: Tensor
    labels: Tensor | None = None
    name: str = ""

    def first(self, count: int) -> HeldOut:
        labels = None if self.labels is None else self.labels[:count]
        return HeldOut(self.images[:count], labels, self.name)


class TrainingSet:
    """The pictures of folders or zip files, ``PATH`` or ``PATH:WEIGHT``, for a network that knows ``classes``.

    They are in colour, or for a network of one channel in gray.

    Raises:
        ValueError: one is missing or has no pictures, or one of these has no class; ``channels`` is not 1 or 3.
    """

    def __init__(self, data: Sequence[str], classes: int = 0, channels: int = 3):
        if channels not in (1, 3):
            raise ValueError(f"the network has images of {channels} channels but pictures have 3, or 1 in gray")
        self.channels = channels
        entries = [path_and_weight(entry) for entry in data]
        self.sources, self.weights = [Source(path) for path, _ in entries], [weight for _, weight in entries]
        self.classes, self.labels = classes, class_labels(self.sources, classes)

    @property
    def class_names(self) -> list[str]:
        """Those that folders give; none where there are no classes, or their files number them."""
        return class_names(self.sources) if self.classes else []

    def describe(self) -> list[str]:
        """A line a source that tells it from others, wherever it lies: its pictures, their classes and its weight."""
        lines = []
        for source, weight, labels in zip(self.sources, self.weights, self.labels, strict=True):
            line = f"{len(source.names)} of weight {weight:g} ({source.content()})"
            # The last words tell states of versions that held out the last classes, not a part of each.
            lines.append(f"{line} of classes ({digest(labels)}), each held out in part" if self.classes else line)
        return lines

    def read(self, config: RunConfig, cache: Path, device: torch.device) -> tuple[Crops, list[HeldOut]]:
        """Crops of the pictures to train on, and the held-out ones of every source.

        Pictures that together take more than ``config.memory_gb`` once they are decoded, or that several processes
        need, lie in a file in ``cache``. Held out are the last ``config.holdout`` of every source, or with classes the
        last of each, in proportion; of these, ``HeldOut`` shows the centres of those that are large enough. Sources
        that share a name are told apart by their number.

        Raises:
            ValueError: too few pictures, in all or of a class, one that cannot be read, or a weight is not positive.
        """
        held_out = [held_out_numbers(*each, config.holdout) for each in zip(self.sources, self.labels, strict=True)]
        size = sum(source.decoded_bytes() for source in self.sources) if processes.count() == 1 else float("inf")
        pictures = [load_pictures(s, None if size <= config.memory_gb * GIGABYTE else cache) for s in self.sources]
        kept = [[i for i in range(len(each)) if i not in held] for each, held in zip(pictures, held_out, strict=True)]
        folders = [[each[i] for i in numbers] for each, numbers in zip(pictures, kept, strict=True)]
        labels = [[each[i] for i in numbers if each] for each, numbers in zip(self.labels, kept, strict=True)]
        weighted = list(zip(folders, self.weights, strict=True))
        crops = Crops(weighted, config.crop, config.seed, labels, self.classes, config.zoom, self.channels)
        stems = [source.path.stem for source in self.sources]
        names = [stem if stems.count(stem) == 1 else f"{stem}-{i}" for i, stem in enumerate(stems, start=1)]
        each = zip(names, pictures, self.labels, held_out, strict=True)
        return crops, [self._shown(*one, config.crop, device) for one in each]

    def _shown(
        self, name: str, pictures: list[np.ndarray], labels: list[int], held: set[int], crop: int, device: torch.device
    ) -> HeldOut:
        """Of a source: the held-out pictures that are large enough."""
        shown = [i for i in sorted(held) if min(pictures[i].shape[1:]) >= crop]
        classes = torch.tensor([labels[i] for i in shown if self.classes], dtype=torch.long, device=device)
        images = center_crops([pictures[i] for i in shown], crop, device, self.channels)
        return HeldOut(images, one_hot(classes, self.classes), name)


def held_out_numbers(source: Source, labels: Sequence[int], count: int) -> set[int]:
    """Which of a source's pictures are held out: the last ``count``, or, with ``labels``, the last ones of each class.

    Raises:
        ValueError: the source, or a class, would have no picture left to train on.
    """
    found = f"{len(source.names)} picture{'s' if len(source.names) > 1 else ''}"
    found, each = (f"{found} of {len(set(labels))} classes", "one of each") if labels else (found, "one")
    labels = labels or [0] * len(source.names)
    sizes = Counter(labels)
    if count > len(labels) - len(sizes):
        raise ValueError(f"{source.path} has {found} but holdout is {count}: it must leave {each} to train on")
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


def path_and_weight(entry: str) -> tuple[Path, float]:
    """``PATH:WEIGHT``, or ``PATH`` for weight 1; one whose own name ends like a weight is taken whole."""
    name, _, weight = entry.rpartition(":")
    if name and not Path(entry).exists():
        with contextlib.suppress(ValueError):
            return Path(name), float(weight)
    return Path(entry), 1.0


def center_crops(pictures: Sequence[np.ndarray], size: int, device: torch.device, channels: int = 3) -> Tensor:
    """Central ``size`` x ``size`` pixels of pictures ``[3, H, W]``, as images ``[B, C, size, size]`` in [-1, 1]."""
    corners = [((p.shape[1] - size) // 2, (p.shape[2] - size) // 2) for p in pictures]
    crops = [p[:, i : i + size, j : j + size] for p, (i, j) in zip(pictures, corners, strict=True)]
    found = np.stack([in_bytes(crop, channels) for crop in crops]) if crops else np.empty((0, channels, size, size))
    return to_unit(torch.from_numpy(found.astype(np.uint8)), device)
