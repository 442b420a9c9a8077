"""A small denoiser and what its file says, shared by the tests of priors in files."""

from __future__ import annotations

import torch

from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser

RECORD = {"license": "CC0", "data": "none", "images_seen": 3}
SPECTRUM = torch.linspace(2, 0.1, 7)


def denoiser(conditional: bool = False, sigma_data: float = 0.5) -> Denoiser:
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(8, 16), blocks=(1, 1), haar=1, conditioning="inputs" if conditional else "none"))
    with torch.no_grad():
        network.gain_out.fill_(0.5)
        for name, parameter in network.named_parameters():
            if name.endswith("emb_gain"):
                parameter.fill_(0.3)
    return Denoiser(network, sigma_data)


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 20, 12, generator=torch.Generator().manual_seed(1))
