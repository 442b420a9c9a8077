"""Large batches through a network in micro-batches, and large images in overlapping tiles where it must be."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..runtime.memory import Limit, in_micro_batches, release
from .denoiser import Denoiser, as_levels, classes

TILE = 512  # pixels a side, for networks of any size
OVERLAP = 64  # pixels that neighbouring tiles share, at least

# Bytes of a network's finest layer on a CPU. A float32 network takes about 20 times as much.
MICRO_BATCH = 2**23  # at a time: tensors larger than this cost page faults at every operation
LARGEST = 2**27  # for an image as a whole
UNKNOWN = 512.0  # a pixel's, for networks that do not tell: 128 channels


class Tiled(nn.Module):
    """A denoiser that takes large batches in micro-batches and large images in overlapping tiles.

    The tiles are ``tile`` pixels a side.

    Called as the :class:`Denoiser` it wraps. A ``fixed`` one knows images of ``tile`` x ``tile`` pixels only: it never
    gets anything else, and a smaller image is extended by reflection. Otherwise tiles are for images with a side
    longer than ``tile``: ``always``, or when memory asks for it. That is, on a CPU, when the network's finest layer
    would have more than ``LARGEST`` bytes (2 megapixels with the default prior); on a GPU, from when memory has run
    out on, for images of that size and larger. So many tiles as have fitted are evaluated at a time.

    Denoised tiles are blended by :func:`blend_weights`. No noise is drawn here: a generative denoiser's copies of an
    image are noised as a whole and then cut, so neighbouring tiles see the same noise where they overlap.

    Raises:
        ValueError: ``tile`` is no multiple of the network's, or too small for the overlap.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tile: int = TILE,
        overlap: int = OVERLAP,
        fixed: bool = False,
        always: bool = False,
    ) -> None:
        super().__init__()
        self.multiple = getattr(denoiser.network, "multiple", 1)
        overlap += -overlap % self.multiple
        if tile % self.multiple or tile < 2 * overlap:
            raise ValueError(
                f"tiles are {tile} pixels a side but must be a multiple of {self.multiple}, at least {2 * overlap}"
            )
        self.denoiser, self.tile, self.overlap, self.fixed, self.always = denoiser, tile, overlap, fixed, always
        self.too_many_pixels = math.inf  # of an image as a whole: so many did not fit into memory
        self.tiles_at_once = Limit()
        config = getattr(denoiser.network, "config", None)
        self.pixel_bytes = UNKNOWN if config is None else 4 * config.widths[0] / 4**config.haar

    def forward(
        self,
        u: Tensor,
        sigma: float | Tensor,
        condition: Tensor | None = None,
        sigma_condition: float | Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``u`` ``[B, C, H, W]``, levels a float or ``[B]``; returns the denoised images ``[B, C, H, W]``."""
        inputs = {"u": u, "sigma": as_levels(sigma, u)}
        if condition is not None:
            inputs |= {"condition": condition, "sigma_condition": as_levels(sigma_condition, u)}
        inputs |= classes(labels)
        if self._too_large(u):
            return self._in_tiles(inputs)
        try:
            return self._whole(inputs)
        except torch.cuda.OutOfMemoryError:
            if len(u) > 1 or max(u.shape[-2:]) <= self.tile:
                raise  # of several images, the caller may take fewer
        release()  # here, where the exception no longer keeps the image's tensors alive
        self.too_many_pixels = u.shape[-2] * u.shape[-1]
        return self._in_tiles(inputs)

    def _too_large(self, u: Tensor) -> bool:
        height, width = u.shape[-2:]
        if self.fixed:
            return (height, width) != (self.tile, self.tile)
        if max(height, width) <= self.tile:
            return False
        if self.always or height * width >= self.too_many_pixels:
            return True
        return not u.is_cuda and self.pixel_bytes * height * width > LARGEST

    def _micro_batch(self, u: Tensor, count: int, pixels: int) -> int:
        """How many of ``count`` images or tiles of so many pixels are evaluated at a time."""
        return count if u.is_cuda else max(1, int(MICRO_BATCH / (self.pixel_bytes * pixels)))

    def _whole(self, inputs: dict[str, Tensor]) -> Tensor:
        u = inputs["u"]
        micro_batch = self._micro_batch(u, len(u), u.shape[-2] * u.shape[-1])
        if micro_batch >= len(u):
            return self.denoiser(**inputs)
        micro_batches = zip(*(value.split(micro_batch) for value in inputs.values()), strict=True)
        return torch.cat([self.denoiser(**dict(zip(inputs, values, strict=True))) for values in micro_batches])

    def _in_tiles(self, inputs: dict[str, Tensor]) -> Tensor:
        u, tile = inputs["u"], self.tile
        height, width = (max(n + -n % self.multiple, tile) for n in u.shape[-2:])
        inputs = {name: extend(value, height, width) if value.ndim == 4 else value for name, value in inputs.items()}
        rows, columns = (starts(n, tile, self.overlap, self.multiple) for n in (height, width))
        vertical, horizontal = (
            blend_weights(firsts, tile, self.overlap).to(u)[:, None] for firsts in (rows, columns)
        )  # [tiles, 1, tile]
        places = [(b, i, j) for b in range(len(u)) for i in range(len(rows)) for j in range(len(columns))]
        denoised: list[Tensor | None] = [None] * len(places)

        def cut(value: Tensor, b: int, i: int, j: int) -> Tensor:
            return value[b, :, rows[i] :, columns[j] :][:, :tile, :tile] if value.ndim == 4 else value[b]

        def work(some: slice) -> None:
            here = places[some]
            cuts = {name: torch.stack([cut(value, *place) for place in here]) for name, value in inputs.items()}
            denoised[some] = self.denoiser(**cuts)

        in_micro_batches(len(places), self._micro_batch(u, len(places), tile**2), work, self.tiles_at_once)
        blended = torch.zeros_like(inputs["u"])
        for (b, i, j), value in zip(places, denoised, strict=True):
            blended[b, :, rows[i] :, columns[j] :][:, :tile, :tile] += vertical[i].mT * value * horizontal[j]
        return blended[..., : u.shape[-2], : u.shape[-1]]


def starts(length: int, tile: int, overlap: int, multiple: int) -> list[int]:
    """First pixels of tiles that cover ``length`` pixels evenly and overlap by ``overlap`` or more, as multiples.

    All arguments are multiples of ``multiple``, so that every tile has the network's grid of the whole image.
    """
    room = (length - tile) // multiple
    stride = (tile - overlap) // multiple
    last = math.ceil(room / stride)
    return [i * room // last * multiple for i in range(last + 1)] if last else [0]


def blend_weights(firsts: list[int], tile: int, overlap: int) -> Tensor:
    """Smooth weights ``[tiles, tile]`` in float64 that sum to 1 at every pixel.

    Towards a neighbour a tile's weight falls as a squared sine over the middle half of the overlap; on the outermost
    quarter it is 0, because there the tile lacks its surroundings.
    """
    margin = overlap // 4
    pixel = torch.arange(tile, dtype=torch.float64) + 0.5
    ramp = torch.sin(((pixel - margin) / (overlap - 2 * margin)).clamp(0, 1) * (math.pi / 2)).square()
    raw = torch.ones(len(firsts), tile, dtype=torch.float64)
    raw[1:] *= ramp
    raw[:-1] *= ramp.flip(0)
    total = torch.zeros(firsts[-1] + tile, dtype=torch.float64)
    for first, weight in zip(firsts, raw, strict=True):
        total[first : first + tile] += weight
    return torch.stack([w / total[first : first + tile] for first, w in zip(firsts, raw, strict=True)])


def extend(x: Tensor, height: int, width: int) -> Tensor:
    """``x`` continued to ``height`` x ``width`` below and to the right by reflection about its edge pixels."""
    for dim, size in ((-2, height), (-1, width)):
        if size > x.shape[dim]:
            x = x.index_select(dim, reflected(x.shape[dim], 0, size, x.device))
    return x


def reflected(length: int, first: int, stop: int, device: torch.device) -> Tensor:
    """Indices of the pixels at ``first`` to before ``stop``, some beyond the edges, by reflection about edge pixels."""
    index = torch.arange(first, stop, device=device) % max(2 * length - 2, 1)
    return torch.minimum(index, (2 * length - 2 - index).abs())
