"""A benchmark task: a YAML file -> its degradation, its noise level and the solver's settings for a number of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..runtime.shipped import shipped
from .degradations import DEGRADATIONS, Degradation, Margins, Shape
from .fields import Checked, Count, NoiseLevel, check, from_mapping, suggestion
from .noise import NOISES, NoiseKind
from .settings import Settings
from .yaml_file import read_value, read_yaml

if TYPE_CHECKING:
    from torch import Tensor

    from operators import NoiseModel, Operator


Kind = TypeVar("Kind")

TUNED_WITHIN = 1.5  # factor of the noise level that settings were tuned at, within which they hold


@dataclass(frozen=True)
class Stage:
    """Tuned settings: they serve from so many network evaluations on, for noise of about this level."""

    steps: int
    sigma_y: float
    settings: Settings

    def serves(self, steps: int, sigma_y: float) -> bool:
        near = self.sigma_y <= TUNED_WITHIN * sigma_y <= TUNED_WITHIN**2 * self.sigma_y
        return self.steps <= steps and near


@dataclass(frozen=True)
class Task:
    """A restoration task.

    Attributes:
        name, description: as ``invsolve info`` shows them.
        kind: a key of ``DEGRADATIONS``.
        degradation: of that kind, with its parameters.
        sigma_y: standard deviation of white measurement noise, for images on [-1, 1]; 0 where the noise is another.
        noise_kind: another kind of noise; None: white noise, or what comes with the degradation.
        stages: tuned settings, in rising order of steps; none where the task is not as they were tuned for.
    """

    name: str
    description: str
    kind: str
    degradation: Degradation
    sigma_y: float
    stages: tuple[Stage, ...]
    noise_kind: NoiseKind | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The degradation's, as the YAML gives them."""
        return asdict(self.degradation)

    @property
    def is_white(self) -> bool:
        """Whether the noise is white, of level ``sigma_y``."""
        return self.noise_kind is None and not self.degradation.own_noise

    def noise(self, operator: Operator) -> NoiseModel | None:
        """How measurements scatter about those of the task's operator; None: white noise of level ``sigma_y``."""
        return self.degradation.noise(operator) if self.noise_kind is None else self.noise_kind.model()

    def noise_or_level(self, operator: Operator, sigma_y: float | None = None) -> NoiseModel | float:
        """``noise``, or where it is white its level: ``sigma_y``, by default the task's."""
        model = self.noise(operator)
        if model is not None:
            return model
        return self.sigma_y if sigma_y is None else sigma_y

    def measure(self, operator: Operator, x: Tensor, noise: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """A measurement of images by the task's operator, with its noise, of normals ``noise(shape)``."""
        return operator.measure(x, self.noise_or_level(operator), noise)

    def settings(self, steps: int, sigma_y: float | None = None) -> Settings | None:
        """The solver's tuned settings for ``steps`` network evaluations: of the last stage that ``steps`` reaches.

        None where there are none, or none for noise of level ``sigma_y`` (default: the task's): then
        :func:`invsolve.default_settings` serve, which :func:`invsolve.solve` takes for None.
        """
        check("steps", steps, Count)
        sigma_y = self.sigma_y if sigma_y is None else sigma_y
        return next((stage.settings for stage in reversed(self.stages) if stage.serves(steps, sigma_y)), None)

    def image_shape(self, measurement_shape: Shape, kernel: Tensor | None = None) -> Shape:
        """Shape (C, H, W) of the clean image behind a measurement: (3, 64, 64) -> (3, 256, 256) at 4x."""
        return self.degradation.image_shape(measurement_shape, kernel)

    def margins(self, kernel: Tensor | None = None) -> Margins:
        """By how many pixels that image reaches beyond the measured part: at boundary valid, else 0."""
        return self.degradation.margins(kernel)

    def make_operator(
        self, image_shape: Shape, mask: Tensor | None = None, kernel: Tensor | None = None, seed: int = 0
    ) -> Operator:
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


def list_linear_tasks() -> list[str]:
    """Names of the shipped tasks whose operators are linear and whose noise is white."""
    tasks = {name: load_task(name) for name in list_tasks()}
    return [name for name, task in tasks.items() if task.is_white and task.degradation.linear]


@dataclass(frozen=True)
class TaskFile(Checked):
    """The keys of a task's YAML file."""

    name: str
    description: str
    operator: object  # {type: of DEGRADATIONS, and its parameters}
    sigma_y: NoiseLevel | None = None  # of white noise
    noise: object = None  # {type: of NOISES, and its parameters}, in place of white noise of level sigma_y
    settings: object = None  # a list of {steps: from which on they serve, sigma_y: at which noise level, and Settings}


def load_task(name_or_path: str | Path, changes: Sequence[str] = ()) -> Task:
    """Read a task from a YAML path, or a shipped one by its name.

    ``changes`` are ``operator.KEY=VALUE``, ``noise.KEY=VALUE`` or ``sigma_y=VALUE``, in place of what the file says.
    Settings that the file has were tuned for its operator: they are left out where it, or its ``noise``, is changed.

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
    stages = () if file.settings is None else _stages(file.settings, float(file.sigma_y or 0.0), f"{path}: settings")
    kind, degradation = typed(file.operator, DEGRADATIONS, f"{path}: operator")
    noise_kind, noise = (None, None) if file.noise is None else typed(file.noise, NOISES, f"{path}: noise")
    if file.sigma_y is None and noise is None and not degradation.own_noise:
        raise ValueError(f"{path}: the key 'sigma_y' is missing")
    if file.sigma_y is not None and (noise is not None or degradation.own_noise):
        raise ValueError(f"{path}: its noise is not white, of some level sigma_y: leave that out")
    operator_values, noise_values = asdict(degradation), asdict(noise) if noise else {}
    sigma_y = float(file.sigma_y or 0.0)
    known = [*(f"operator.{key}" for key in operator_values), *(f"noise.{key}" for key in noise_values)]
    for change in changes:
        name, value = _change(change, known if noise is not None else [*known, "sigma_y"])
        group, _, key = name.partition(".")
        if group == "sigma_y":
            check("sigma_y", value, NoiseLevel)
            sigma_y = float(value)
        else:
            (operator_values if group == "operator" else noise_values)[key] = value
    if operator_values != asdict(degradation) or (noise is not None and noise_values != asdict(noise)):
        where, stages = f"{file.name} with {' '.join(changes)}", ()
        _, degradation = typed({"type": kind, **operator_values}, DEGRADATIONS, where)
        noise = None if noise is None else typed({"type": noise_kind, **noise_values}, NOISES, where)[1]
    return Task(file.name, file.description, kind, degradation, sigma_y, stages, noise)


def _change(text: str, known: Sequence[str]) -> tuple[str, object]:
    """Name and value of ``NAME=VALUE``. Raises ValueError for any other text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} changes nothing: expected NAME=VALUE, NAME being one of {', '.join(known)}")
    if name not in known:
        raise ValueError(f"{text!r}: unknown parameter {name!r}{suggestion(name, known)}")
    return name, read_value(value)


def typed(spec: object, kinds: Mapping[str, type[Kind]], where: str) -> tuple[str, Kind]:
    """Of ``{type: ..., key: ...}``, the type and the dataclass of that type."""
    if not isinstance(spec, dict) or "type" not in spec:
        raise ValueError(f"{where}: expected a mapping with the key 'type'")
    kind = spec["type"]
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{where}: unknown type {kind!r}{suggestion(kind, kinds)}")
    return kind, from_mapping(kinds[kind], {key: spec[key] for key in spec if key != "type"}, where)


def _stages(entries: object, task_sigma_y: float, where: str) -> tuple[Stage, ...]:
    """The list of settings, each with the number of steps it serves from and its noise level, in rising order."""
    if not isinstance(entries, tuple | list) or not entries:
        raise ValueError(f"{where}: expected a list of entries, each with the key 'steps'")
    stages: dict[tuple[int, float], Stage] = {}
    for number, entry in enumerate(entries, start=1):
        at = f"{where}: entry {number}"
        if not isinstance(entry, dict) or "steps" not in entry:
            raise ValueError(f"{at}: expected a mapping with the key 'steps'")
        steps, sigma_y = entry["steps"], entry.get("sigma_y", task_sigma_y)
        try:
            check("steps", steps, Count)
            check("sigma_y", sigma_y, NoiseLevel)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{at}: {error}") from None
        if (steps, sigma_y) in stages:
            raise ValueError(f"{at}: a second entry for steps {steps}")
        settings = {key: entry[key] for key in entry if key not in ("steps", "sigma_y")}
        stages[steps, sigma_y] = Stage(steps, float(sigma_y), from_mapping(Settings, settings, at))
    if (1, task_sigma_y) not in stages:
        least = min(steps for steps, _ in stages)
        raise ValueError(f"{where}: no entry serves from steps 1 on (the first one has steps {least})")
    return tuple(stages[key] for key in sorted(stages))
