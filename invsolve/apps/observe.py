"""What is known of one picture before it is restored: the measurement, its noise level, the observed pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from ..images.decoding import Kept
from ..images.encoding import FORMATS
from ..images.files import in_channels, over, read_picture
from ..images.jpeg_file import JpegFile, read_jpeg
from ..images.mask_and_kernel import find_mask, fitted, mask_of_colour, mask_of_opacity, read_mask
from ..specs.degradations import Jpeg
from ..specs.noise import QuantizedNoise
from ..specs.options import AUTO, RunOptions, noise_level
from ..specs.task import Task
from .jobs import Job

MANY_MISSING = 0.6  # share of missing pixels beyond which a mask may be the wrong way round
GRAY_LEVELS = 255 / 2  # of a noise level on [-1, 1]
OFF_LEVEL, MANY_OFF = 0.25, 0.1  # steps from the nearest level, and share of the values that lie so far from it

LEAST = 0.01  # noise level on [-1, 1], 1.3 of 255: what rounding and compression leave in the cleanest of files

Say = Callable[[str], None]
Estimate = Callable[[Tensor, Tensor | None], float]


shared_mask = lru_cache(maxsize=1)(read_mask)  # of all pictures


@dataclass(frozen=True)
class Observation:
    """One picture: ``y`` ``[C, h, w]`` as it was measured or, for a simulation, as it is without degradation."""

    job: Job
    y: Tensor
    sigma_y: float  # noise level of y, on [-1, 1]
    mask: Tensor | None  # [h, w], 1 = observed; None: the task's own, if any
    kept: Kept  # of the picture's file
    jpeg: JpegFile | None = None  # what was measured, of a task that restores JPEGs; y is the decoded picture

    @property
    def key(self) -> tuple[tuple[int, ...], str]:
        """The same for pictures that have one operator: shape, and a digest of the mask."""
        mask = "" if self.mask is None else hashlib.blake2b(self.mask.numpy().tobytes(), digest_size=16).hexdigest()
        return tuple(self.y.shape), mask if self.jpeg is None else self.jpeg.key


def observe(job: Job, task: Task, options: RunOptions, estimate: Estimate, say: Say, note: Say) -> Observation:
    """Read a picture and what comes with it; ``say`` what was found, ``note`` what is unlikely to be meant so.

    ``estimate(y, mask)`` gives the noise level of a picture.

    Raises:
        ValueError: the picture or its mask cannot be read, or do not fit each other.
    """
    if not (options.simulate or task.degradation.pictures):
        raise ValueError(f"{job.source}: {task.name} does not measure pictures: it can be simulated alone (--simulate)")
    coded = isinstance(task.degradation, Jpeg) and not options.simulate
    jpeg = read_jpeg(Path(job.source)) if coded else None
    picture = read_picture(job.source, options.keep_profile or coded)  # a JPEG's coefficients are of its own colours
    if options.simulate:
        y = in_channels(over(picture, "white"), 3)
        mask = None if options.mask is None else _mask(job, y, None, options)
        return Observation(job, y, _given_noise(options, task), mask, Kept())
    kept, y = picture.kept, picture.image
    if kept.frames > 1:
        note(f"{job.source}: has {kept.frames} frames, of which the first alone is taken")
    mask = None
    if task.degradation.takes == "mask":
        mask = _mask(job, y, kept.alpha, options)
        if options.mask is None and options.mask_color is None:
            kept = replace(kept, alpha=None)  # it said what is missing, and nothing is missing any more
        _say_share(job, mask, say, note)
    if kept.alpha is not None and FORMATS[job.restored.suffix.lower()] == "JPEG":
        note(f"{job.restored.name}: JPEG has no transparency; it is left out")
    if jpeg is not None:
        return Observation(job, in_channels(y, len(jpeg.tables)), 0.0, None, kept, jpeg)
    y = _channels(y, task)
    if len(y) != len(picture.image) and kept.profile is not None and options.keep_profile:
        kept = replace(kept, profile=None)
    if not task.is_white:
        _check_noise(job, task, y, note)
        return Observation(job, y, 0.0, mask, kept)
    return Observation(job, y, _noise(job, y, mask, options, estimate, say), mask, kept)


def _channels(y: Tensor, task: Task) -> Tensor:
    """Gray where the task measures that, or the picture is gray, be it in three equal channels."""
    gray = task.degradation.channels == 1 or bool((y == y[:1]).all())
    return in_channels(y[:1] if gray and task.degradation.channels == 3 else y, 1 if gray else 3)


def _mask(job: Job, y: Tensor, alpha: Tensor | None, options: RunOptions) -> Tensor:
    """The observed pixels ``[h, w]`` of a picture: of a mask's file, or else of a colour, or else of its opacity."""
    if options.mask is not None:
        own = options.mask.is_dir()
        mask = read_mask(find_mask(options.mask, Path(str(job.source)))) if own else shared_mask(options.mask)
    elif options.mask_color is not None:
        mask = mask_of_colour(y, options.mask_color)
    elif alpha is not None:
        mask = mask_of_opacity(alpha)
    else:
        raise ValueError(
            f"{job.source}: needs --mask FILE to tell which pixels are missing, or --mask-color, or transparent pixels"
        )
    if options.invert_mask:
        mask = 1 - mask
    if not mask.any():
        raise ValueError(f"{job.source}: no pixel of its mask is observed")
    return fitted(mask, tuple(y.shape[1:])) if options.fit_mask else mask


def _say_share(job: Job, mask: Tensor, say: Say, note: Say) -> None:
    observed = mask.mean().item()
    say(f"{job.name}: mask: {observed:.0%} observed")
    if 1 - observed > MANY_MISSING:
        note(f"{job.source}: {1 - observed:.0%} of it are missing; if white means missing in the mask: --invert-mask")


def _given_noise(options: RunOptions, task: Task) -> float:
    return task.sigma_y if options.sigma in (None, AUTO) else noise_level(options.sigma)


def _check_noise(job: Job, task: Task, y: Tensor, note: Say) -> None:
    """Note where a picture is not what the noise of its task makes."""
    if isinstance(task.noise_kind, QuantizedNoise):
        steps = (y + 1) / 2 * (task.noise_kind.levels - 1)
        share = ((steps - steps.round()).abs() > OFF_LEVEL).float().mean().item()
        if share > MANY_OFF:
            note(
                f"{job.source}: {share:.0%} of its values are none of {task.noise_kind.levels} levels from black to "
                "white; if it was rounded to another number: --set noise.levels=N"
            )


def _noise(job: Job, y: Tensor, mask: Tensor | None, options: RunOptions, estimate: Estimate, say: Say) -> float:
    """The noise level of a real picture: as given, none on observed pixels, or estimated."""
    if options.sigma is None and mask is not None:
        return 0.0
    if options.sigma not in (None, AUTO):
        return noise_level(options.sigma)
    sigma = float(f"{max(estimate(y, mask), LEAST):.2g}")
    say(f"{job.name}: noise of {sigma * GRAY_LEVELS:.2g} of 255 gray levels (sigma {sigma:.2g} on [-1, 1]), estimated")
    return sigma
