"""A prior for pictures of one channel, made of one for colours."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..priors.denoiser import Prior
from .denoiser import Noise


class GrayPrior(nn.Module):
    """Draws gray images ``[B, 1, H, W]`` by a prior of colour images ``[B, C, H, W]``, C = 3 by default.

    A gray image g is the colour image ``(g, .., g)``, and its noisy copy ``u = g + sigma n`` the mean over the channels
    of a noisy colour image of level ``sqrt(C) sigma``. So what u lacks of the latter is sampled,

        u' = u + sqrt(C) sigma (e - mean(e)),   e ~ N(0, I) in C channels, mean: over the channels,

    whose noise is white and whose mean over the channels is u; the sample given u' is averaged over its channels. That
    is exact under a prior of gray images alone. A prior of colour images gives its sample's luminance.

    ``prior`` may be anything with ``sample`` and ``evaluations``; see :func:`invsolve.load_prior`.

    Raises:
        ValueError: ``channels`` is less than 2.
    """

    def __init__(self, prior: Prior, channels: int = 3) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f"channels is {channels} but a colour image has at least 2")
        self.prior, self.channels, self.evaluations = prior, channels, prior.evaluations
        self.register_buffer("spectrum", getattr(prior, "spectrum", None), persistent=False)

    @property
    def over_noised(self) -> bool:
        """Whether samples take ``gamma`` and ``sigma_inflation``, as those of a generative denoiser do."""
        return getattr(self.prior, "over_noised", False)

    def sample(self, u: Tensor, sigma: float, noise: Noise, **over_noising: float | None) -> Tensor:
        """A sample of ``p(g | u)``, both ``[B, 1, H, W]``. Raises ValueError for images of other channels.

        ``over_noising`` is passed on, see :class:`GenerativeDenoiser`.
        """
        if u.shape[1] != 1:
            raise ValueError(f"the images have {u.shape[1]} channels but must be gray, with 1")
        level = math.sqrt(self.channels) * sigma
        e = noise((self.channels, *u.shape[2:]))
        x = self.prior.sample(u + level * (e - e.mean(dim=1, keepdim=True)), level, noise, **over_noising)
        return x.mean(dim=1, keepdim=True)
