"""Phase retrieval: magnitudes of the oversampled Fourier transform."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.fft import fftshift, rfft2
from torch.nn.functional import pad

from operators.checks import image_shape
from operators.fienup import coarse_to_fine
from operators.noise import Noise
from operators.operator import Operator
from operators.transform import mean_of_opposites

DARKEST = 0.01  # magnitude that is black to look at


class PhaseRetrieval(Operator):
    """y = |F P (x + 1) / 2|, channel by channel: P pads with zeros, F is the orthonormal two-dimensional DFT.

    `oversampling` / 8 of the image's side is added on each of its four sides, as DPS and DAPS do: at 2 an image of
    256 pixels becomes one of 384, and y is `[B, C, 384, 384]`. The values at k and -k are measured twice.

    An image and the image turned by 180 degrees have the same magnitudes, in each channel by itself: the measurement
    leaves these open.

    Raises:
        ValueError: the oversampling is not positive and finite.
    """

    curvature = 0.25  # of |F P u / 2|², and -|z| is concave in the phase

    def __init__(self, in_shape: tuple[int, int, int], oversampling: float = 2.0):
        channels, height, width = image_shape(in_shape)
        if not (math.isfinite(oversampling) and oversampling > 0):
            raise ValueError(f"oversampling is {oversampling} but must be positive and finite")
        self.margins = round(oversampling * height / 8), round(oversampling * width / 8)
        super().__init__(in_shape, (channels, height + 2 * self.margins[0], width + 2 * self.margins[1]))

    def forward(self, x: Tensor) -> Tensor:
        half = rfft2(self.padded((x + 1) / 2), norm="ortho").abs()
        return torch.cat([half, self._opposite(half)], 3)

    def estimate(self, y: Tensor, noise: Noise) -> Tensor:
        """A blurred image whose magnitudes come near y, by alternating projections; see `operators.fienup`."""
        g = coarse_to_fine(self.magnitude(y), self.support(y.device), noise)
        return 2 * self.cropped(g).clamp(0, 1) - 1

    def viewed(self, y: Tensor) -> Tensor:
        """The logarithm of the magnitudes, frequency 0 in the middle."""
        decades = y.clamp(min=DARKEST).log10() - math.log10(DARKEST)
        return fftshift(2 * decades / decades.amax((1, 2, 3), keepdim=True) - 1, (2, 3))

    def magnitude(self, y: Tensor) -> Tensor:
        """The magnitudes of the half of the frequencies that `rfft2` gives, nearest to y: `[B, C, H, W // 2 + 1]`."""
        return mean_of_opposites(y).clamp(min=0)

    def support(self, device: torch.device) -> Tensor:
        return self.padded(torch.ones(1, *self.in_shape[1:], dtype=torch.bool, device=device))[0]

    def padded(self, x: Tensor) -> Tensor:
        (rows, columns) = self.margins
        return pad(x, (columns, columns, rows, rows))

    def cropped(self, g: Tensor) -> Tensor:
        (rows, columns), (height, width) = self.margins, self.in_shape[1:]
        return g[..., rows : rows + height, columns : columns + width]

    def _opposite(self, half: Tensor) -> Tensor:
        """The magnitudes at the frequencies that `rfft2` leaves out: those at -k."""
        return half[..., 1 : (self.out_shape[2] + 1) // 2].flip(2, 3).roll(1, 2)
