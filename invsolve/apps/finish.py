"""From the image that was sampled to the picture that is written: its frame, its size, its untouched pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..images.decoding import upright
from ..images.files import resized
from ..specs.options import RunOptions
from ..specs.task import Task
from .flat import flat_part, keep_flat
from .outputs import Result


@dataclass(frozen=True)
class Finish:
    """What is done to the results of a task on real pictures; those of simulations stay as they are.

    What was restored beyond the edges is cut off, unless it is to be kept; what is flat stays flat; observed pixels
    without noise stay as they are; the size becomes the one that was asked for.
    """

    task: Task
    options: RunOptions
    kernel: Tensor | None

    def __call__(self, result: Result) -> Result:
        if self.options.simulate:
            return result
        if result.observed.jpeg is not None:
            return self._of_jpeg(result)
        observed, flat = result.observed, flat_part(result.y, result.observed.mask, result.restored.shape[-3])
        images = {name: getattr(result, name) for name in ("restored", "samples", "mean")}
        done = {name: self._image(image, result, *flat) for name, image in images.items() if image is not None}
        if result.std is not None:
            exact = replace(result, y=torch.zeros_like(result.y))
            done["std"] = self._image(result.std, exact, flat[0], torch.zeros_like(flat[1]))
        alpha = observed.kept.alpha
        if alpha is not None:
            alpha = resized(self._framed(alpha), done["restored"].shape[-2:]).clamp(0, 1)
        return replace(result, **done, observed=replace(observed, kept=replace(observed.kept, alpha=alpha)))

    def _of_jpeg(self, result: Result) -> Result:
        """Without what fills the last blocks, and the right way up; otherwise as it explains the file."""
        jpeg, kept = result.observed.jpeg, result.observed.kept
        images = {name: getattr(result, name) for name in ("restored", "samples", "mean", "std")}
        done = {
            name: upright(image[..., : jpeg.height, : jpeg.width], kept.orientation)
            for name, image in images.items()
            if image is not None
        }
        return replace(result, **done)

    def _image(self, image: Tensor, result: Result, flat: Tensor, value: Tensor) -> Tensor:
        """One image, or several ``[..., C, H, W]``."""
        observed, options = result.observed, self.options
        if not options.keep_margin:
            (above, below), (left, right) = self.task.margins(self.kernel)
            height, width = image.shape[-2:]
            image = image[..., above : height - below, left : width - right]
        image = keep_flat(image, self._framed(flat), self._framed(value))
        if observed.mask is not None and observed.sigma_y == 0:  # exact up to rounding already
            image = torch.where(observed.mask.to(image) > 0, result.y, image)
        if options.outscale is not None:
            image = resized(image, [round(n * options.outscale) for n in result.y.shape[-2:]])
        return image

    def _framed(self, measured: Tensor) -> Tensor:
        """Something of each measured pixel ``[C, h, w]``, continued over the margin where that is kept."""
        if not self.options.keep_margin:
            return measured
        (above, below), (left, right) = self.task.margins(self.kernel)
        return pad(measured[None], (left, right, above, below), mode="replicate")[0]
