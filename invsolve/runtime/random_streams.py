"""One random stream per image, so that no result depends on batch size, order, device or number of processes."""

from __future__ import annotations

import copy
import hashlib
import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

from .philox import BLOCK, box_muller, philox, signed

MEASUREMENT = -1  # (picture's stream index, -1): noise of a simulated measurement; samples are numbered from 0 on
VERSION = 2  # of the values that a key gives; 1 were NumPy's normals
IN_CACHE = 2**15  # words that are made into normals at a time on a CPU


class NoiseStreams:
    """Standard normal noise for a batch of images, each image drawing from a stream of its own.

    A stream is NumPy's Philox counter generator keyed by a 128-bit hash of ``(seed, *index)``. Distinct keys give
    distinct streams; a ``torch.Generator`` would not do, because on the CPU it keeps only 32 bits of its seed, and
    among 100,000 streams two would probably be the same. CUDA makes the same integers for all images at once (see
    ``philox.py``), so that noise differs between devices by rounding alone. Normals are made in float32 and then cast:
    the precision of a computation does not change its noise.

    ``solve(seed=s)`` draws from the streams ``(s, index)``: noise that simulates a measurement must be of others, such
    as ``(index, MEASUREMENT)`` or another seed's, or the sampler draws it again.

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
        keys = key_words([stream_key(seed, index) for index in indices])
        self.device, self.dtype = torch.device(device), dtype
        on_cuda = self.device.type == "cuda"
        self.keys = keys.pin_memory().to(device, non_blocking=True) if on_cuda else keys
        self._used = 0  # blocks of each stream
        self._generators: list[np.random.Philox] | None = None  # of these, on the CPU

    def from_start(self, keys: torch.Tensor) -> NoiseStreams:
        """The streams of ``keys``, such as those in ``self.keys``, from their start."""
        streams = copy.copy(self)
        streams.keys, streams._used, streams._generators = keys, 0, None
        return streams

    def __len__(self) -> int:
        return len(self.keys)

    def __call__(self, shape: Sequence[int]) -> torch.Tensor:
        """The next standard normals ``[B, *shape]``; ``shape`` is that of one image, without the batch."""
        count = math.prod(shape)
        blocks = -(-count // (2 * BLOCK))
        noise = self._on_cuda(blocks) if self.device.type == "cuda" else self._on_cpu(blocks)
        self._used += blocks
        return noise[:, :count].reshape(-1, *shape).to(device=self.device, dtype=self.dtype)

    def _on_cpu(self, blocks: int) -> torch.Tensor:
        """Normals ``[B, 8 blocks]``: of all words the first one, then of all words the second one."""
        if self._generators is None:
            self._generators = [np.random.Philox(key=key) for key in self.keys.numpy().view(np.uint64)]
        count = BLOCK * blocks
        noise = torch.empty(len(self), 2, count, dtype=torch.float32, device="cpu")
        together = max(1, IN_CACHE // count)  # images
        for first in range(0, len(self), together):
            generators = self._generators[first : first + together]
            for part in noise[first : first + together].split(IN_CACHE, dim=2):
                words = np.stack([generator.random_raw(part.shape[2]) for generator in generators])
                torch.stack(box_muller(torch.from_numpy(words.view(np.int64))), dim=1, out=part)
        return noise.flatten(1)

    def _on_cuda(self, blocks: int) -> torch.Tensor:
        fused = fused_normals(self.device)
        if fused is not None:
            return fused(self.keys, self._used, blocks)
        return torch.cat(box_muller(philox(self.keys, self._used, blocks)), dim=1)


def key_words(keys: Sequence[int]) -> torch.Tensor:
    """Keys of 128 bits as pairs of 64-bit words ``[B, 2]``, the lower half first."""
    words = [[signed(key % 2**64), signed(key >> 64)] for key in keys]
    return torch.tensor(words, dtype=torch.int64, device="cpu").reshape(-1, 2)


@lru_cache
def fused_normals(device: torch.device) -> Callable[[torch.Tensor, int, int], torch.Tensor] | None:
    """The kernel of ``philox_triton.py``, if it can be compiled here and gives what the tensor operations give."""
    try:
        from . import philox_triton

        keys = torch.arange(4, device=device).view(2, 2)
        found = philox_triton.fused_normals(keys, 1, 3)
        expected = torch.cat(box_muller(philox(keys, 1, 3)), dim=1)
        agrees = torch.allclose(found, expected, atol=1e-3)
    except Exception:  # without Triton, without a compiler for it, on a GPU that it does not know: many kinds
        return None
    return philox_triton.fused_normals if agrees else None


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
