"""Training and distillation from end to end, on tiny networks and generated pictures."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import (
    STUDENT,
    TEACHER,
    assert_resumes,
    assert_same_states,
    figures,
    refused,
    state_of,
    steps_done,
    write,
)

from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import HeldOut, center_crops
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.training.distill import distill
from invsolve.training.teacher import train
from invsolve.training.trainee import rate_at
from invsolve.training.validation import validate

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teacher(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    return train(write(folder / "t.yaml", TEACHER, checkpoint_every=8), [str(pictures)], folder / "out", "cpu")


@pytest.fixture(scope="module")
def student(teacher, pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    return distill(write(folder / "d.yaml", STUDENT), teacher, [str(pictures)], folder / "out", "cpu")


def test_a_new_teacher_has_the_shortcuts_unless_told_otherwise(teacher, pictures, tmp_path):
    shape = {name: value for name, value in TEACHER["network"].items() if name != "auxt"}
    config = write(tmp_path / "t.yaml", TEACHER, network=shape, images=8)
    path = train(config, [str(pictures)], tmp_path / "out", "cpu")
    assert load_denoiser(path)[1]["network"]["auxt"] is True
    assert load_denoiser(teacher)[1]["network"]["auxt"] is False


def test_the_teacher_learns(teacher, pictures):
    """The loss falls, and the held-out pictures are denoised better than by the untrained network, ``c_skip u``."""
    losses = figures(teacher.parent, "loss")
    assert np.mean(losses[-2:]) < np.mean(losses[:2]) - 0.4
    validation = figures(teacher.parent, "validation")[-1]
    held_out = HeldOut(center_crops(load_pictures(Source(pictures))[-2:], 16, torch.device("cpu")))
    untrained = validate(Denoiser(UNet(UNetConfig(**TEACHER["network"]))), held_out)
    for name in ("psnr_0.5", "psnr_1", "psnr_2"):
        assert validation[name] > untrained[name] + 1.5, name


def test_the_exported_teacher_says_what_it_is(teacher):
    assert sorted(p.name for p in teacher.parent.iterdir()) == [
        "denoiser-ema0.05.safetensors",
        "denoiser-ema0.1.safetensors",
        "metrics.jsonl",
        "samples",
        "state.pt",
        *(["tensorboard"] if find_spec("tensorboard") else []),
    ]
    _, header, spectrum = load_denoiser(teacher)
    record = header["record"]
    assert header["kind"] == "denoiser"
    assert (record["license"], record["data"], record["images_seen"]) == ("CC0", "generated", 1024)
    assert record["recipe"]["network"].items() >= TEACHER["network"].items()
    assert (spectrum > 0).all()
    assert record["validation"] == figures(teacher.parent, "validation")[-1]  # of the average that is exported


def test_the_distilled_prior_samples(student, teacher):
    prior = load_prior(student)
    assert prior.evaluations == 1
    assert torch.equal(prior.spectrum, load_prior(teacher).spectrum)
    u = torch.randn(2, 3, 13, 18, generator=torch.Generator().manual_seed(0))
    first, second = (prior.sample(u, 0.5, NoiseStreams(seed, range(2))) for seed in (0, 1))
    assert first.shape == u.shape
    assert first.isfinite().all()
    assert (first - second).abs().max() > 1e-3  # samples, not one answer
    _, header, _ = load_denoiser(student)
    assert header["kind"] == "generative denoiser"
    assert header["record"]["teacher"] == load_denoiser(teacher)[1]["record"]


def test_the_distillation_starts_from_the_teacher(teacher, pictures, tmp_path):
    """While only the fake denoiser learns, the generator is the teacher's denoiser of the over-noised image."""
    config = write(tmp_path / "d.yaml", STUDENT, images=16, fake_first=2)
    path = distill(config, teacher, [str(pictures)], tmp_path / "out", "cpu")
    state = state_of(tmp_path / "out")
    assert [state[name]["steps"] for name in ("generator", "fake", "discriminator")] == [0, 2, 0]
    generator, denoiser = load_prior(path).denoiser, load_denoiser(teacher)[0]
    u = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert (generator(u, 0.7, u, 0.5) - denoiser(u, 0.7)).abs().max() < 2e-3  # both in half precision


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_training_resumes_to_the_same_weights(pictures, tmp_path, dropout):
    network = {**TEACHER["network"], "dropout": dropout}
    assert_resumes(
        lambda config, out: train(config, [str(pictures)], out, "cpu"), tmp_path, TEACHER, 4, images=80, network=network
    )


def test_a_distillation_resumes_to_the_same_weights(teacher, pictures, tmp_path):
    assert_resumes(
        lambda config, out: distill(config, teacher, [str(pictures)], out, "cpu"), tmp_path, STUDENT, 6, images=96
    )


def test_a_training_out_of_time_pauses_after_a_step(pictures, tmp_path, capsys):
    config = write(tmp_path / "t.yaml", TEACHER, images=24)
    train(config, [str(pictures)], tmp_path / "whole", "cpu")
    for step in (1, 2, 3):
        train(config, [str(pictures)], tmp_path / "parts", "cpu", max_minutes=0)
        assert f"time limit reached after step {step} of 3; the same command goes on" in capsys.readouterr().out
        assert steps_done(tmp_path / "parts") == step
    assert_same_states(tmp_path / "whole" / "state.pt", tmp_path / "parts" / "state.pt", steps=3)


def test_a_finished_training_is_left_alone(teacher, pictures):
    before = contents(teacher.parent)
    assert train(teacher.parent.parent / "t.yaml", [str(pictures)], teacher.parent, "cpu") == teacher
    assert contents(teacher.parent) == before


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_the_learning_rate():
    rates = [rate_at(step, 0.5, warmup=10, decay_after=100) for step in (1, 10, 100, 400)]
    assert rates == pytest.approx([0.05, 0.5, 0.5, 0.25])
    assert rate_at(1, 0.5, warmup=0, decay_after=100) == 0.5


def test_the_state_of_another_training_is_refused(teacher, pictures, tmp_path):
    out = tmp_path / "out"
    train(write(tmp_path / "t.yaml", TEACHER, images=8), [str(pictures)], out, "cpu")
    other = {"widths": [8, 8], "blocks": [1, 1]}
    config = write(tmp_path / "o.yaml", TEACHER, network=other)
    refused("state.pt does not go on with this training", train, config, [str(pictures)], out, "cpu")
    config = write(tmp_path / "d.yaml", STUDENT)
    refused("state.pt does not go on with this training", distill, config, teacher, [str(pictures)], out, "cpu")
    state = out / "state.pt"
    for content in (b"", state.read_bytes()[:1000], b"text"):
        state.write_bytes(content)
        refused("state.pt does not go on", train, tmp_path / "t.yaml", [str(pictures)], out, "cpu")
