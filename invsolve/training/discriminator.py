"""The discriminator: the encoder half of a conditional U-Net and a map of logits.

The published conditioning has two encoders: the coarsest features of both are blended, as before the U-Net's decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks.layers import MPConv, mp_silu
from ..networks.unet import UNet
from .ncvsd import Diffused


class Discriminator(nn.Module):
    """Logits ``[B, 1, h, w]`` that the image behind ``(u_eff, s_eff; u, s)`` is real, from a teacher's encoder."""

    def __init__(self, network: UNet, sigma_data: float):
        super().__init__()
        if not network.config.conditional:
            raise ValueError("the discriminator is conditional on (u, s); its network must be too")
        self.encoder, self.control = network.encoder, network.control
        self.mix = None if network.control is None else network.mix_input
        self.sigma_data = sigma_data
        channels = network.config.widths[-1]
        self.hidden = MPConv(channels, channels, (3, 3))
        self.logits = MPConv(channels, 1, (1, 1))
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, d: Diffused) -> Tensor:
        scale = [(s**2 + self.sigma_data**2).rsqrt()[:, None, None, None] for s in (d.s_eff, d.s)]
        condition = d.u * scale[1], d.s.log() / 4
        features, _ = self.encoder(d.u_eff * scale[0], d.s_eff.log() / 4, *condition, d.labels)
        x = features[-1]
        if self.control is not None:
            control, _ = self.control(*condition, labels=d.labels)
            (x,) = self.mix(features[-1:], control[-1:])
        return self.logits(mp_silu(self.hidden(mp_silu(x))), gain=self.gain).to(d.u_eff.dtype)
