"""What the fields of the page say, as the options of `invsolve run`, and as the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...images.files import read_picture, write_image
from ...specs.options import AppOptions, RunOptions
from ...specs.task import load_task

# What is wrong with a picture, as the page says it, and the task that restores it.
TASKS = {
    "Too small": "sr4x",
    "Out of focus": "deblur_gaussian",
    "Shaken": "deblur_motion",
    "Noisy": "denoise",
    "Scratched": "inpaint_random",
    "Torn or with holes": "inpaint_box",
    "Without colour": "colorize",
    "Compressed (JPEG)": "jpeg",
}
FLAGS = {"inputs": "--input", "changes": "--set"}  # of fields that are called otherwise


def takes(wrong: str) -> str | None:
    """ "mask" or "kernel": what a task of :data:`TASKS` can be given beside the picture."""
    return load_task(TASKS[wrong]).degradation.takes


def has_level(wrong: str) -> bool:
    """Whether the noise of a task of :data:`TASKS` is white, of some level."""
    return load_task(TASKS[wrong]).is_white


@dataclass(frozen=True)
class Form:
    """The fields of the page, in their order on it."""

    picture: str | None  # the uploaded file
    wrong: str  # a key of TASKS
    simulate: bool
    painted: Mapping[str, Any] | None  # of the editor: its layers [H, W, 4] are transparent but where they are painted
    factor: int
    std: float  # of a blur out of focus, in pixels
    kernel: str | None  # a file
    estimate: bool  # the noise
    gray_levels: float  # of noise, of 255
    steps: int
    samples: int
    seed: int
    format: str

    def options(self, app: AppOptions, folder: Path) -> RunOptions:
        """Of the run that writes its results, and the painted mask, to ``folder``.

        Raises:
            ValueError: one line about what is missing or wrong.
        """
        if not self.picture:
            raise ValueError("there is no picture yet: drop one, or take an example")
        task = load_task(TASKS[self.wrong])
        given = task.degradation.takes
        kernel = Path(self.kernel) if given == "kernel" and self.kernel else None
        changes = ()
        if task.name == "deblur_gaussian" and kernel is None and self.std != task.parameters["std"]:
            changes = (f"operator.std={self.std:g}",)
        enlarges = task.name == "sr4x" and self.factor != task.parameters["factor"]
        options = RunOptions(
            task.name,
            (self.picture,),
            folder,
            simulate=self.simulate,
            steps=self.steps,
            samples=self.samples if self.samples > 1 else None,
            prior=app.prior,
            kernel=kernel,
            sigma=f"{self.gray_levels:g}/255" if task.is_white and not self.estimate else None,
            changes=changes,
            factor=self.factor if enlarges else None,
            format=self.format,
            seed=self.seed,
            device=app.device,
            precision=app.precision,
        )
        return self._with_mask(options) if given == "mask" else options

    def _with_mask(self, options: RunOptions) -> RunOptions:
        """With what is painted, as a file beside the results."""
        painted = np.any([layer[..., 3] > 0 for layer in (self.painted or {}).get("layers", ())], axis=0)
        if not painted.any():
            if not self.simulate and read_picture(self.picture).kept.alpha is None:
                raise ValueError("it is not known what is missing: paint over it with the brush")
            return options
        path = options.output / f"{Path(self.picture).stem}_mask.png"
        write_image(torch.from_numpy(1 - 2 * painted.astype(np.float32))[None], path)
        size = tuple(read_picture(self.picture).image.shape[1:])
        return replace(options, mask=path, fit_mask=painted.shape != size)


def command(options: RunOptions) -> str:
    """The command line that does the same with files of the same names; what is as by default is left out."""
    words = ["invsolve", "run", options.task]
    for field in fields(RunOptions):
        value = getattr(options, field.name)
        default = options.default_steps if field.name == "steps" else field.default
        if field.name in ("task", "output") or (default is not MISSING and value == default):
            continue
        words.append(FLAGS.get(field.name, f"--{field.name.replace('_', '-')}"))
        if value is not True:
            for part in value if isinstance(value, tuple) else (value,):
                words.append(Path(part).name if field.name in ("inputs", "mask", "kernel") else str(part))
    return shlex.join(words)
