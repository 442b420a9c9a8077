"""The options of the commands, checked; ``invsolve COMMAND --help`` says what each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .degradations import Boundary
from .fields import Bounds, Checked, Count, Index, NoiseLevel, Positive, check
from .settings import POSTERIOR_STEPS, STEPS

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Samples = Annotated[int, Bounds(at_least=2)]
Format = Literal["png", "jpg", "webp", "tiff", "input"]
AUTO = "auto"
GRAY_LEVELS = "/255"


def noise_level(text: str) -> float:
    """A noise level on [-1, 1] as a user writes it: ``0.05``, or ``25/255`` for 25 of 255 gray levels, 0.196.

    Raises:
        ValueError: it is neither, or out of range.
    """
    number = text.removesuffix(GRAY_LEVELS)
    try:
        level = float(number)
    except ValueError:
        raise ValueError(f"the noise level is {text!r} but must be {AUTO}, a number or N{GRAY_LEVELS}") from None
    level = level if number == text else 2 * level / 255
    check("the noise level", level, NoiseLevel)
    return level


@dataclass(frozen=True)
class RunOptions(Checked):
    """Of ``invsolve run``."""

    task: str
    inputs: tuple[str, ...]
    output: Path = Path()
    simulate: bool = False
    steps: Count | None = None  # None: those of solve, or of posterior where there are samples
    samples: Samples | None = None
    prior: str = "default"
    mask: Path | None = None
    kernel: Path | None = None
    boundary: Boundary | None = None
    sigma: str | None = None  # a noise level as `noise_level` reads it, or auto; None: what serves the input
    changes: tuple[str, ...] = ()  # of the task, as `load_task` takes them
    factor: Count | None = None
    outscale: Annotated[float, Bounds(at_least=1, at_most=64)] | None = None
    mask_color: str | None = None
    invert_mask: bool = False
    fit_mask: bool = False
    keep_margin: bool = False
    keep_profile: bool = False
    format: Format = "png"
    quality: Annotated[int, Bounds(at_least=1, at_most=100)] = 95
    recursive: bool = False
    skip_existing: bool = False
    json: bool = False
    quiet: bool = False
    seed: Index = 0
    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    tile: Count | None = None
    batch: Count = 8
    lpips_trunk: Path | None = None
    no_lpips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is None:
            object.__setattr__(self, "steps", self.default_steps)
        if self.sigma not in (None, AUTO):
            noise_level(self.sigma)

    @property
    def default_steps(self) -> int:
        return STEPS if self.samples is None else POSTERIOR_STEPS


@dataclass(frozen=True)
class AppOptions(Checked):
    """Of ``invsolve app``."""

    host: str = "127.0.0.1"
    port: Annotated[int, Bounds(at_least=1, at_most=65535)] = 7860
    auth: str | None = None  # USER:PASSWORD
    upload: Count = 50  # megabytes of a picture, at most
    prior: str = "default"
    device: Device = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auth is not None and not all(self.auth.partition(":")):
            raise ValueError("--auth: expected USER:PASSWORD")


@dataclass(frozen=True)
class GenerateOptions(Checked):
    """Of ``invsolve generate``."""

    prior: str = "default"
    count: Count = 16
    size: Count | None = None
    steps: Count = 16
    levels: tuple[Positive, ...] = ()
    label: str | None = None
    seed: Index = 0
    out: Path = Path()
    compare: Path | None = None
    lpips_trunk: Path | None = None
    device: Device = "auto"
    batch: Count = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compare is not None and self.count < 2:
            raise ValueError(f"--compare: needs 2 or more pictures, and --count is {self.count}")


@dataclass(frozen=True)
class BenchOptions(Checked):
    """Of ``invsolve bench``."""

    data: Path
    out: Path
    tasks: tuple[str, ...] = ("all",)  # names or files; "all" stands for the shipped ones
    methods: tuple[str, ...] = ("baseline", "ncvsd", "teacher")
    steps: Count = 4
    limit: Count | None = None
    size: Count | None = None  # pixels a side of the central crop; None: whole pictures
    reduce: Count = 1  # side of the blocks whose means are the pixels, before the crop
    batch: Count = 1
    prior: str = "default"
    denoiser: str = "teacher"
    seed: Index = 0
    samples: Samples | None = None
    pictures: Index = 4
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # not of the processor: figures must not depend on it
    device: Device = "auto"
    lpips_trunk: Path | None = None
    metrics: tuple[str, ...] = ()  # further ones: fid, and those of pyiqa without reference
    redo: tuple[str, ...] = ()
