"""What the trainings of a distilled generator share: how it is given, its inputs, and holding it to what it was.

It is used in two ways, with over-noising as a sampler and without (``gamma`` 0) for one good picture. A training of one
holds the other, in a share of the samples, to the start's output on the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..priors.denoiser import Denoiser, classes
from ..priors.file import load_denoiser
from ..priors.registry import resolve
from ..specs.recipe import CalibrateConfig, FinetuneConfig, RunConfig
from .compute import place
from .edm import edm_weight
from .run import check_crop


def load_generator(
    path: str | Path, config: str | Path, settings: RunConfig, device: torch.device
) -> tuple[Denoiser, Denoiser, dict, Tensor | None]:
    """The denoiser of a generative denoiser to be trained, and as it is on ``device``, to be held to; header, spectrum.

    Raises:
        ValueError: it is none, or does not take the configuration's crops.
    """
    file = resolve(path)
    denoiser, header, spectrum = load_denoiser(file, train=True)
    if not denoiser.network.config.conditional:
        raise ValueError(f"{path} is a {header['kind']}; only a generative denoiser is fine-tuned or calibrated")
    check_crop(config, settings, denoiser.network, header.get("image_size"))
    return denoiser, place(load_denoiser(file)[0], settings, device), header, spectrum


def levels_and_held(normals: Tensor, c: FinetuneConfig | CalibrateConfig) -> tuple[Tensor, Tensor]:
    """Log-uniform noise levels, and which samples are held, ``[B]``, from standard normals ``[B, 4]``."""
    uniform = torch.special.ndtr(normals[:, :2])
    return c.sigma_min * (c.sigma_max / c.sigma_min) ** uniform[:, 0], uniform[:, 1] < c.keep


@dataclass
class GeneratorInputs:
    """What a generator's denoiser is called with: ``(u', s')``, its conditions ``(u, s)``, and classes or None."""

    u_over: Tensor
    s_over: Tensor
    u: Tensor
    s: Tensor
    labels: Tensor | None

    @classmethod
    def of(cls, u: Tensor, s: Tensor, gamma: Tensor, z: Tensor, labels: Tensor | None) -> GeneratorInputs:
        """``s' = (1 + gamma) s``, ``u' = u + sqrt(s'² - s²) z``, with a ``gamma`` for every sample ``[B]``."""
        s_over = (1 + gamma) * s
        u_over = u + (s_over**2 - s**2).clamp_min(0).sqrt()[:, None, None, None] * z
        return cls(u_over, s_over, u, s, labels)

    def __getitem__(self, which: Tensor) -> GeneratorInputs:
        return GeneratorInputs(*(None if each is None else each[which] for each in vars(self).values()))

    def __call__(self, denoiser: Denoiser) -> Tensor:
        return denoiser(self.u_over, self.s_over, self.u, self.s, **classes(self.labels))


def held_loss(original: Denoiser, inputs: GeneratorInputs, output: Tensor) -> Tensor:
    """``w(s') |G - G_original|²`` a sample ``[B]``, of the generator's ``output`` for these inputs."""
    with torch.no_grad():
        expected = inputs(original)
    return edm_weight(inputs.s_over, original.sigma_data) * (output - expected).square().flatten(1).mean(1)
