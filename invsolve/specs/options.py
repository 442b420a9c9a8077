"""The options of the commands, checked; ``invsolve COMMAND --help`` says what each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .degradations import Boundary
from .fields import Bounds, Checked, Count, Index, Positive

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Samples = Annotated[int, Bounds(at_least=2)]


@dataclass(frozen=True)
class RunOptions(Checked):
    """Of ``invsolve run``."""

    task: str
    inputs: tuple[str, ...]
    output: Path = Path()
    simulate: bool = False
    steps: Count = 4
    samples: Samples | None = None
    prior: str = "default"
    mask: Path | None = None
    kernel: Path | None = None
    boundary: Boundary | None = None
    seed: Index = 0
    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    tile: Count | None = None
    batch: Count = 8
    lpips_trunk: Path | None = None


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
    device: Device = "auto"
    batch: Count = 8


@dataclass(frozen=True)
class BenchOptions(Checked):
    """Of ``invsolve bench``."""

    data: Path
    out: Path
    tasks: tuple[str, ...] = ("all",)  # names or files; "all" stands for the shipped ones
    methods: tuple[str, ...] = ("baseline", "ncvsd", "teacher")
    steps: Count = 4
    limit: Count | None = None
    size: Count = 256
    batch: Count = 1
    prior: str = "default"
    denoiser: str = "teacher"
    seed: Index = 0
    samples: Samples | None = None
    pictures: Index = 4
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # not of the processor: figures must not depend on it
    device: Device = "auto"
    lpips_trunk: Path | None = None
    redo: tuple[str, ...] = ()
