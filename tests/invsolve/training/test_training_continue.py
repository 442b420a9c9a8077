"""A distillation that goes on with an earlier one's generator, and both ways of conditioning it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from training_cases import STUDENT, TEACHER, assert_resumes, refused, state_of, write

from invsolve.cli import main
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.training.distill import distill
from invsolve.training.teacher import train

pytestmark = pytest.mark.usefixtures("one_thread")


def two_normals() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).unbind()


def undistilled(teacher, u: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The teacher's denoised image of the over-noised ``u`` at noise level 0.5."""
    return load_denoiser(teacher)[0](u + (1.414**2 - 1) ** 0.5 * 0.5 * z, 1.414 * 0.5)


def test_it_starts_from_that_generator_and_from_the_teacher(generator, teacher, pictures, tmp_path):
    """While only the fake denoiser learns, the generator stays the given one; the fake denoiser is the teacher's."""
    config = write(tmp_path / "d.yaml", STUDENT, images=8, fake_first=1, warmup=1000)
    path = distill(config, teacher, [str(pictures)], tmp_path / "out", "cpu", generator=generator)
    (u, z), state = two_normals(), state_of(tmp_path / "out")
    given, found = load_prior(generator)(u, 0.5, z), load_prior(path)(u, 0.5, z)
    assert (found - given).abs().max() < 2e-3  # half precision
    assert (found - undistilled(teacher, u, z)).abs().max() > 0.02
    start = load_denoiser(teacher, train=True)[0].network.state_dict()
    fake, moved = state["fake"]["network"]["conv_out.weight"], state["generator"]["network"]["conv_out.weight"]
    assert (fake - start["conv_out.weight"]).abs().max() < 5e-3
    assert (moved - start["conv_out.weight"]).abs().max() > 2e-2
    record = load_denoiser(path)[1]["record"]
    assert record["continues"] == load_denoiser(generator)[1]["record"]


def test_it_moves_the_generator_and_resumes(generator, teacher, pictures, tmp_path):
    def run(config, out):
        return distill(config, teacher, [str(pictures)], out, "cpu", generator=generator)

    assert_resumes(run, tmp_path, STUDENT, 4, images=64, fake_first=2)
    (u, z), path = two_normals(), tmp_path / "whole" / "generator-ema0.1.safetensors"
    assert (load_prior(path)(u, 0.5, z) - load_prior(generator)(u, 0.5, z)).abs().max() > 1e-3


def test_the_command_takes_a_generator_and_a_cache_folder(generator, teacher, pictures, tmp_path, capsys):
    config = write(tmp_path / "d.yaml", STUDENT, images=8, fake_first=1, memory_gb=0)
    command = ["distill", config, "--teacher", teacher, "--data", pictures, "--out", tmp_path / "out"]
    command += ["--device", "cpu", "--generator", generator, "--cache", tmp_path / "cache"]
    assert main([str(word) for word in command]) == 0
    written = tmp_path / "out" / "generator-ema0.1.safetensors"
    assert f"wrote {written}" in capsys.readouterr().out
    assert "continues" in load_denoiser(written)[1]["record"]
    assert sum(file.stat().st_size for file in (tmp_path / "cache").glob("*.u8")) == 12 * 3 * 24 * 20
    assert not (tmp_path / "out" / "cache").exists()


def test_a_generator_of_another_kind_is_refused(generator, teacher, pictures, tmp_path):
    for start, changes, message in [
        (teacher, {}, "conditioning is none but must be inputs"),
        (tmp_path / "gone", {}, "no prior named"),
        (generator, {"conditioning": "encoder"}, "conditioning is inputs but must be encoder"),
        (generator, {"gamma": 0.5}, "gamma is 0.414 but must be 0.5"),
    ]:
        config, out = write(tmp_path / "d.yaml", STUDENT, **changes), tmp_path / "out"
        refused(message, distill, config, teacher, [str(pictures)], out, "cpu", float("inf"), start)
    assert not (tmp_path / "out").exists()


def test_the_published_conditioning_starts_from_the_teacher_and_resumes(teacher, pictures, tmp_path):
    def run(config, out):
        return distill(config, teacher, [str(pictures)], out, "cpu")

    path = run(write(tmp_path / "f.yaml", STUDENT, images=8, conditioning="encoder", fake_first=1), tmp_path / "first")
    assert load_denoiser(path)[0].network.config.conditioning == "encoder"
    u, z = two_normals()
    assert (load_prior(path)(u, 0.5, z) - undistilled(teacher, u, z)).abs().max() < 2e-3

    assert_resumes(run, tmp_path, STUDENT, 7, images=96, conditioning="encoder")
    moved = load_prior(tmp_path / "whole" / "generator-ema0.1.safetensors")(u, 0.5, z)
    assert (moved - undistilled(teacher, u, z)).abs().max() > 1e-3


def test_a_teacher_goes_on_with_the_weights_of_another(teacher, pictures, tmp_path, capsys):
    """With a new optimiser; its file says what it came from. Weights of another network are refused."""
    config = write(tmp_path / "t.yaml", TEACHER, images=8, warmup=1000)
    command = ["train", config, "--denoiser", teacher, "--data", pictures, "--out", tmp_path / "out", "--device", "cpu"]
    assert main([str(word) for word in command]) == 0
    written = tmp_path / "out" / "denoiser-ema0.05.safetensors"
    assert f"wrote {written}" in capsys.readouterr().out
    (found, header, _), given = load_denoiser(written), load_denoiser(teacher)
    assert header["record"]["continues"] == given[1]["record"]
    u, _ = two_normals()
    assert (found(u, 0.5) - given[0](u, 0.5)).abs().max() < 2e-3  # half precision, and one step of a tiny rate
    other = write(tmp_path / "o.yaml", TEACHER, network={**TEACHER["network"], "widths": [8, 8]})
    wrong = partial(train, other, [str(pictures)], tmp_path / "other", "cpu", denoiser=teacher)
    refused("widths is (8, 16) but must be (8, 8), as of the teacher or configuration", wrong)
    state = partial(train, config, [str(pictures)], tmp_path / "out", "cpu")
    refused("denoiser is none but was", state)
