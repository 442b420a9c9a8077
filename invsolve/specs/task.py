"""A benchmark task: a YAML file -> its degradation, its noise level and the solver's settings for a number of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .degradations import DEGRADATIONS, Degradation, Request, Shape
from .settings import FewStep, Settings
from .validation import (
    Check,
    any_value,
    check_mapping,
    flag,
    integer,
    number,
    optional_number,
    read_yaml,
    suggestion,
    text,
)

if TYPE_CHECKING:
    from torch import Tensor

    from operators import LinearOperator

_TASK_KEYS = {
    "name": text,
    "description": text,
    "operator": any_value,
    "sigma_y": number(0, 2),
    "settings": any_value,
}


@dataclass(frozen=True)
class Task:
    """A restoration task.

    Attributes:
        name, description: as ``invsolve info`` shows them.
        kind: a key of ``DEGRADATIONS``.
        parameters: of that degradation, checked.
        sigma_y: standard deviation of the measurement noise, for images on [-1, 1].
        stages: (steps, settings), in rising order from 1: settings serve from that many network evaluations on.
    """

    name: str
    description: str
    kind: str
    parameters: Mapping[str, Any]
    sigma_y: float
    stages: tuple[tuple[int, Settings], ...]

    @property
    def degradation(self) -> Degradation:
        return DEGRADATIONS[self.kind]

    def settings(self, steps: int) -> Settings:
        """The solver's settings for ``steps`` network evaluations: those of the last stage that ``steps`` reaches."""
        if steps < 1:
            raise ValueError(f"steps is {steps} but must be at least 1")
        return [settings for least, settings in self.stages if least <= steps][-1]

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """Shape (C, H, W) of the clean image behind a measurement: (3, 64, 64) -> (3, 256, 256) at 4x."""
        return self.degradation.image_shape(measurement_shape, self.parameters)

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
        request = Request(self.parameters, image_shape, given.get(self.degradation.takes), seed)
        return self.degradation.build(request)


def tasks_folder() -> Path:
    """Where the shipped tasks lie: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def list_tasks() -> list[str]:
    """Names of the shipped tasks."""
    return sorted(path.stem for path in tasks_folder().glob("*.yaml"))


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
        path = tasks_folder() / f"{name}.yaml"
    content: dict[str, Any] = check_mapping(read_yaml(path), _TASK_KEYS, {}, str(path))
    kind, parameters = _operator(content["operator"], f"{path}: operator")
    stages = _stages(content["settings"], f"{path}: settings")
    return Task(content["name"], content["description"], kind, parameters, float(content["sigma_y"]), stages)


def _operator(spec: object, where: str) -> tuple[str, dict[str, Any]]:
    """Split ``{type: ..., key: ...}`` into the degradation's name and its checked parameters."""
    if not isinstance(spec, dict) or "type" not in spec:
        raise ValueError(f"{where}: expected a mapping with the key 'type'")
    kind = spec["type"]
    if not isinstance(kind, str) or kind not in DEGRADATIONS:
        raise ValueError(f"{where}: unknown type {kind!r}{suggestion(kind, DEGRADATIONS)}")
    parameters = {key: value for key, value in spec.items() if key != "type"}
    return kind, check_mapping(parameters, DEGRADATIONS[kind].required, {}, where)


def _stages(entries: object, where: str) -> tuple[tuple[int, Settings], ...]:
    """The list of settings, each with the number of steps it serves from, in rising order."""
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{where}: expected a list of entries, each with the key 'steps'")
    stages: dict[int, Settings] = {}
    for number_, entry in enumerate(entries, start=1):
        at = f"{where}: entry {number_}"
        entry = check_mapping(entry, {"steps": integer(1)}, {**_checks_of(Settings), "few_step": any_value}, at)
        few_step = check_mapping(entry.get("few_step", {}), {}, _checks_of(FewStep), f"{at}: few_step")
        if entry["steps"] in stages:
            raise ValueError(f"{at}: a second entry for steps {entry['steps']}")
        try:
            values = {key: value for key, value in entry.items() if key != "steps"}
            stages[entry["steps"]] = Settings(**{**values, "few_step": FewStep(**few_step)})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{at}: {error}") from None
    if 1 not in stages:
        raise ValueError(f"{where}: no entry serves from steps 1 on (the first one has steps {min(stages)})")
    return tuple(sorted(stages.items()))


def _checks_of(kind: type) -> dict[str, Check]:
    return {field.name: _type_of(field.default) for field in dataclasses.fields(kind)}


def _type_of(default: object) -> Check:
    """The check of a setting's type, known from its default value; its range is checked by ``Settings``."""
    if isinstance(default, bool):
        return flag
    return optional_number if default is None else number()
