"""Unconditional samples: their law where it is known, their files, and their independence of batches."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from bench_cases import write_pictures, write_trunk

from invsolve.apps.generate import ancestral, class_number, generate, noise_levels, reverse_diffusion, tile
from invsolve.cli import main
from invsolve.images.files import read_image, write_image
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser, save_denoiser, write_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.options import GenerateOptions


class ExactDenoiser:
    """``D_cond(u', s'; u, s)`` of a generative denoiser that samples exactly from a Gaussian's posterior.

    As a function of the over-noised ``u' = u + sqrt(s'^2 - s^2) z`` the sample must be ``mean + deviation z``.
    """

    def __init__(self, mean: float, std: float):
        self.mean, self.std = mean, std

    def __call__(self, u_over, sigma_over, u, sigma):
        s, over = (level.reshape(-1, 1, 1, 1) for level in (sigma, sigma_over))
        z = (u_over - u) / (over**2 - s**2).sqrt()
        precision = 1 / self.std**2 + 1 / s**2
        return (self.mean / self.std**2 + u / s**2) / precision + z / precision.sqrt()


def moments(x: torch.Tensor) -> tuple[float, float]:
    return x.mean().item(), x.std().item()


@pytest.mark.parametrize("levels", [[80.0], [80.0, 8.0], noise_levels(4, 80.0)], ids=len)
def test_exact_samples_at_any_number_of_levels_follow_the_prior(levels):
    n, noise = 40_000, NoiseStreams(0, range(4), dtype=torch.float64)
    u = levels[0] * noise((1, 100, 100))
    mean, std = moments(ancestral(ExactDenoiser(0.3, 0.5), 0.414, levels, u, noise, None))
    # The first sample takes u for x + 80 n, though it is 80 n: an error of the order of 1/80².
    assert abs(mean - 0.3) < 5 * 0.5 / math.sqrt(n) + 1e-4
    assert abs(std - 0.5) < 5 * 0.5 / math.sqrt(2 * n) + 1e-4


def test_reverse_diffusion_follows_the_prior():
    """For normal pixels of variance v it scales by v / (v + s²) + t s / (v + s²) from level s to t."""
    noise, levels = NoiseStreams(0, range(4)), noise_levels(64, 80.0)
    x = reverse_diffusion(lambda u, s: 0.25 / (0.25 + s**2) * u, levels, levels[0] * noise((1, 100, 100)), noise, None)
    factor = 80.0
    for s, t in zip(levels, [*levels[1:], 0.0], strict=True):
        factor *= (0.25 + t * s) / (0.25 + s**2)
    assert abs(factor - 0.5) < 0.03
    assert abs(x.std().item() - factor) < 5 * factor / math.sqrt(80_000)


def test_the_levels_of_four_steps_are_the_published_ones():
    grid = [(80 ** (1 / 7) + i / 39 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(40)]
    step = 1 / 39 * (80 ** (1 / 7) - 0.002 ** (1 / 7))
    for level, index in zip(noise_levels(4, 80.0), (0, 10, 20, 30), strict=True):
        assert abs(level ** (1 / 7) - grid[index] ** (1 / 7)) <= step
    assert noise_levels(1, 20.0) == [20.0]


def read(folder: Path, count: int) -> torch.Tensor:
    return torch.stack([read_image(folder / f"{i}.png", 3) for i in range(count)])


def test_the_command_writes_the_pictures_and_a_grid(tiny_prior, tmp_path, capsys):
    arguments = ["generate", "--prior", str(tiny_prior), "--count", "5", "--size", "20", "--steps", "3"]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--batch", "2"]) == 0
    wanted = f"wrote 5 pictures and grid.png into {tmp_path / 'a'}: 3 network evaluations each\n"
    assert capsys.readouterr().out == wanted
    pictures = read(tmp_path / "a", 5)
    grid = read_image(tmp_path / "a" / "grid.png", 3)
    assert grid.shape == (3, 42, 64)
    assert torch.equal(grid[:, :20, 22:42], pictures[1])
    assert torch.equal(grid[:, 22:, 22:42], pictures[4])
    assert (grid[:, 22:, 42:] == 1).all()
    assert (pictures[0] - pictures[1]).abs().max() > 0.1
    assert main([*arguments, "--out", str(tmp_path / "b"), "--batch", "5"]) == 0
    assert (read(tmp_path / "b", 5) - pictures).abs().max() <= 2.1 / 255  # rounding at most
    assert main([*arguments, "--out", str(tmp_path / "c"), "--seed", "1"]) == 0
    assert (read(tmp_path / "c", 5) - pictures).abs().max() > 0.1


@pytest.fixture(scope="module")
def prior_of_classes(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(8, 16), blocks=(1, 1), conditioning="inputs", labels=3))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain") or name.endswith("gain_out"):
                parameter.fill_(0.5)
    path = tmp_path_factory.mktemp("prior") / "classes.safetensors"
    save_denoiser(path, Denoiser(network), {"license": "none", "data": "none", "classes": ["cat", "cow", "dog"]})
    return path


def test_classes_are_given_by_number_or_name(prior_of_classes, tmp_path):
    pictures = {}
    for label in (None, "0", "2", "dog"):
        options = GenerateOptions(str(prior_of_classes), 2, 16, 2, label=label, out=tmp_path / str(label))
        generate(options, lambda _: None)
        pictures[label] = read(tmp_path / str(label), 2)
    assert torch.equal(pictures["2"], pictures["dog"])
    for label in (None, "0"):
        assert (pictures[label] - pictures["2"]).abs().max() > 0.02, label


def test_a_class_that_is_not_there_is_refused(prior_of_classes, tiny_prior, tmp_path, capsys):
    assert class_number("1", 3, []) == 1
    for prior, label, message in [
        (prior_of_classes, "3", "no such class; expected 0 to 2 or one of cat, cow, dog"),
        (prior_of_classes, "horse", "no such class"),
        (prior_of_classes, "-1", "no such class"),
        (tiny_prior, "0", "the prior has no classes"),
    ]:
        assert main(["generate", "--prior", str(prior), f"--label={label}", "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("levels", ["1 2", "1 1", "1 0", "nan", "inf 1"])
def test_levels_must_fall_and_be_above_0(tiny_prior, tmp_path, capsys, levels):
    command = ["generate", "--prior", str(tiny_prior), "--out", str(tmp_path / "out"), "--levels", *levels.split()]
    try:
        code = main(command)
    except SystemExit as exit_:  # argparse's way
        code = exit_.code
    assert code == 2
    assert re.search("must fall|must be finite and above 0", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_the_first_level_is_the_largest_that_the_prior_was_trained_for(tmp_path):
    """Of a plain denoiser, too, which takes no levels."""
    generative, plain = (UNet(UNetConfig(widths=(8,), blocks=(1,), conditioning=kind)) for kind in ("inputs", "none"))
    ours, teacher = {"recipe": {"sigma_max": 5.0}}, {"recipe": {"sigma_mean": -1.0, "sigma_std": 1.6}}
    for name, network, record, level in [
        ("ours", generative, ours, 5.0),
        ("other", generative, {"recipe": {}}, 80.0),
        ("fine-tuned", generative, {"recipe": {"sigma_max": 2.0}, "continues": ours}, 5.0),
        ("teacher", plain, teacher, math.exp(3)),
    ]:
        path, u = tmp_path / f"{name}.safetensors", NoiseStreams(0, [0])((3, 16, 16))
        save_denoiser(path, Denoiser(network), {"license": "none", "data": "none", **record})
        generate(GenerateOptions(str(path), 1, 16, 1, out=tmp_path / name, device="cpu"), lambda _: None)
        if network is generative:
            given = GenerateOptions(str(path), 1, 16, levels=(level,), out=tmp_path / "given", device="cpu")
            generate(given, lambda _: None)
            wanted = read(tmp_path / "given", 1)
        else:
            with torch.no_grad():
                wanted = load_denoiser(path)[0](level * u, torch.tensor(level)).clamp(-1, 1)
        assert (read(tmp_path / name, 1) - wanted).abs().max() <= 1.01 / 255, name
    with pytest.raises(ValueError, match="plain denoiser, whose levels follow from --steps"):
        generate(GenerateOptions(str(path), levels=(2.0,), out=tmp_path / "plain"))


def prior_file(path: Path, channels: int, image_size: int | None) -> Path:
    network = UNet(UNetConfig(widths=(8,), blocks=(1,), image_channels=channels))
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    write_prior(path, network.config, tensors, 0.5, 0.414, {"license": "none", "data": "none"}, image_size)
    return path


@pytest.mark.parametrize(
    ("image_size", "given", "side"), [(24, None, 24), (24, 24, 24), (None, 20, 20), (None, None, 256)]
)
def test_pictures_have_the_only_size_that_the_prior_knows(tmp_path, image_size, given, side):
    prior = prior_file(tmp_path / "prior.safetensors", 3, image_size)
    size = [] if given is None else ["--size", str(given)]
    command = ["generate", "--prior", str(prior), "--count", "1", "--steps", "1", "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu", *size]) == 0
    assert read(tmp_path / "out", 1).shape == (1, 3, side, side)


def test_gray_pictures_are_sampled_and_latents_and_other_sizes_refused(tmp_path, capsys):
    for channels, size, message in [
        (4, None, "4.safetensors is a prior of latents of 4 channels, no pictures"),
        (2, None, "2.safetensors is a prior of latents of 2 channels"),
        (3, "32", "--size 32: {} knows images of 16x16 pixels only"),
    ]:
        prior = prior_file(tmp_path / f"{channels}.safetensors", channels, 16)
        command = ["generate", "--prior", str(prior), "--out", str(tmp_path / "out")]
        assert main([*command, *(["--size", size] if size else [])]) == 2
        error = capsys.readouterr().err
        assert message.format(prior) in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "out").exists()
    gray = prior_file(tmp_path / "1.safetensors", 1, 16)
    generate(GenerateOptions(str(gray), 1, steps=1, out=tmp_path / "out", device="cpu"), lambda _: None)
    assert read_image(tmp_path / "out" / "0.png", 1).shape == (1, 16, 16)


def test_it_says_how_far_the_pictures_are_from_others(tiny_prior, tmp_path, capsys):
    """From themselves not at all: as 8-bit files they are a little off. Of other sizes the central squares count."""
    trunk = write_trunk(tmp_path / "trunk.safetensors")
    command = ["generate", "--prior", tiny_prior, "--count", 4, "--size", 32, "--steps", 1, "--lpips-trunk", trunk]

    def distance(*more: object) -> float:
        assert main([str(word) for word in [*command, "--out", tmp_path / "out", *more]]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"Frechet distance of AlexNet's features from the 4 pictures of {more[1]}: ")
        return float(last.rpartition(" ")[2])

    itself, wide = tmp_path / "itself", write_pictures(tmp_path / "wide", 4)
    assert main([str(word) for word in [*command, "--out", itself]]) == 0
    (itself / "grid.png").unlink()
    capsys.readouterr()
    near = distance("--compare", itself)
    far = distance("--compare", wide)
    assert near < 0.05 * far
    for path in wide.iterdir():  # bands at the sides, which the central square leaves out
        write_image(torch.nn.functional.pad(read_image(path), (8, 8), value=1.0), path)
    assert distance("--compare", wide) == far


def test_what_cannot_be_compared_with_is_refused(tiny_prior, tmp_path, capsys):
    trunk = write_trunk(tmp_path / "trunk.safetensors")
    one = write_pictures(tmp_path / "one", 1)
    for more, message in [
        (["--compare", tmp_path / "none"], f"no folder or zip file {tmp_path / 'none'}"),
        (["--compare", one], f"--compare {one}: needs 2 or more pictures, and it has 1"),
        (["--compare", one, "--size", 16], "needs pictures of 32 or more pixels a side, and these have 16"),
        (["--compare", one, "--count", 1], "--compare: needs 2 or more pictures, and --count is 1"),
        (["--compare", one, "--lpips-trunk", tmp_path / "no"], "no such file"),
    ]:
        command = ["generate", "--prior", tiny_prior, "--out", tmp_path / "out", "--lpips-trunk", trunk, *more]
        assert main([str(word) for word in command]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_grid_is_nearly_square():
    pictures = [torch.full((1, 2, 3), i / 10) for i in range(7)]
    grid = tile(pictures)
    assert grid.shape == (1, 3 * 4 - 2, 3 * 5 - 2)
    assert torch.equal(grid[:, 4:6, 10:13], pictures[5])
    assert torch.equal(grid[:, 8:10, 0:3], pictures[6])
    assert (grid[:, 2:4] == 1).all()
    assert tile(pictures[:1]).shape == (1, 2, 3)
