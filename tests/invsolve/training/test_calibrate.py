"""Calibration of a generator: what its loss is, what it changes and keeps, and that it runs and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_cases import (
    SHORT,
    STUDENT,
    assert_continues,
    assert_resumes,
    assert_same_states,
    figures,
    refused,
    state_of,
    with_image_size,
    write,
)

from invsolve.cli import main
from invsolve.data.training_set import HeldOut
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.specs.recipe import CalibrateConfig
from invsolve.training.calibrate import CalibrateStep, calibrate
from invsolve.training.distill import distill
from invsolve.training.energy import energy_score, log_spread
from invsolve.training.samples import SampleNoise, Samples
from invsolve.training.trainee import Trainee
from invsolve.training.validation import spread_and_error

pytestmark = pytest.mark.usefixtures("one_thread")

SCALES = (1, 2)
SMALL = {"patches": [1, 4], "scales": list(SCALES)}
CALIBRATION = {**SHORT, **SMALL, "images": 80}


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def samples(count: int = 6) -> Samples:
    x = 0.3 * normals(count, 3, 16, 16, seed=5)
    return Samples(x, normals(count, 4, seed=7), SampleNoise(0, range(count), torch.device("cpu")))


def make_step(generator: Path, **changes: object) -> CalibrateStep:
    config = CalibrateConfig(precision="fp32", warmup=0, crop=16, patches=(1, 4), scales=SCALES, **changes)
    student, original = load_denoiser(generator, train=True)[0], load_denoiser(generator)[0]
    trainee = Trainee(student.network, config.learning_rate, config.betas, (0.1,))
    return CalibrateStep(student, original, 0.414, trainee, config)


def test_the_loss_of_a_step_is_the_written_out_one(generator):
    """Of pairs of the same u with noise of their own; of those that are held, by the second normal, nothing yet."""
    step, given = make_step(generator, keep=0.5, sigma_min=0.1, sigma_max=3.0, exchange_weight=0.2), samples()
    found = step.learn(given, 1)
    noise, prior = SampleNoise(0, range(6), torch.device("cpu")), load_prior(generator)
    n, first_z, second_z = (noise((3, 16, 16)) for _ in range(3))
    scores = torch.zeros(6)
    for i in range(6):
        uniform = [0.5 * (1 + torch.erf(v / 2**0.5)).item() for v in given.normals[i, :2]]
        s, x = 0.1 * 30 ** uniform[0], given.x[i : i + 1]
        pair = [prior(x + s * n[i : i + 1], s, z[i : i + 1]) for z in (first_z, second_z)]
        if uniform[1] >= 0.5:
            score = (s**2 + 0.25) ** 0.5 / (0.5 * s) * energy_score(x, *pair, (1, 4), SCALES)
            scores[i] = score + 0.2 * log_spread(x, *pair, SCALES).square().sum()
    assert 0 < (scores != 0).sum() < 6
    assert found["score"] == pytest.approx(scores.mean().item(), rel=1e-3)
    assert found["kept"] == pytest.approx(0, abs=1e-6)


def test_samples_that_are_held_alone_move_nothing(generator):
    """Not at the start; and away from it they go back, in their output without over-noising."""
    largest = {}
    for keep in (1.0, 0.0):
        step = make_step(generator, keep=keep)
        step.learn(samples(), 1)
        largest[keep] = max(p.grad.abs().max() for p in step.trainee.network.parameters() if p.grad is not None)
    assert largest[1.0] < 1e-3
    assert largest[0.0] > 1e-2
    step = make_step(generator, keep=1.0, learning_rate=0.01)
    with torch.no_grad():
        step.trainee.network.gain_out.add_(0.1)
    u, s = samples().x + 0.5 * normals(6, 3, 16, 16), 0.5

    def drift() -> float:
        outputs = [denoiser(u, s, u, s) for denoiser in (step.denoiser, step.original)]
        return (outputs[0] - outputs[1]).square().mean().item()

    before = drift()
    for number in range(1, 13):
        step(samples(), number)
    assert drift() < 0.5 * before


@pytest.mark.slow
def test_the_spread_grows_and_the_output_without_over_noising_stays(generator, pictures, tmp_path):
    """On held-out pictures, where the distilled start spreads too little; less is kept where nothing holds it."""
    paths = {}
    for name, changes in {
        "start": {"images": 8, "learning_rate": 1e-9},
        "held": {"keep": 0.5},
        "free": {"keep": 0.0},
    }.items():
        values = {**CALIBRATION, "images": 8 * 60, "learning_rate": 0.02, **changes}
        paths[name] = calibrate(write(tmp_path / "c.yaml", values), generator, [str(pictures)], tmp_path / name, "cpu")
    first, last = (figures(tmp_path / name, "validation")[-1] for name in ("start", "held"))
    for level in ("0.3", "1"):
        assert abs(last[f"spread_{level}"] - 1) < abs(first[f"spread_{level}"] - 1), (first, last)
    u, start = 0.5 * normals(4, 3, 16, 16), load_prior(paths["start"])
    moved = {
        name: (load_prior(path)(u, 0.5, u, gamma=0.0) - start(u, 0.5, u, gamma=0.0)).square().mean()
        for name, path in paths.items()
    }
    assert 0 < moved["held"] < 0.5 * moved["free"], moved


def test_exact_samples_have_spread_one():
    """White images of standard deviation 1/2, for which the posterior is known; and half of that spread is seen."""
    x = 0.5 * normals(8, 3, 32, 32, seed=3)

    def sampler(factor: float):
        def sample(u, sigma, z, labels=None):
            gain = 0.25 / (0.25 + sigma**2)
            return gain * u + factor * sigma * gain**0.5 * z

        return sample

    count = x.numel()
    exact, narrow = (spread_and_error(sampler(factor), HeldOut(x), (0.3, 1.0)) for factor in (1.0, 0.5))
    for sigma in ("0.3", "1"):
        assert exact[f"spread_{sigma}"] == pytest.approx(1, abs=5 / count**0.5)
        assert exact[f"outside_{sigma}"] == pytest.approx(2 / 9, abs=5 * (2 / 9 * 7 / 9 / count) ** 0.5)
        gain = 0.25 / (0.25 + float(sigma) ** 2)
        assert exact[f"error_{sigma}"] == pytest.approx((9 / 8 * gain) ** 0.5 * float(sigma), rel=5 / count**0.5)
        assert narrow[f"spread_{sigma}"] < 0.6
        assert narrow[f"outside_{sigma}"] > 0.4


def test_it_resumes_to_the_same_weights(generator, pictures, tmp_path):
    def run(config, out):
        return calibrate(config, generator, [str(pictures)], out, "cpu")

    assert_resumes(run, tmp_path, CALIBRATION, 2, images=32, exchange_steps=4)


def test_micro_batches_calibrate_the_same_prior(generator, pictures, tmp_path):
    for count in (1, 4):
        config = write(tmp_path / "c.yaml", CALIBRATION, images=16, accumulate=count, checkpoint_every=1)
        calibrate(config, generator, [str(pictures)], tmp_path / str(count), "cpu")
    for name in ("score", "kept"):
        assert figures(tmp_path / "1", name) == pytest.approx(figures(tmp_path / "4", name), rel=1e-4, abs=1e-7), name
    assert_same_states(tmp_path / "1" / "state.pt", tmp_path / "4" / "state.pt", 2, tolerance=1e-3)


def test_the_command_writes_a_prior_that_says_what_it_came_from(generator, pictures, tmp_path, capsys):
    config = write(tmp_path / "c.yaml", CALIBRATION, images=16)
    command = ["calibrate", config, "--generator", generator, "--data", pictures, f"{pictures}/", "--out"]
    assert main([str(word) for word in [*command, tmp_path / "out", "--device", "cpu"]]) == 0
    written = tmp_path / "out" / "generator-ema0.1.safetensors"
    assert f"wrote {written}" in capsys.readouterr().out
    assert_continues(written, generator, images=16)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    validation = lines[-1]["validation"]
    other = f"{pictures.name}-2"  # the same pictures
    for name in ("spread_0.3", "error_1", "outside_3", "psnr_0.5"):
        assert validation[name] == validation[f"{other}/{name}"]


def test_what_cannot_be_calibrated_is_refused(generator, teacher, pictures, tmp_path):
    config, rest = write(tmp_path / "c.yaml", CALIBRATION), ([str(pictures)], tmp_path / "out", "cpu")
    refused("only a generative denoiser is fine-tuned or calibrated", calibrate, config, teacher, *rest)
    crop = write(tmp_path / "s.yaml", CALIBRATION, crop=18)
    refused("crop 18 is no multiple", calibrate, crop, generator, *rest)
    scales = write(tmp_path / "l.yaml", CALIBRATION, scales=[1, 8])
    refused("crop is 16 but the largest patch at the coarsest scale has 32 pixels", calibrate, scales, generator, *rest)
    fixed = tmp_path / "fixed.safetensors"
    with_image_size(generator, fixed, 24)
    refused("knows images of 24 pixels only", calibrate, config, fixed, *rest)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_distillation_takes_the_energy_score_as_well(generator, teacher, pictures, tmp_path):
    """In micro-batches, too; its figure is in the log, and the generator ends elsewhere than without."""
    runs = {"without": {}, "with": {"energy_weight": 1.0}, "micro-batches": {"energy_weight": 1.0, "accumulate": 2}}
    for name, changes in runs.items():
        config = write(tmp_path / "d.yaml", {**STUDENT, **SMALL, "images": 40, "adversarial_weight": 0, **changes})
        distill(config, teacher, [str(pictures)], tmp_path / name, "cpu", generator=generator)
    energies = [figures(tmp_path / name, "energy") for name in runs]
    assert (len(energies[0]), len(energies[1])) == (0, 1)
    assert energies[1] == pytest.approx(energies[2], rel=1e-4)
    assert_same_states(tmp_path / "with" / "state.pt", tmp_path / "micro-batches" / "state.pt", 5, tolerance=1e-3)
    ends = [state_of(tmp_path / name)["generator"]["network"]["conv_out.weight"] for name in ("without", "with")]
    assert (ends[0] - ends[1]).abs().max() > 1e-4
