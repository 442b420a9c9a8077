"""The weights' files that a training leaves in its folder, and which of them are still to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from ..priors.denoiser import GAMMA, SIGMA_DATA, Denoiser
from ..priors.file import CheckpointError, read_checkpoint, save_denoiser
from .posthoc import snapshot_path
from .run import Run
from .trainee import Trainee


@dataclass(frozen=True)
class Exports:
    """Files of a trainee's averages: ``NAME-emaSTD.safetensors`` at every checkpoint, and snapshots, which are kept.

    ``name`` is denoiser or generator. ``record`` is what the files say of their making beside settings and progress; it
    and the rest are as in ``save_denoiser``.
    """

    run: Run
    name: str
    trainee: Trainee
    record: dict[str, object]
    spectrum: Tensor | None
    sigma_data: float = SIGMA_DATA
    gamma: float = GAMMA
    image_size: int | None = None

    def path(self, std: float) -> Path:
        """Of the average of width ``std``."""
        return self.run.out / f"{self.name}-ema{std:g}.safetensors"

    @property
    def result(self) -> Path:
        """The file of the first average, which is the training's result."""
        return self.path(self.trainee.averages[0].std)

    def write(self, step: int, validation: Sequence[dict] | None = None) -> Denoiser:
        """Write the averages as they are after ``step``; returns the first.

        ``validation`` are figures of each average for its record.
        """
        settings, due = self.run.settings, self._snapshot_due(step)
        recipe = {name: value for name, value in asdict(settings).items() if name not in ("license", "data")}
        seen = {"license": settings.license, "data": settings.data, "images_seen": step * settings.batch}
        kept = {"steps": self.trainee.steps, "training": self.run.identity}  # what the record of a snapshot adds
        more = {"gamma": self.gamma, "spectrum": self.spectrum, "image_size": self.image_size}
        for i, average in reversed(list(enumerate(self.trainee.averages))):
            denoiser = Denoiser(average.network, self.sigma_data)
            record = {**seen, **self.record, "ema": average.std, "recipe": recipe}
            figures = {"validation": validation[i]} if validation else {}
            save_denoiser(self.path(average.std), denoiser, record | figures, **more)
            if due:
                path = snapshot_path(self.run.out, step, average.std)
                save_denoiser(path, denoiser, record | kept, **more, normalized=False)
        return denoiser

    def missing(self, step: int) -> bool:
        """Whether a file is lacking that no later step would write: a snapshot, or after the last step the weights."""
        stds = [average.std for average in self.trainee.averages]
        if self._snapshot_due(step) and not all(snapshot_path(self.run.out, step, std).exists() for std in stds):
            return True
        images = step * self.run.settings.batch
        return step >= self.run.steps and any(images_seen(self.path(std)) != images for std in stds)

    def _snapshot_due(self, step: int) -> bool:
        """There are none before the trainee's first update."""
        every = self.run.settings.snapshot_every
        return bool(every) and (step % every == 0 or step == self.run.steps) and self.trainee.steps > 0


def images_seen(path: Path) -> int | None:
    """Training images behind the weights in a file; None where it is not there or damaged."""
    try:
        return read_checkpoint(path)[0]["record"].get("images_seen")
    except CheckpointError:
        return None
