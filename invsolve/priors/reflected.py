"""What lies beyond the edges of an image, for a network that takes it for black."""

from __future__ import annotations

from torch import Tensor, nn

from .denoiser import as_levels
from .tiled import Tiled, reflected

MARGIN = 8  # pixels on each side


class Reflected(nn.Module):
    """A denoiser that sees its images continued by reflection, ``margin`` pixels beyond each edge.

    A convolution pads with zeros, and that is no continuation of a picture: on flat ones the default prior's rms error
    within 8 pixels of the edges is 1.6 to 2.3 times that inside, and its largest error up to 5 times. With 8 reflected
    pixels these are at most 1.26 and 1.4 times. At 256x256 pixels they are 13 % more pixels.

    Called as the denoiser it wraps.
    """

    def __init__(self, denoiser: nn.Module, margin: int = MARGIN) -> None:
        super().__init__()
        self.denoiser, self.margin = denoiser, margin

    def forward(
        self,
        u: Tensor,
        sigma: float | Tensor,
        condition: Tensor | None = None,
        sigma_condition: float | Tensor | None = None,
        **labels: Tensor,
    ) -> Tensor:
        """``u`` ``[B, C, H, W]``, levels a float or ``[B]``; returns the denoised images ``[B, C, H, W]``."""
        height, width = u.shape[-2:]
        rows, columns = (reflected(n, -self.margin, n + self.margin, u.device) for n in (height, width))
        given = [] if condition is None else [condition[..., rows, :][..., columns], as_levels(sigma_condition, u)]
        denoised = self.denoiser(u[..., rows, :][..., columns], as_levels(sigma, u), *given, **labels)
        return denoised[..., self.margin :, self.margin :][..., :height, :width]


def with_reflection(prior: nn.Module) -> nn.Module:
    """A prior of :func:`load_prior`, its denoisers changed in place to see beyond the edges.

    One that knows images of one size only is left as it is: it would have to see every image in four tiles.
    """
    for name in ("denoiser", "estimator"):
        denoiser = getattr(prior, name, None)
        if denoiser is not None and not (isinstance(denoiser, Tiled) and denoiser.fixed):
            setattr(prior, name, Reflected(denoiser))
    return prior
