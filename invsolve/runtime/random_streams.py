"""One random stream per image, so that no result depends on batch size, order, device or number of processes."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Sequence

import numpy as np
import torch

MEASUREMENT = -1  # (picture's stream index, -1): noise of a simulated measurement; samples are numbered from 0 on


class NoiseStreams:
    """Standard normal noise for a batch of images, each image drawing from a stream of its own.

    A stream is a Philox counter generator on the CPU, keyed by a 128-bit hash of ``(seed, *index)``. Distinct keys
    give distinct streams; a ``torch.Generator`` would not do, because on the CPU it keeps only 32 bits of its seed, and
    among 100,000 streams two would probably be the same. Normals are drawn in float32 and then cast, so that the
    precision of a computation does not change its noise.

    Args:
        seed: any integer; another seed gives other noise for every image.
        indices: one key per image, in the order of the batch: an integer, or a tuple of integers such as
            ``(image, sample)``. ``i`` and ``(i,)`` name the same stream.
        device, dtype: of the tensors returned; dtype must be a floating-point one.

    Raises:
        TypeError: a seed or an index is not an integer (or a tuple of them), or dtype is not floating-point.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int | tuple[int, ...]],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not dtype.is_floating_point:
            raise TypeError(f"noise is of a floating-point dtype, not {dtype}")
        self.device = device
        self.dtype = dtype
        self._streams = [np.random.Generator(np.random.Philox(key=stream_key(seed, index))) for index in indices]

    def __len__(self) -> int:
        return len(self._streams)

    def __call__(self, shape: Sequence[int]) -> torch.Tensor:
        """The next standard normals ``[B, *shape]``; ``shape`` is that of one image, without the batch."""
        noise = np.empty((len(self._streams), math.prod(shape)), dtype=np.float32)
        for stream, row in zip(self._streams, noise, strict=True):
            stream.standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(noise).reshape(-1, *shape).to(device=self.device, dtype=self.dtype)


def stream_key(seed: int, index: int | tuple[int, ...]) -> int:
    """A 128-bit key for the stream of image ``index`` under ``seed``: the same on every platform and Python.

    The hash is taken of the written-out numbers, whose lengths and signs are then unambiguous: ``(1,)``, ``(1, 0)``
    and ``(10,)`` have unrelated keys.
    """
    numbers = (seed, *index) if isinstance(index, tuple) else (seed, index)
    try:
        text = ",".join(str(operator.index(number)) for number in numbers)
    except TypeError:
        raise TypeError(f"a noise stream is keyed by integers, not by seed {seed!r} and index {index!r}") from None
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def stream_index(name: str) -> int:
    """The stream index of a picture: a hash of its name, because its place among the others is not stable.

    ``solve(y, ..., seed=seed, indices=[stream_index("face")])`` repeats what ``invsolve run`` does to ``face.png``.
    The hash is of the name in UTF-8, or of the bytes of a file's name that are none.
    """
    content = name.encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
