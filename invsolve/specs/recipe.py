"""Training configurations: plain dataclasses read from YAML; unknown keys, wrong types and ranges are refused."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from ..training.ema import LARGEST_STD
from .validation import Check, check_mapping, choice, flag, integer, number, read_yaml, text


@dataclass(frozen=True)
class RunConfig:
    """What the teacher's training and the distillation share."""

    images: int = 1_000_000  # training crops in all
    batch: int = 64
    accumulate: int = 1  # micro-batches that a batch is computed in, one after the other, to save memory
    crop: int = 128  # pixels, a multiple of the network's
    zoom: tuple[float, float] = (1.0, 1.0)  # crops show pictures at a scale log-uniform between these, at most 1
    memory_gb: float = 8.0  # decoded pictures of up to this size are kept in memory, more of them in a mapped file
    label_dropout: float = 0.1  # share of crops whose class is hidden, for use without one: solve() names none
    holdout: int = 32  # last pictures of every folder, or class, kept out of training; the first folder's validate
    warmup: int = 100  # optimiser steps of linear warm-up
    decay_after: int = 1000  # steps after which the learning rate falls as 1/sqrt(step)
    ema: tuple[float, ...] = (0.05, 0.10)  # relative widths of the power-function averages; the first one is exported
    precision: str = "bf16"  # bf16 or fp32
    compile: bool = False  # torch.compile: minutes at the start, then faster steps
    seed: int = 0
    workers: int = 0  # data loading processes
    checkpoint_every: int = 500  # steps
    snapshot_every: int = 0  # steps, a multiple of checkpoint_every, between stored averages (see posthoc.py); 0: none
    license: str = "unknown"  # of the weights, written into their file
    data: str = "unknown"  # description of the pictures and their licences, written into the weights' file


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """EDM teacher. EDM2's own levels are N(-0.4, 1.0²) for latents and N(-0.8, 1.6²) for pixels."""

    network: dict = field(default_factory=dict)  # UNetConfig's fields in NETWORK_CHECKS, over NETWORK_DEFAULTS
    learning_rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    sigma_mean: float = -0.9  # ln sigma ~ N(mean, std²)
    sigma_std: float = 1.5


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """NCVSD distillation."""

    gamma: float = 0.414
    conditioning: str = "inputs"  # (u, s) as further inputs, or in an encoder of its own as published: encoder
    generator_rate: float = 3e-4
    fake_rate: float = 4e-3
    discriminator_rate: float = 3e-4
    betas: tuple[float, float] = (0.0, 0.99)
    sigma_min: float = 0.01  # s is uniform on the Karras scale between these
    sigma_max: float = 20.0
    sigma_exponent: float = 7.0
    sigma_levels: int = 0  # s is one of so many levels on that scale, 1000 as published; 0: continuous
    t_mean: float = -0.8  # ln t ~ N(mean, std²)
    t_std: float = 1.6
    fake_first: int = 40  # steps of the fake denoiser before the first of the generator
    adversarial_weight: float = 0.0  # norm of the adversarial gradient relative to the distillation gradient; 0: none
    adversarial_from: int = 0  # steps before it joins
    discriminator_first: int = 300  # the discriminator learns from this many steps before that


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Fine-tuning of a generative denoiser for few evaluations (see ``finetune.py``)."""

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.99)
    sigma_min: float = 0.02  # s is log-uniform between these
    sigma_max: float = 8.0
    feature_level: float = 0.02  # noise that the teacher sees the pictures under whose features it compares
    error_weight: float = 0.1  # of the logarithm of the squared error, beside that of the perceptual distance
    keep: float = 0.2  # share of the samples whose draws are held to what they were
    keep_weight: float = 16.0  # of their squared difference


def numbers(each: Check, count: int | None = None) -> Check:
    """A list of ``count`` (at least one, if None) values that each pass a check."""

    def check(values: object) -> str | None:
        fits = isinstance(values, list) and values and count in (None, len(values))
        failures = [each(value) for value in values] if fits else [each(None)]
        expected = next((failure for failure in failures if failure), None)
        return expected and f"a list of {count or 'one or more'}, each {expected}"

    return check


CHECKS: dict[str, Check] = {
    "images": integer(1),
    "batch": integer(1),
    "accumulate": integer(1),
    "crop": integer(1),
    "zoom": numbers(number(above=0, high=1), count=2),
    "memory_gb": number(low=0),
    "label_dropout": number(low=0, high=1),
    "holdout": integer(0),
    "warmup": integer(0),
    "decay_after": integer(1),
    "ema": numbers(number(above=0, high=LARGEST_STD)),
    "precision": choice("bf16", "fp32"),
    "compile": flag,
    "seed": integer(0),
    "workers": integer(0),
    "checkpoint_every": integer(1),
    "snapshot_every": integer(0),
    "license": text,
    "data": text,
    "network": lambda value: None if isinstance(value, dict) else "a mapping of the network's keys to values",
    "learning_rate": number(above=0),
    "betas": numbers(number(low=0, high=0.9999), count=2),
    "sigma_mean": number(),
    "sigma_std": number(above=0),
    "gamma": number(above=0),
    "conditioning": choice("inputs", "encoder"),
    "generator_rate": number(above=0),
    "fake_rate": number(above=0),
    "discriminator_rate": number(above=0),
    "sigma_min": number(above=0),
    "sigma_max": number(above=0),
    "sigma_exponent": number(above=0),
    "sigma_levels": lambda value: (
        None if value == 0 and type(value) is int else integer(2)(value) and "0, or at least 2"
    ),
    "t_mean": number(),
    "t_std": number(above=0),
    "fake_first": integer(0),
    "adversarial_weight": number(low=0),
    "adversarial_from": integer(0),
    "discriminator_first": integer(0),
    "feature_level": number(above=0),
    "error_weight": number(low=0),
    "keep": number(low=0, high=1),
    "keep_weight": number(low=0),
}

# A teacher is unconditional, and pictures are read in colour: UNetConfig's other fields are not for the user to set.
NETWORK_CHECKS: dict[str, Check] = {
    "widths": numbers(integer(1)),
    "blocks": numbers(integer(1)),
    "haar": integer(0),
    "dropout": number(low=0, high=0.9),
    "attention": numbers(integer(0)),
    "bottom_attention": flag,
    "wide_up": flag,
    "head_channels": integer(1),
    "labels": integer(0),
    "auxt": flag,
}

# What a new teacher has unless its configuration says otherwise. The shortcuts reach a loss in fewer images: auxt.py.
NETWORK_DEFAULTS = {"auxt": True}

Config = TypeVar("Config", TrainConfig, DistillConfig, FinetuneConfig)


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Read a YAML file into ``kind``. Raises ValueError naming file and key where something is off."""
    values = read_yaml(Path(path))
    check_mapping(values, {}, {f.name: CHECKS[f.name] for f in fields(kind)}, where=str(path))
    check_mapping(values.get("network", {}), {}, NETWORK_CHECKS, where=f"{path}: network")
    config = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    if config.snapshot_every % config.checkpoint_every:
        expected = f"a multiple of checkpoint_every, {config.checkpoint_every}"
        raise ValueError(f"{path}: snapshot_every is {config.snapshot_every} but must be {expected}")
    if config.batch % config.accumulate:
        raise ValueError(f"{path}: batch {config.batch} is no multiple of accumulate, {config.accumulate}")
    if config.zoom[0] > config.zoom[1]:
        raise ValueError(f"{path}: zoom is {list(config.zoom)} but its first number must not exceed its second")
    if not isinstance(config, TrainConfig) and config.sigma_min > config.sigma_max:
        raise ValueError(f"{path}: sigma_min is {config.sigma_min} but must not exceed sigma_max, {config.sigma_max}")
    return config
