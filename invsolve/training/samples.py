"""What a training step gets: a batch on the device, with a random stream of its own for each sample."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.crops import to_unit
from ..data.labels import dropped, one_hot
from ..runtime import processes
from ..runtime.random_streams import stream_key
from ..specs.recipe import RunConfig


def seed_of(seed: int, index: tuple[int, ...]) -> int:
    """A well-mixed seed for a torch generator, which takes 63 bits."""
    return stream_key(seed, index) % 2**63


def seed_dropout(seed: int, number: int) -> None:
    """Seed torch's global generators, which dropout samples from, for step ``number`` and this process.

    Each process has other masks for its share of the batch, which are no part of those that one alone would sample.
    ``torch.manual_seed`` would remember every call, and where it came from, until CUDA is in use.
    """
    own = seed_of(seed, (number, 2) if processes.rank() == 0 else (number, 2, processes.rank()))
    torch.default_generator.manual_seed(own)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(own)


class SampleNoise:
    """Standard normals for training samples, made on the device, a function of ``(seed, sample index)`` alone."""

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device):
        self.device = device
        seeds = [seed_of(seed, (int(index), 1)) for index in indices]
        self.generators = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]

    def split(self, count: int) -> list[SampleNoise]:
        """``count`` sources for consecutive equal shares of the samples; each stream goes on where it is."""
        size = len(self.generators) // count
        parts = [copy.copy(self) for _ in range(count)]
        for i, part in enumerate(parts):
            part.generators = self.generators[i * size : (i + 1) * size]
        return parts

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """The next normals ``[B, *shape]``, each sample from its own stream."""
        out = torch.empty(len(self.generators), *shape, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out


@dataclass
class Samples:
    """Images ``x`` ``[B, C, H, W]``, scalar normals ``[B, 4]`` and a noise source.

    ``labels`` ``[B, n]`` are their classes, one-hot or, where they are hidden, zeros; None where there are no classes.
    """

    x: Tensor
    normals: Tensor
    noise: SampleNoise
    labels: Tensor | None = None

    @classmethod
    def of(cls, batch: list[Tensor], config: RunConfig, classes: int, device: torch.device) -> Samples:
        """A batch of ``Crops`` on the device, with a share of the labels hidden."""
        pictures, normals, indices, labels = batch
        noise = SampleNoise(config.seed, indices.tolist(), device)
        hot = one_hot(dropped(labels, normals[:, -1], config.label_dropout), classes)
        hot = None if hot is None else hot.to(device, non_blocking=True)
        return cls(to_unit(pictures, device), normals.to(device, non_blocking=True), noise, hot)

    def split(self, count: int) -> list[Samples]:
        """``count`` micro-batches of B / count samples each; their noise is what it would have been in the batch."""
        if count == 1:
            return [self]
        labels = [None] * count if self.labels is None else self.labels.chunk(count)
        parts = (self.x.chunk(count), self.normals.chunk(count), self.noise.split(count), labels)
        return [Samples(*part) for part in zip(*parts, strict=True)]
