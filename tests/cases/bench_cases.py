"""Small pictures, random networks and short runs of ``invsolve bench`` on them, shared by its tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from invsolve.bench.store import read_results
from invsolve.cli import main
from invsolve.images.files import read_image, write_image
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import save_denoiser

SIZE = 32
COSTS = ("seconds", "memory")
ALEXNET = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def photograph(i: int, size: int = SIZE) -> torch.Tensor:
    """A square piece of a real photograph ``[3, size, size]``, another one for every i."""
    return read_image("skimage:astronaut")[:, 40 * i : 40 * i + size, 180 : 180 + size]


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        write_image(photograph(i), folder / f"{i:05d}.png")
    return folder


def write_denoiser(path: Path, seed: int = 1, record: dict | None = None) -> Path:
    """A checkpoint of a very small plain denoiser with random weights."""
    torch.manual_seed(seed)
    network = UNet(UNetConfig(widths=(8, 16), blocks=(1, 1)))
    with torch.no_grad():
        network.gain_out.fill_(0.1)
    spectrum = 1 / (0.01 + torch.linspace(0, 0.7, 64) ** 2)
    save_denoiser(path, Denoiser(network), record or {"license": "none", "data": "none"}, spectrum=spectrum)
    return path


def write_trunk(path: Path) -> Path:
    """AlexNet's convolutions with random weights, so that LPIPS needs no download."""
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for number, shape in ALEXNET.items():
        tensors[f"features.{number}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5 / shape[2]
        tensors[f"features.{number}.bias"] = torch.zeros(shape[0])
    save_file(tensors, path)
    return path


@dataclass(frozen=True)
class Bench:
    """The command on small pictures and random networks; later options replace the ones given here."""

    folder: Path
    pictures: Path
    prior: Path

    def arguments(self, out: str, *more: object) -> list[str]:
        networks = ["--prior", self.prior, "--denoiser", self.folder / "denoiser.safetensors"]
        command = ["bench", "--data", self.pictures, "--out", self.folder / out, *networks, "--size", SIZE]
        command += ["--lpips-trunk", self.folder / "trunk.safetensors", "--device", "cpu", "--pictures", 1]
        command += ["--tasks", "sr4x,inpaint_random", "--methods", "baseline,ncvsd,teacher:2", *more]
        return [str(argument) for argument in command]

    def __call__(self, out: str, *more: object) -> Path:
        """Run it in this process; returns its output folder."""
        assert main(self.arguments(out, *more)) == 0
        return self.folder / out


def make_bench(folder: Path, prior: Path, count: int = 5) -> Bench:
    write_denoiser(folder / "denoiser.safetensors")
    write_trunk(folder / "trunk.safetensors")
    return Bench(folder, write_pictures(folder / "pictures", count), prior)


def figures(out: Path) -> dict[tuple, dict[str, Any]]:
    """The lines of a benchmark by task, method and image, without what they cost."""
    return {key: {k: v for k, v in row.items() if k not in COSTS} for key, row in read_results(out).items()}


def assert_same_figures(found: Path, expected: Path, tolerance: float = 1e-4) -> None:
    """The same lines, floating-point values within ``tolerance`` of themselves or of 1."""
    found, expected = figures(found), figures(expected)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key].keys() == row.keys()
        for name, value in row.items():
            if isinstance(value, float):
                assert abs(found[key][name] - value) <= tolerance * max(1, abs(value)), (key, name)
            else:
                assert found[key][name] == value, (key, name)
