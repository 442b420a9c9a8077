"""Losses that ask a sampler of ``p(x | u)`` for samples of the right spread, from two samples of the same u.

With the truth ``x`` and samples ``G1``, ``G2`` that differ in their own noise alone, the energy score

    S = (|x - G1| + |x - G2| - |G1 - G2|) / 2

has the expectation ``E|x - G| - E|G - G'|/2``: a strictly proper scoring rule, least where G has the law of x given u
(Gneiting and Raftery 2007, section 4.3; for generative denoisers De Bortoli et al. 2025, arXiv 2502.02483). In the norm
of a whole image what is small beside the rest counts for nothing; here it is that of patches, of several sizes and at
several scales, and the score is proper for the law of every patch.

Given u, the truth and true samples are also exchangeable: ``G1 - G2`` and ``x - G`` have one law, and one mean square
in every frequency band. The logarithm of the ratio of both mean squares is the samples' lack of spread there; its
square pulls at that alone, and harder than the score does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..specs.recipe import ScoreConfig
from .edm import edm_weight

SMALLEST = 1e-10  # added to mean squares: their root and their logarithm have a gradient at 0 too


def energy_score(x: Tensor, first: Tensor, second: Tensor, patches: Sequence[int], scales: Sequence[int]) -> Tensor:
    """Mean energy score ``[B]`` of two samples of ``x`` ``[B, C, H, W]``, over patches, their sizes and scales.

    At scale k the images are averaged over k x k pixels; there the norms are root mean squares over p x p patches and
    all channels, times ``sqrt(k)`` since averages differ less. ``k p`` is at most the image's side, for all k and p.
    """
    found = []
    for k in scales:
        differences = [F.avg_pool2d(d, k).square().mean(1) for d in (x - first, x - second, first - second)]
        for p in patches:
            one, other, apart = ((F.avg_pool2d(d, p) + SMALLEST).sqrt().flatten(1).mean(1) for d in differences)
            found.append(k**0.5 * (one + other - apart) / 2)
    return torch.stack(found).mean(0)


def band_energies(difference: Tensor, scales: Sequence[int]) -> Tensor:
    """Mean square of ``[B, C, H, W]`` in frequency bands ``[B, len(scales)]``: what each next scale averages away.

    The last band is what is left at the last scale. Averaging over pixels is an orthogonal projection, so that a band's
    mean square is the difference of those before and after it.
    """
    left = torch.stack([F.avg_pool2d(difference, k).square().flatten(1).mean(1) for k in scales], dim=1)
    return torch.cat([left[:, :-1] - left[:, 1:], left[:, -1:]], dim=1).clamp_min(0) + SMALLEST


def log_spread(x: Tensor, first: Tensor, second: Tensor, scales: Sequence[int]) -> Tensor:
    """``ln |G1 - G2|² - (ln |x - G1|² + ln |x - G2|²) / 2`` in every band, ``[B, len(scales)]``.

    Its expectation is 0 for true samples, exactly, and negative where they spread too little. The gradient is that of
    the spread alone: samples do not move away from the truth for it.
    """
    errors = [band_energies(x - sample, scales).log().detach() for sample in (first, second)]
    return band_energies(first - second, scales).log() - sum(errors) / 2


def score_loss(
    x: Tensor, first: Tensor, second: Tensor, s: Tensor, sigma_data: float, c: ScoreConfig, step: int
) -> Tensor:
    """The loss ``[B]`` of two samples given noise of level ``s`` ``[B]``, in training step 1, 2, ...

    ``sqrt(w(s)) S + v sum_bands (log spread)²``: EDM's weight ``w`` is one of squared errors, hence the root; ``v``
    falls from ``exchange_weight`` to 0 within ``exchange_steps``, if there are any.
    """
    loss = edm_weight(s, sigma_data).sqrt() * energy_score(x, first, second, c.patches, c.scales)
    left = 1 - step / c.exchange_steps if c.exchange_steps else 1.0
    if c.exchange_weight and left > 0:
        loss = loss + c.exchange_weight * left * log_spread(x, first, second, c.scales).square().sum(1)
    return loss
