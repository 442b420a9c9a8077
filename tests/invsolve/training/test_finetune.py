"""Fine-tuning: what its loss is, what it changes and keeps, and that it runs and resumes like a training."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from training_cases import (
    STUDENT,
    TUNING,
    assert_continues,
    assert_resumes,
    figures,
    refused,
    with_image_size,
    write,
)

from invsolve.cli import main
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.specs.recipe import FinetuneConfig
from invsolve.training.distill import distill
from invsolve.training.finetune import FinetuneStep, finetune
from invsolve.training.perceptual import perceptual_distance
from invsolve.training.samples import SampleNoise, Samples
from invsolve.training.trainee import Trainee

pytestmark = pytest.mark.usefixtures("one_thread")


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def samples(count: int = 6) -> Samples:
    x = 0.3 * normals(count, 3, 16, 16, seed=5)
    return Samples(x, normals(count, 4, seed=7), SampleNoise(0, range(count), torch.device("cpu")))


def make_step(generator: Path, teacher: Path, **changes: object) -> FinetuneStep:
    config = FinetuneConfig(precision="fp32", warmup=0, **changes)
    student = load_denoiser(generator, train=True)[0]
    original, source = load_denoiser(generator)[0], load_denoiser(teacher)[0]
    trainee = Trainee(student.network, config.learning_rate, config.betas, (0.1,))
    return FinetuneStep(student, original, source, 0.414, trainee, config)


def test_the_loss_of_a_step_is_the_written_out_one(generator, teacher):
    """Samples that are held to what they were, by the second normal, and the others, each by its own formula."""
    step, given = make_step(generator, teacher, keep=0.5, sigma_min=0.1, sigma_max=3.0), samples()
    found = step.learn(given)
    noise, prior = SampleNoise(0, range(6), torch.device("cpu")), load_prior(generator)
    source = load_denoiser(teacher)[0]
    n, z = noise((3, 16, 16)), noise((3, 16, 16))
    distances, errors = torch.zeros(6), torch.zeros(6)
    for i in range(6):
        uniform = [0.5 * (1 + torch.erf(v / 2**0.5)).item() for v in given.normals[i, :2]]
        s = 0.1 * 30 ** uniform[0]
        x = given.x[i : i + 1]
        output = prior(x + s * n[i : i + 1], s, z[i : i + 1], gamma=0.0)
        if uniform[1] >= 0.5:
            distances[i] = perceptual_distance(source, output, x, 0.02, z[i : i + 1]).log()
            errors[i] = (output - x).square().mean().log()
    assert 0 < (distances != 0).sum() < 6
    assert found["distance"] == pytest.approx(distances.mean().item(), rel=1e-3)
    assert found["error"] == pytest.approx(errors.mean().item(), rel=1e-3)
    assert found["kept"] == pytest.approx(0, abs=1e-6)  # nothing has moved yet


def test_samples_that_are_kept_alone_move_nothing(generator, teacher):
    step = make_step(generator, teacher, keep=1.0, error_weight=0.0)
    before = {name: value.clone() for name, value in step.trainee.network.state_dict().items()}
    step.learn(samples())
    gradients = [p.grad.abs().max() for p in step.trainee.network.parameters() if p.grad is not None]
    assert max(gradients) < 1e-3
    other = make_step(generator, teacher, keep=0.0)
    other.learn(samples())
    assert max(p.grad.abs().max() for p in other.trainee.network.parameters() if p.grad is not None) > 1e-2
    assert all((value == before[name]).all() for name, value in step.trainee.network.state_dict().items())


@pytest.mark.slow
def test_estimates_improve_and_samples_stay(generator, teacher, pictures, tmp_path):
    """On held-out pictures the distance falls; samples with over-noising move less than where nothing keeps them."""
    priors, data = {}, [str(pictures)]
    for name, changes in {
        "start": {"images": 8, "learning_rate": 1e-9},
        "kept": {"keep": 0.5},
        "free": {"keep": 0},
    }.items():
        config = write(tmp_path / "f.yaml", {**TUNING, "images": 8 * 80, "learning_rate": 0.02, **changes})
        priors[name] = load_prior(finetune(config, generator, teacher, data, tmp_path / name, "cpu"))
    first, last = (figures(tmp_path / name, "validation")[-1] for name in ("start", "kept"))
    for level in ("0.1", "0.5"):
        assert last[f"distance_{level}"] < first[f"distance_{level}"] - 0.03, (first, last)
    u, z = 0.5 * normals(4, 3, 16, 16), normals(4, 3, 16, 16, seed=1)
    moved = {name: (prior(u, 0.5, z) - priors["start"](u, 0.5, z)).square().mean() for name, prior in priors.items()}
    assert 0 < moved["kept"] < 0.3 * moved["free"], moved


def test_it_resumes_to_the_same_weights(generator, teacher, pictures, tmp_path):
    def run(config, out):
        return finetune(config, generator, teacher, [str(pictures)], out, "cpu")

    assert_resumes(run, tmp_path, TUNING, 6, accumulate=2)


def test_the_command_writes_a_prior_that_says_what_it_came_from(generator, teacher, pictures, tmp_path, capsys):
    config = write(tmp_path / "f.yaml", TUNING, images=16)
    command = ["finetune", config, "--generator", generator, "--teacher", teacher, "--data", pictures]
    command += ["--out", tmp_path / "out", "--device", "cpu"]
    assert main([str(word) for word in command]) == 0
    written = tmp_path / "out" / "generator-ema0.1.safetensors"
    assert f"wrote {written}" in capsys.readouterr().out
    assert_continues(written, generator, images=16)
    assert json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])["step"] == 2


def test_what_cannot_be_tuned_is_refused(generator, teacher, pictures, tmp_path):
    config, rest = write(tmp_path / "f.yaml", TUNING), ([str(pictures)], tmp_path / "out", "cpu")
    refused("only a generative denoiser is fine-tuned", finetune, config, teacher, teacher, *rest)
    refused("is no plain denoiser", finetune, config, generator, generator, *rest)
    crop = write(tmp_path / "c.yaml", TUNING, crop=18)
    refused("crop 18 is no multiple", finetune, crop, generator, teacher, *rest)
    levels = write(tmp_path / "l.yaml", TUNING, sigma_min=9.0)
    refused("sigma_min is 9.0 but must not exceed sigma_max", finetune, levels, generator, teacher, *rest)
    unknown = write(tmp_path / "u.yaml", TUNING, keeps=0.1)
    refused("unknown key 'keeps'; did you mean 'keep'?", finetune, unknown, generator, teacher, *rest)
    assert not (tmp_path / "out").exists()


def test_a_prior_of_one_size_stays_one(generator, teacher, pictures, tmp_path):
    """Its file goes on saying so, and crops of another size are refused."""
    fixed = tmp_path / "fixed.safetensors"
    with_image_size(generator, fixed, 16)
    given = (fixed, teacher, [str(pictures)], tmp_path / "out", "cpu")
    refused("knows images of 16 pixels only", finetune, write(tmp_path / "24.yaml", TUNING, crop=24), *given)
    tuned = finetune(write(tmp_path / "16.yaml", TUNING, images=8), *given)
    assert load_denoiser(tuned)[1]["image_size"] == 16


def test_so_does_a_prior_distilled_of_a_teacher_of_one_size(teacher, generator, pictures, tmp_path):
    fixed = tmp_path / "fixed.safetensors"
    with_image_size(teacher, fixed, 16)
    config, given = write(tmp_path / "d.yaml", STUDENT, images=8), ([str(pictures)], tmp_path / "out", "cpu")
    going_on = partial(distill, config, fixed, *given, generator=generator)
    refused("image_size is None but must be 16", going_on)
    assert load_denoiser(distill(config, fixed, *given))[1]["image_size"] == 16
