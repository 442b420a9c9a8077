"""Wavelet-based linear shortcuts beside the U-Net's resampling blocks (AuxT).

Li et al., *On Disentangled Training for Nonlinear Transform in Learned Image Compression*, ICLR 2025, arXiv
2501.13751: a purely linear chain runs along encoder and decoder and is added to the features after every resampling.
Each link is a Haar transform, a scaling of its subbands and an orthogonal projection; in the decoder, the inverses in
reverse order.

Here everything preserves magnitudes. The projection is exactly orthogonal (``MPOrthogonal``) where the paper adds a
penalty to the loss: no loss of this package needs a further term or weight, and orthogonality holds at every step.
The subbands' gains have unit mean square. A learnable blend, which starts at EDM2's share of a residual branch,
replaces the sum.

Measured on a small network (``benchmarks/auxt.py``, two seeds): the loss of 76,800 images after 62 and 67 % of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .haar import haar, inverse_haar
from .layers import RESIDUAL, MPMix, MPOrthogonal, normalize

GAINS = (0.5, 0.5, 0.5, 0.0)  # logarithms at the start, coarsest subband first, as published


class Shortcut(nn.Module):
    """One link of the chain, twice coarser (``down``) or finer, and its blend with the features beside it."""

    def __init__(self, in_channels: int, out_channels: int, down: bool):
        super().__init__()
        self.down = down
        shape = (4 * in_channels, out_channels) if down else (in_channels, 4 * out_channels)
        self.projection = MPOrthogonal(*shape)
        self.log_gain = nn.Parameter(torch.tensor(GAINS).repeat(in_channels if down else out_channels))
        self.mix = MPMix(1, start=RESIDUAL)

    def forward(self, x: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``x`` after the block that resamples and the chain before it; returns both after this link."""
        gain = normalize((self.log_gain if self.down else -self.log_gain).exp(), dim=0)[:, None, None].to(linear.dtype)
        linear = self.projection(haar(linear) * gain) if self.down else inverse_haar(self.projection(linear) * gain)
        return self.mix([x], [linear])[0], linear
