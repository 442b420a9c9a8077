"""A distillation that goes on with an earlier one's generator, and both ways of conditioning it."""

from __future__ import annotations

import pytest
import torch
from training_cases import STUDENT, assert_same_states, refused, write

from invsolve.cli import main
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.training import loop
from invsolve.training.teacher import distill

pytestmark = pytest.mark.usefixtures("one_thread")


def levels() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).unbind()


def test_it_starts_from_that_generator_and_from_the_teacher(generator, teacher, pictures, tmp_path):
    """While only the fake denoiser learns, the generator stays the given one; the fake denoiser is the teacher's."""
    config = write(tmp_path / "d.yaml", STUDENT, images=8, fake_first=1, warmup=1000)
    path = distill(config, teacher, [str(pictures)], tmp_path / "out", "cpu", generator=generator)
    (u, z), state = levels(), torch.load(tmp_path / "out" / "state.pt", weights_only=True)
    given, found = load_prior(generator)(u, 0.5, z), load_prior(path)(u, 0.5, z)
    undistilled = load_denoiser(teacher)[0](u + (1.414**2 - 1) ** 0.5 * 0.5 * z, 1.414 * 0.5)
    assert (found - given).abs().max() < 2e-3  # half precision
    assert (found - undistilled).abs().max() > 0.02
    start = load_denoiser(teacher, train=True)[0].network.state_dict()
    fake, moved = state["fake"]["network"]["conv_out.weight"], state["generator"]["network"]["conv_out.weight"]
    assert (fake - start["conv_out.weight"]).abs().max() < 5e-3
    assert (moved - start["conv_out.weight"]).abs().max() > 2e-2
    record = load_denoiser(path)[1]["record"]
    assert record["continues"] == load_denoiser(generator)[1]["record"]


def test_it_moves_the_generator_and_resumes(generator, teacher, pictures, tmp_path, monkeypatch):
    config, data = write(tmp_path / "d.yaml", STUDENT, images=64, fake_first=2), [str(pictures)]
    path = distill(config, teacher, data, tmp_path / "whole", "cpu", generator=generator)
    u, z = levels()
    assert (load_prior(path)(u, 0.5, z) - load_prior(generator)(u, 0.5, z)).abs().max() > 1e-3
    times = iter([0.0] * 4)
    with monkeypatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: next(times, 1e9))
        distill(config, teacher, data, tmp_path / "parts", "cpu", max_minutes=1, generator=generator)
    distill(config, teacher, data, tmp_path / "parts", "cpu", generator=generator)
    assert_same_states(tmp_path / "whole" / "state.pt", tmp_path / "parts" / "state.pt", steps=8)


def test_the_command_takes_a_generator_and_a_cache_folder(generator, teacher, pictures, tmp_path, capsys):
    config = write(tmp_path / "d.yaml", STUDENT, images=8, fake_first=1, memory_gb=0)
    command = [
        "distill",
        config,
        "--teacher",
        teacher,
        "--data",
        pictures,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    ]
    command += ["--generator", generator, "--cache", tmp_path / "cache"]
    assert main([str(word) for word in command]) == 0
    written = tmp_path / "out" / "generator-ema0.1.safetensors"
    assert f"wrote {written}" in capsys.readouterr().out
    assert "continues" in load_denoiser(written)[1]["record"]
    assert sum(file.stat().st_size for file in (tmp_path / "cache").glob("*.u8")) == 12 * 3 * 24 * 20
    assert not (tmp_path / "out" / "cache").exists()


def test_a_generator_of_another_kind_is_refused(generator, teacher, tiny_prior, pictures, tmp_path):
    config, rest = write(tmp_path / "d.yaml", STUDENT), ([str(pictures)], tmp_path / "out", "cpu")
    for path, message in [
        (teacher, "conditioning is none but must be inputs"),
        (tmp_path / "gone", "no prior named"),
    ]:
        refused(message, distill, config, teacher, *rest, float("inf"), path)
    encoder = write(tmp_path / "e.yaml", STUDENT, conditioning="encoder")
    refused("conditioning is inputs but must be encoder", distill, encoder, teacher, *rest, float("inf"), generator)
    gamma = write(tmp_path / "g.yaml", STUDENT, gamma=0.5)
    refused("gamma is 0.414 but must be 0.5", distill, gamma, teacher, *rest, float("inf"), generator)
    assert not (tmp_path / "out").exists()


def test_the_published_conditioning_starts_from_the_teacher_and_resumes(teacher, pictures, tmp_path, monkeypatch):
    config = write(tmp_path / "e.yaml", STUDENT, images=96, conditioning="encoder", precision="fp32")
    first = write(tmp_path / "f.yaml", STUDENT, images=8, conditioning="encoder", fake_first=1)
    data, (u, z) = [str(pictures)], levels()
    path = distill(first, teacher, data, tmp_path / "first", "cpu")
    prior = load_prior(path)
    assert load_denoiser(path)[0].network.config.conditioning == "encoder"
    undistilled = load_denoiser(teacher)[0](u + (1.414**2 - 1) ** 0.5 * 0.5 * z, 1.414 * 0.5)
    assert (prior(u, 0.5, z) - undistilled).abs().max() < 2e-3

    path = distill(config, teacher, data, tmp_path / "whole", "cpu")
    moved = load_prior(path)(u, 0.5, z)
    assert (moved - undistilled).abs().max() > 1e-3
    times = iter([0.0] * 7)
    with monkeypatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: next(times, 1e9))
        distill(config, teacher, data, tmp_path / "parts", "cpu", max_minutes=1)
    distill(config, teacher, data, tmp_path / "parts", "cpu")
    assert_same_states(tmp_path / "whole" / "state.pt", tmp_path / "parts" / "state.pt", steps=12)
