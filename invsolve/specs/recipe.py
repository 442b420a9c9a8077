"""Recipes of trainings: YAML files, shipped or one's own, read into checked dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from ..runtime.shipped import shipped
from .fields import Bounds, Checked, Count, Index, NotNegative, Positive, Share, check_sigmas, from_mapping, suggestion
from .yaml_file import read_yaml

LARGEST_STD = 0.28  # relative width of an average; a uniform one has sqrt(1/12), about 0.289

Scale = Annotated[float, Bounds(above=0, at_most=1)]
Std = Annotated[float, Bounds(above=0, at_most=LARGEST_STD)]
Beta = Annotated[float, Bounds(at_least=0, at_most=0.9999)]

# name, of a YAML file in checkpoints/: (command, what it is)
RECIPES = {
    "default-teacher": ("train", "how the prior teacher was trained"),
    "default-distill": ("distill", "how it became a generative denoiser"),
    "default-finetune": ("finetune", "how that became the prior default"),
    "default-photos-teacher": ("train", "how the teacher goes on, with more photographs"),
    "default-photos-finetune": ("finetune", "how default goes on, with more photographs"),
    "default-calibrate": ("calibrate", "how the prior sampler goes on, which has its samples"),
    "published-ffhq256-teacher": ("train", "a teacher of the published size, for FFHQ at 256 pixels"),
    "published-ffhq256-distill": ("distill", "the published distillation of such a teacher"),
}


@dataclass(frozen=True)
class RunConfig(Checked):
    """What all trainings share."""

    images: Count = 1_000_000  # training crops in all
    batch: Count = 64
    accumulate: Count = 1  # micro-batches that a batch is computed in, one after the other, to save memory
    crop: Count = 128  # pixels, a multiple of the network's
    zoom: tuple[Scale, Scale] = (1.0, 1.0)  # crops show pictures at a scale log-uniform between these, at most 1
    memory_gb: NotNegative = 8.0  # decoded pictures of up to this size are kept in memory, more in a mapped file
    label_dropout: Share = 0.1  # share of crops whose class is hidden, for use without one: solve() names none
    holdout: Index = 32  # last pictures of every folder, or class, kept out of training, for validation
    warmup: Index = 100  # optimiser steps of linear warm-up
    decay_after: Count = 1000  # steps after which the learning rate falls as 1/sqrt(step)
    ema: tuple[Std, ...] = (0.05, 0.10)  # relative widths of the power-function averages; the first one is exported
    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool = False  # torch.compile: minutes at the start, then faster steps
    seed: Index = 0
    workers: Index = 0  # data loading processes
    checkpoint_every: Count = 500  # steps
    snapshot_every: Index = 0  # steps, a multiple of checkpoint_every, between stored averages (posthoc.py); 0: none
    license: str = "unknown"  # of the weights, written into their file
    data: str = "unknown"  # description of the pictures and their licences, written into the weights' file

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ema:
            raise ValueError("ema is [] but must be a list of one or more")
        if self.snapshot_every % self.checkpoint_every:
            expected = f"a multiple of checkpoint_every, {self.checkpoint_every}"
            raise ValueError(f"snapshot_every is {self.snapshot_every} but must be {expected}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch is {self.batch} but must be a multiple of accumulate, {self.accumulate}")
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom is {list(self.zoom)} but its first number must not exceed its second")


@dataclass(frozen=True)
class Network(Checked):
    """The network of a new teacher: what of ``UNetConfig`` is the user's to choose, see there."""

    widths: tuple[Count, ...] = (64, 128, 192, 192)
    blocks: tuple[Count, ...] = (1, 2, 2, 2)
    haar: Index = 1
    dropout: Annotated[float, Bounds(at_least=0, at_most=0.9)] = 0.0
    attention: tuple[Index, ...] = ()
    bottom_attention: bool = False
    wide_up: bool = False
    head_channels: Count = 64
    labels: Index = 0
    image_channels: Literal[1, 3] = 3  # 1: of gray pictures
    auxt: bool = True  # the shortcuts reach a loss in fewer images: auxt.py


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """EDM teacher. EDM2's own noise levels are N(-0.4, 1.0²) for latents and N(-0.8, 1.6²) for pixels."""

    network: Network = Network()
    learning_rate: Positive = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    sigma_mean: float = -0.9  # ln sigma ~ N(mean, std²)
    sigma_std: Positive = 1.5


@dataclass(frozen=True)
class ScoreConfig(RunConfig):
    """A training by the energy score of pairs of samples (see ``energy.py``)."""

    patches: tuple[Count, ...] = (1, 4)  # sides of the patches whose norms it takes, in pixels
    scales: tuple[Count, ...] = (1, 2, 4, 8)  # sides of the squares averaged before, each a multiple of the last
    exchange_weight: NotNegative = 0.1  # of the term for equal spread and error in every frequency band
    exchange_steps: Index = 0  # within which that weight falls to 0; 0: it stays

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.patches and self.scales):
            raise ValueError(f"patches {list(self.patches)} and scales {list(self.scales)} must have an entry each")
        if any(b % a or b == a for a, b in pairwise(self.scales)):
            raise ValueError(f"scales is {list(self.scales)} but each must be a larger multiple of the one before")


@dataclass(frozen=True)
class DistillConfig(ScoreConfig):
    """NCVSD distillation, with ``energy_weight`` by the energy score as well."""

    gamma: Positive = 0.414
    conditioning: Literal["inputs", "encoder"] = "inputs"  # (u, s) as further inputs, or as published in an encoder
    generator_rate: Positive = 3e-4
    fake_rate: Positive = 4e-3
    discriminator_rate: Positive = 3e-4
    betas: tuple[Beta, Beta] = (0.0, 0.99)
    sigma_min: Positive = 0.01  # s is uniform on the Karras scale between these
    sigma_max: Positive = 20.0
    sigma_exponent: Positive = 7.0
    sigma_levels: Index = 0  # s is one of so many noise levels on that scale, 1000 as published; 0: continuous
    t_mean: float = -0.8  # ln t ~ N(mean, std²)
    t_std: Positive = 1.6
    fake_first: Index = 40  # steps of the fake denoiser before the first of the generator
    adversarial_weight: NotNegative = 0.0  # norm of the adversarial gradient relative to the distillation's; 0: none
    adversarial_from: Index = 0  # steps before it joins
    discriminator_first: Index = 300  # the discriminator learns from this many steps before that
    energy_weight: NotNegative = 0.0  # norm of the energy score's gradient relative to the distillation's; 0: none

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigmas(self)
        if self.sigma_levels == 1:
            raise ValueError("sigma_levels is 1 but must be 0, or at least 2")
        if self.energy_weight:
            check_patches(self)


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Fine-tuning of a generative denoiser for few evaluations (see ``finetune.py``)."""

    learning_rate: Positive = 3e-4
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    sigma_min: Positive = 0.02  # s is log-uniform between these
    sigma_max: Positive = 8.0
    feature_level: Positive = 0.02  # noise that the teacher sees the pictures under whose features it compares
    error_weight: NotNegative = 0.1  # of the logarithm of the squared error, beside that of the perceptual distance
    keep: Share = 0.2  # share of the samples that are held to what they were
    keep_weight: NotNegative = 16.0  # of their squared difference

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigmas(self)


@dataclass(frozen=True)
class CalibrateConfig(ScoreConfig):
    """Training of a generative denoiser by the energy score alone (see ``calibrate.py``)."""

    learning_rate: Positive = 3e-4
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    sigma_min: Positive = 0.02  # s is log-uniform between these
    sigma_max: Positive = 20.0
    keep: Share = 0.2  # share of the samples that are held, without over-noising, to what they were
    keep_weight: NotNegative = 16.0  # of their squared difference

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigmas(self)
        check_patches(self)


def check_patches(settings: ScoreConfig) -> None:
    """Raises ValueError where a crop does not hold the largest patch at the coarsest scale."""
    side = max(settings.patches) * settings.scales[-1]
    if settings.crop < side:
        raise ValueError(
            f"crop is {settings.crop} but the largest patch at the coarsest scale has {side} pixels a side"
        )


Config = TypeVar("Config", TrainConfig, DistillConfig, FinetuneConfig, CalibrateConfig)


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Read a YAML file into ``kind``. Raises ValueError naming file and key where something is off."""
    return from_mapping(kind, read_yaml(Path(path)), str(path))


def find_recipe(name_or_path: str, command: str) -> Path:
    """The file of a shipped recipe of ``invsolve COMMAND``, or any other as it is given.

    Raises:
        ValueError: there is no such recipe, nor a file.
    """
    known = [name for name, (of, _) in RECIPES.items() if of == command]
    if name_or_path in known:
        return shipped("checkpoints") / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    advice = f"{suggestion(name_or_path, known)} (or give the path of a .yaml file)"
    raise ValueError(f"no configuration {name_or_path!r} of invsolve {command}{advice}")
