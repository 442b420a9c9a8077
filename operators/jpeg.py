"""JPEG: discrete cosine transforms of 8x8 pixels, of a luma and two chroma planes, whose coefficients are rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from operators.base import LinearOperator
from operators.checks import check_integer, image_shape
from operators.grayscale import REC601
from operators.noise import Noise, Quantized
from operators.truncated import truncated_normal

BLOCK = 8
GRAY = 127.5  # gray levels of 255 to one unit on [-1, 1]
SWEEPS = 4  # over the planes, of a sample; each leaves about a fifth of the dependence on the one before
MARGIN = 1.0  # gray levels that a projected coefficient keeps from the border of its interval, where that is wide
RED, GREEN, BLUE = REC601
TO_YCC = (
    REC601,
    (-RED / (2 - 2 * BLUE), -GREEN / (2 - 2 * BLUE), 0.5),
    (0.5, -GREEN / (2 - 2 * RED), -BLUE / (2 - 2 * RED)),
)
SUBSAMPLING = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2), "4:4:0": (2, 1), "4:1:1": (1, 4)}  # rows, columns
# Annex K of the standard (ITU-T T.81, 1992): luma and chroma at quality 50.
TABLES = (
    (
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ),
    (
        (17, 18, 24, 47, 99, 99, 99, 99),
        (18, 21, 26, 66, 99, 99, 99, 99),
        (24, 26, 56, 99, 99, 99, 99, 99),
        (47, 66, 99, 99, 99, 99, 99, 99),
        *((99,) * 8 for _ in range(4)),
    ),
)


class JPEG(LinearOperator):
    """The cosine coefficients of a JPEG before they are rounded, one plane after the other, `y [B, coefficients]`.

    Of a colour image they are those of Y, Cb and Cr, the latter averaged over `subsampling` rows and columns; of one
    channel its own. On the scale of [-1, 1]: the file's are 127.5 times as large. Which of them a file holds, and how
    finely rounded, says `rounding`, the noise model of a JPEG:

        y = operator.measure(x, operator.rounding)
        x = solve(y, operator, noise=operator.rounding)

    Given the other planes, the noise of one is white, and its coefficients are independent: samples within the
    intervals are made plane by plane (blocked Gibbs sampling), a few times over.

    Arguments:
        in_shape: (C, H, W), of 1 or 3 channels; H and W are multiples of 8 times the subsampling.
        tables: for each plane the 8x8 steps of its coefficients, in gray levels (`quality_tables`); or, as large as the
            plane, those of each coefficient, infinite where it is not known.
        subsampling: rows and columns over which chroma is averaged.

    Raises:
        ValueError: another number of channels or tables, or sides that the blocks do not fill.
    """

    def __init__(self, in_shape: tuple[int, int, int], tables: Sequence[Tensor], subsampling: tuple[int, int] = (2, 2)):
        channels, height, width = image_shape(in_shape)
        if channels not in (1, 3):
            raise ValueError(f"the image has {channels} channels but a JPEG has 1 or 3")
        if len(tables) != channels:
            raise ValueError(f"there are {len(tables)} tables but {channels} planes")
        self.sampling = [(1, 1), subsampling, subsampling][:channels]
        rows, columns = (BLOCK * factor for factor in self.sampling[-1])
        if height % rows or width % columns:
            raise ValueError(
                f"the image is {height}x{width} but the blocks of a JPEG fill multiples of {rows}x{columns}"
            )
        self.plane_shapes = [(height // fy, width // fx) for fy, fx in self.sampling]
        super().__init__(in_shape, (sum(math.prod(shape) for shape in self.plane_shapes),))
        to_planes = TO_YCC if channels == 3 else ((1.0,),)
        ycc = torch.tensor(to_planes, dtype=torch.float64, device="cpu")
        self.register_exact("to_planes", ycc)
        self.register_exact("to_image", torch.linalg.inv(ycc))
        self.register_exact("cosines", torch.from_numpy(dct(np.eye(BLOCK), axis=0, norm="ortho")))
        # Coefficients are rounded of pixels less 128, while 0 on [-1, 1] is 127.5.
        origins = [torch.zeros(BLOCK, BLOCK, dtype=torch.float64, device="cpu") for _ in tables]
        origins[0][0, 0] = BLOCK * (128 - GRAY)
        for name, blocks in (("steps", tables), ("origins", origins)):
            planes = [tiled(block, shape) for block, shape in zip(blocks, self.plane_shapes, strict=True)]
            self.register_exact(name, self._joined([plane[None] / GRAY for plane in planes]))

    @property
    def rounding(self) -> Quantized:
        """The noise model: each coefficient is rounded to a multiple of its step."""
        return Quantized(self.steps, self.origins)

    def forward(self, x: Tensor) -> Tensor:
        return self._joined([self._coefficients(p, k) for k, p in enumerate(self._mixed(self.to_planes, x))])

    def adjoint(self, y: Tensor) -> Tensor:
        parts = [self._enlarged(p, k) / math.prod(self.sampling[k]) for k, p in enumerate(self._planes(y))]
        return self._mixed(self.to_planes.T, torch.cat(parts, 1), join=True)

    def estimate(self, y: Tensor, noise: Noise) -> Tensor:
        """The decoded picture."""
        smooth = []
        for plane in self._planes(y):
            small = self._blocks(plane, self.cosines.T)
            smooth.append(interpolate(small, self.in_shape[1:], mode="bilinear", align_corners=False))
        return self._mixed(self.to_image, torch.cat(smooth, 1), join=True)

    def sample_within(self, x: Tensor, low: Tensor, high: Tensor, rho: float, noise: Noise) -> Tensor:
        planes = self._mixed(self.to_planes, x)
        goal, low, high = list(planes), self._planes(low), self._planes(high)
        weights = self.to_image.T @ self.to_image  # of the planes' errors: |u - x|² = e^T W e
        for _ in range(SWEEPS if len(planes) > 1 else 1):
            for k in range(len(planes)):
                others = [j for j in range(len(planes)) if j != k]
                pull = sum(weights[k, j] / weights[k, k] * (planes[j] - goal[j]) for j in others)
                mean, std = goal[k] - pull, rho / weights[k, k].sqrt()
                planes[k] = self._sample_plane(k, mean, std, low[k], high[k], noise)
        return self._mixed(self.to_image, torch.cat(planes, 1), join=True)

    def project_within(self, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """An image near x with its coefficients in the intervals: each plane is moved by as little as it can be.

        They keep a margin of a gray level, or a quarter of the interval, so that rounding to 8 bits leaves them there.
        """
        margin = torch.minimum((high - low) / 4, torch.full_like(low, MARGIN / GRAY))
        low, high, planes = self._planes(low + margin), self._planes(high - margin), self._mixed(self.to_planes, x)
        for k, plane in enumerate(planes):
            c = self._coefficients(plane, k)
            planes[k] = plane + self._enlarged(c.clamp(low[k], high[k]) - c, k)
        return self._mixed(self.to_image, torch.cat(planes, 1), join=True)

    def _sample_plane(self, k: int, mean: Tensor, std: Tensor, low: Tensor, high: Tensor, noise: Noise) -> Tensor:
        """N(mean, std² I) for one plane `[B, 1, H, W]`, given that its coefficients are within their intervals."""
        averaged = math.prod(self.sampling[k])
        plane = mean if averaged == 1 else mean + std * noise(tuple(mean.shape[1:]))
        n = noise(tuple(low.shape[1:]))
        c = truncated_normal(self._coefficients(mean, k), std / math.sqrt(averaged), low, high, n)
        return plane + self._enlarged(c - self._coefficients(plane, k), k)

    def _coefficients(self, plane: Tensor, k: int) -> Tensor:
        """Of a plane as large as the image."""
        small = plane if self.sampling[k] == (1, 1) else avg_pool2d(plane, self.sampling[k])
        return self._blocks(small, self.cosines)

    def _enlarged(self, coefficients: Tensor, k: int) -> Tensor:
        """The plane with these coefficients, each value of it repeated up to the image's size."""
        small = self._blocks(coefficients, self.cosines.T)
        rows, columns = self.sampling[k]
        return small.repeat_interleave(rows, -2).repeat_interleave(columns, -1)

    def _blocks(self, plane: Tensor, matrix: Tensor) -> Tensor:
        """M P M^T of each block P of 8x8 of a plane `[B, 1, H, W]`."""
        blocks = plane.unflatten(-2, (-1, BLOCK)).unflatten(-1, (-1, BLOCK))  # [B, 1, rows, 8, columns, 8]
        blocks = matrix @ blocks.movedim(3, 4) @ matrix.T
        return blocks.movedim(4, 3).flatten(-2).flatten(-3, -2)

    def _mixed(self, matrix: Tensor, x: Tensor, join: bool = False) -> Tensor | list[Tensor]:
        """The channels of an image as those of another, or one by one."""
        mixed = torch.einsum("ij,bjhw->bihw", matrix, x)
        return mixed if join else list(mixed.split(1, 1))

    def _planes(self, y: Tensor) -> list[Tensor]:
        """Values of all coefficients, as planes `[B, 1, h, w]` in which each block has its place."""
        y = y if y.ndim == 2 else y[None]
        parts = y.split([math.prod(shape) for shape in self.plane_shapes], 1)
        return [part.reshape(len(y), 1, *shape) for part, shape in zip(parts, self.plane_shapes, strict=True)]

    def _joined(self, planes: Sequence[Tensor]) -> Tensor:
        return torch.cat([plane.flatten(1) for plane in planes], 1)


def tiled(table: Tensor, shape: tuple[int, int]) -> Tensor:
    """A plane `[h, w]` of equal blocks; a plane as it is."""
    if tuple(table.shape) not in ((BLOCK, BLOCK), shape):
        raise ValueError(f"a table is {tuple(table.shape)} but must be {BLOCK}x{BLOCK}, or {shape} as its plane")
    return table.double().tile(*(side // of for side, of in zip(shape, table.shape, strict=True)))


def quality_tables(quality: int, channels: int = 3) -> list[Tensor]:
    """The tables of a quality from 1 to 100, as libjpeg scales those of the standard."""
    quality = check_integer("quality", quality, 1, 100)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (((torch.tensor(table, device="cpu") * scale + 50) // 100).clamp(1, 255) for table in TABLES)
    return [luma, chroma, chroma][:channels]
