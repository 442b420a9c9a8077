"""A benchmark task: a YAML file -> its degradation, its noise level and the solver's settings for a number of steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..runtime.shipped import shipped
from .degradations import DEGRADATIONS, Degradation, Shape
from .fields import Bounds, Checked, Count, check, from_mapping, suggestion
from .settings import Settings
from .yaml_file import read_yaml

if TYPE_CHECKING:
    from torch import Tensor

    from operators import LinearOperator


@dataclass(frozen=True)
class Task:
    """A restoration task.

    Attributes:
        name, description: as ``invsolve info`` shows them.
        kind: a key of ``DEGRADATIONS``.
        degradation: of that kind, with its parameters.
        sigma_y: standard deviation of the measurement noise, for images on [-1, 1].
        stages: (steps, settings), in rising order from 1: settings serve from that many network evaluations on.
    """

    name: str
    description: str
    kind: str
    degradation: Degradation
    sigma_y: float
    stages: tuple[tuple[int, Settings], ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """The degradation's, as the YAML gives them."""
        return asdict(self.degradation)

    def settings(self, steps: int) -> Settings:
        """The solver's settings for ``steps`` network evaluations: those of the last stage that ``steps`` reaches."""
        check("steps", steps, Count)
        return [settings for least, settings in self.stages if least <= steps][-1]

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """Shape (C, H, W) of the clean image behind a measurement: (3, 64, 64) -> (3, 256, 256) at 4x."""
        return self.degradation.image_shape(measurement_shape)

    def make_operator(
        self, image_shape: Shape, mask: Tensor | None = None, kernel: Tensor | None = None, seed: int = 0
    ) -> LinearOperator:
        """The task's operator for clean images of one shape.

        Args:
            image_shape: (C, H, W) of the clean image.
            mask: ``[H, W]``, 1 where observed and 0 where missing, in place of an inpainting task's own.
            kernel: ``[h, w]``, summing to 1, in place of a deblurring task's own.
            seed: of a random mask or a random kernel.

        Raises:
            ValueError: a mask or kernel for a task without one, or one that does not fit the image.
        """
        given = {"mask": mask, "kernel": kernel}
        for name, value in given.items():
            if value is not None and self.degradation.takes != name:
                raise ValueError(f"the task {self.name} takes no {name}")
        return self.degradation.operator(image_shape, given.get(self.degradation.takes), seed)


def list_tasks() -> list[str]:
    """Names of the shipped tasks."""
    return sorted(path.stem for path in shipped("tasks").glob("*.yaml"))


@dataclass(frozen=True)
class TaskFile(Checked):
    """The keys of a task's YAML file."""

    name: str
    description: str
    operator: object  # {type: of DEGRADATIONS, and its parameters}
    sigma_y: Annotated[float, Bounds(at_least=0, at_most=2)]
    settings: object  # a list of {steps: from which on they serve, and Settings}


def load_task(name_or_path: str | Path) -> Task:
    """Read a task from a YAML path, or a shipped one by its name.

    Raises:
        ValueError: one line naming the file and the key: there is no such task, a key is unknown or missing, or a
            value has the wrong type or is out of range.
    """
    name = str(name_or_path)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in list_tasks():
            raise ValueError(f"no task {name!r}{suggestion(name, list_tasks())} (or give the path of a .yaml file)")
        path = shipped("tasks") / f"{name}.yaml"
    file = from_mapping(TaskFile, read_yaml(path), str(path))
    kind, degradation = _degradation(file.operator, f"{path}: operator")
    stages = _stages(file.settings, f"{path}: settings")
    return Task(file.name, file.description, kind, degradation, float(file.sigma_y), stages)


def _degradation(spec: object, where: str) -> tuple[str, Degradation]:
    """Of ``{type: ..., key: ...}``."""
    if not isinstance(spec, dict) or "type" not in spec:
        raise ValueError(f"{where}: expected a mapping with the key 'type'")
    kind = spec["type"]
    if not isinstance(kind, str) or kind not in DEGRADATIONS:
        raise ValueError(f"{where}: unknown type {kind!r}{suggestion(kind, DEGRADATIONS)}")
    return kind, from_mapping(DEGRADATIONS[kind], {key: spec[key] for key in spec if key != "type"}, where)


def _stages(entries: object, where: str) -> tuple[tuple[int, Settings], ...]:
    """The list of settings, each with the number of steps it serves from, in rising order."""
    if not isinstance(entries, tuple) or not entries:
        raise ValueError(f"{where}: expected a list of entries, each with the key 'steps'")
    stages: dict[int, Settings] = {}
    for number, entry in enumerate(entries, start=1):
        at = f"{where}: entry {number}"
        if not isinstance(entry, dict) or "steps" not in entry:
            raise ValueError(f"{at}: expected a mapping with the key 'steps'")
        steps = entry["steps"]
        try:
            check("steps", steps, Count)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{at}: {error}") from None
        if steps in stages:
            raise ValueError(f"{at}: a second entry for steps {steps}")
        stages[steps] = from_mapping(Settings, {key: entry[key] for key in entry if key != "steps"}, at)
    if 1 not in stages:
        raise ValueError(f"{where}: no entry serves from steps 1 on (the first one has steps {min(stages)})")
    return tuple(sorted(stages.items()))
