"""Training configurations: plain dataclasses read from YAML, unknown keys and wrong types refused."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

import yaml


@dataclass(frozen=True)
class RunConfig:
    """What the teacher's training and the distillation share."""

    images: int = 1_000_000  # training crops in all
    batch: int = 64
    crop: int = 128  # pixels, a multiple of the network's
    holdout: int = 32  # pictures at the end of every folder kept out of training, for validation
    warmup: int = 100  # optimiser steps of linear warm-up
    decay_after: int = 1000  # steps after which the learning rate falls as 1/sqrt(step)
    ema: tuple[float, ...] = (0.05, 0.10)  # relative widths of the power-function averages; the first one is exported
    precision: str = "bf16"  # bf16 or fp32
    compile: bool = False  # torch.compile: minutes at the start, then faster steps
    seed: int = 0
    workers: int = 0  # data loading processes
    checkpoint_every: int = 500  # steps
    license: str = "unknown"  # of the weights, written into their file
    data: str = "unknown"  # description of the pictures and their licences, written into the weights' file


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """EDM teacher."""

    network: dict = field(default_factory=dict)  # UNetConfig's fields
    learning_rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    sigma_mean: float = -0.9  # ln sigma ~ N(mean, std²)
    sigma_std: float = 1.5


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """NCVSD distillation."""

    gamma: float = 0.414
    generator_rate: float = 3e-4
    fake_rate: float = 4e-3
    discriminator_rate: float = 3e-4
    betas: tuple[float, float] = (0.0, 0.99)
    sigma_min: float = 0.01  # s is uniform on the Karras scale between these
    sigma_max: float = 20.0
    sigma_exponent: float = 7.0
    t_mean: float = -0.8  # ln t ~ N(mean, std²)
    t_std: float = 1.6
    fake_first: int = 40  # steps of the fake denoiser before the first of the generator
    adversarial_weight: float = 0.0  # norm of the adversarial gradient relative to the distillation gradient; 0: none
    adversarial_from: int = 0  # steps before it joins
    discriminator_first: int = 300  # the discriminator learns from this many steps before that


Config = TypeVar("Config", TrainConfig, DistillConfig)


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Read a YAML file into ``kind``. Raises ValueError naming file and key where something is off."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no configuration file {path}")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold keys and values, found {type(values).__name__}")
    known = {f.name: f for f in fields(kind)}
    defaults = kind()
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ValueError(f"{path}: unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else ""))
        values[key] = _convert(value, getattr(defaults, key), f"{path}: {key}")
    config = kind(**values)
    _check_ranges(config, path)
    return config


def _convert(value: object, default: object, where: str) -> object:
    """The YAML value in the type of the default."""
    wanted = type(default)
    if wanted is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 3e-4 as a string
        except ValueError:
            raise ValueError(f"{where} must be a number, found {value!r}") from None
    if wanted is tuple and isinstance(value, list):
        return tuple(float(item) for item in value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ValueError(f"{where} must be of type {wanted.__name__}, found {value!r}")
    return value


def _check_ranges(config: RunConfig, path: Path) -> None:
    positive = ["images", "batch", "crop", "decay_after", "checkpoint_every"]
    for name in positive:
        if getattr(config, name) < 1:
            raise ValueError(f"{path}: {name} must be at least 1, found {getattr(config, name)}")
    if config.precision not in ("bf16", "fp32"):
        raise ValueError(f"{path}: precision must be bf16 or fp32, found {config.precision!r}")
