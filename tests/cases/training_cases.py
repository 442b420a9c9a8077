"""Configurations, pictures and a helper that the training's tests share."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.training.samples import Samples

TEACHER = {
    "network": {"widths": [8, 16], "blocks": [1, 1], "haar": 1, "auxt": False},  # its shortcuts take most of the time
    "images": 128 * 8,
    "batch": 8,
    "crop": 16,
    "holdout": 2,
    "warmup": 5,
    "decay_after": 100,
    "learning_rate": 0.02,
    "ema": [0.05, 0.1],
    "precision": "fp32",
    "license": "CC0",
    "data": "generated",
}
SHORT = {
    "batch": 8,
    "crop": 16,
    "holdout": 2,
    "warmup": 2,
    "precision": "fp32",
    "ema": [0.1],
    "license": "CC0",
    "data": "generated",
}
STUDENT = {
    **SHORT,
    "images": 16 * 8,
    "fake_first": 3,
    "adversarial_weight": 0.3,
    "adversarial_from": 8,
    "discriminator_first": 4,
}
TUNING = {**SHORT, "images": 80}


def write_pictures(folder: Path) -> Path:
    """Twelve smooth pictures of 24 x 20 pixels: a colour, and a wave over it."""
    stream = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :20]
    for i in range(12):
        colour, frequency = stream.uniform(60, 190, 3), stream.uniform(-0.5, 0.5, 2)
        wave = 50 * np.sin(frequency[0] * rows + frequency[1] * columns)
        Image.fromarray((colour + wave[..., None]).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def coordinates(height: int, width: int, picture: int = 0) -> np.ndarray:
    """A picture whose pixels tell where they are: row, column and the picture's number, ``[3, H, W]`` uint8."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, picture)]).astype(np.uint8)


def write_picture(folder: Path, name: str, array: np.ndarray) -> Path:
    """``[3, H, W]`` or, in gray, ``[H, W]`` as ``folder/name``."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.transpose(1, 2, 0) if array.ndim == 3 else array).save(folder / name)
    return folder / name


def write(path: Path, values: dict, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


def with_image_size(path: Path, target: Path, size: int) -> None:
    """Copy a prior's file, saying that its network knows images of so many pixels a side only."""
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["invsolve"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    save_file(tensors, target, metadata={"invsolve": json.dumps({**header, "image_size": size})})


def refused(message: str, command, *arguments: object) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        command(*arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def assert_resumes(run: Callable[[Path, Path], object], folder: Path, values: dict, first: int, **changes) -> None:
    """``run(config, out)`` in two parts, the first of so many steps, ends with the state of an undisturbed run."""
    config = write(folder / "config.yaml", values, **changes)
    run(config, folder / "whole")
    run(write(folder / "part.yaml", values, **changes | {"images": first * values["batch"]}), folder / "parts")
    assert steps_done(folder / "parts") == first
    run(config, folder / "parts")
    assert_same_states(folder / "whole" / "state.pt", folder / "parts" / "state.pt", steps_done(folder / "whole"))
    assert weights(folder / "parts") == weights(folder / "whole")


def before_steps(monkeypatch, act: Callable[[int, Samples], object]) -> None:
    """Have ``act(n, samples)`` called before the n-th step from now on."""
    made, numbers = Samples.of, itertools.count(1)

    def of(*given: object) -> Samples:
        samples = made(*given)
        act(next(numbers), samples)
        return samples

    monkeypatch.setattr(Samples, "of", of)


def torchrun(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """A script, or -m and a module, with its arguments, in two processes on this machine."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    how = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "cwd": cwd, "capture_output": True, "text": True}
    return subprocess.run([*start, *map(str, command)], **how, timeout=200, check=False)


def weights(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.safetensors")}


def state_of(out: Path) -> dict:
    return torch.load(out / "state.pt", weights_only=True)


def steps_done(out: Path) -> int:
    return state_of(out)["step"]


def assert_same_states(left: Path, right: Path, steps: int, tolerance: float = 1e-6) -> None:
    """Weights, averages, optimisers and counters agree, and there are some."""
    left, right = (flat(torch.load(path, weights_only=True)) for path in (left, right))
    assert left["step"] == steps
    assert left.keys() == right.keys()
    assert len(left) > 100
    for name, value in left.items():
        if isinstance(value, torch.Tensor):
            assert (value - right[name]).abs().max() <= tolerance, name
        else:
            assert value == right[name], name


def assert_continues(written: Path, generator: Path, images: int) -> None:
    """A prior that a training wrote says what it came from; sample grids lie beside it."""
    header, before = load_denoiser(written)[1], load_denoiser(generator)[1]
    assert header["gamma"] == before["gamma"]
    assert header["record"]["continues"] == before["record"]
    assert header["record"]["images_seen"] == images
    assert list((written.parent / "samples").glob("*.png"))
    assert load_prior(written).spectrum is not None


def flat(state: object, prefix: str = "") -> dict[str, object]:
    if isinstance(state, (dict, list)):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {key: leaf for name, value in items for key, leaf in flat(value, f"{prefix}.{name}".strip(".")).items()}
    return {prefix: state}


def figures(out: Path, name: str) -> list[float]:
    """A figure of a run's ``metrics.jsonl``, line by line."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]
