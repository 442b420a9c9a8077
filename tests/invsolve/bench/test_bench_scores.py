"""Figures of uncertainty against samples whose law is known; the baselines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bench_cases import figures, make_bench, photograph
from scipy.stats import rankdata

from invsolve.bench.baselines import make_baseline
from invsolve.bench.scores import score, score_samples, uncertainty
from invsolve.images.metrics import psnr, ssim
from invsolve.specs.task import load_task

SHAPE = (3, 64, 64)


def test_the_spread_of_honest_samples_predicts_the_error():
    """Truth and samples from one law, whose deviation differs from value to value: error = prediction in every bin."""
    torch.manual_seed(0)
    count = 64
    sigma = torch.logspace(-2, -0.5, math.prod(SHAPE)).reshape(SHAPE)
    mean, normals = torch.rand(SHAPE) - 0.5, torch.randn(count + 1, *SHAPE)
    x = mean + sigma * normals
    found = uncertainty(x[1:], x[0])
    predicted, error = np.array(found["calibration"]).T
    values = math.prod(SHAPE) / 20  # in a bin; the error's relative standard error is 1 / sqrt(2 values) = 2.9 %
    assert len(predicted) == 20
    assert np.abs(error / predicted - 1).max() < 4 / math.sqrt(2 * values)
    true = np.array([part.square().mean().sqrt() for part in sigma.flatten().chunk(20)]) * math.sqrt(1 + 1 / count)
    assert np.abs(predicted / true - 1).max() < 0.05


def test_too_narrow_samples_show_above_the_diagonal():
    torch.manual_seed(1)
    sigma = 0.05 + 0.2 * torch.rand(SHAPE)
    x = sigma * torch.randn(33, *SHAPE)
    predicted, error = np.array(uncertainty(x[1:] / 2, x[0])["calibration"]).T
    assert error.sum() / predicted.sum() == pytest.approx(2, rel=0.03)


def test_the_rank_correlation_is_that_of_ranks():
    torch.manual_seed(2)
    samples, truth = torch.randn(4, *SHAPE), torch.randn(SHAPE)
    deviation = samples.var(0).sum(0).flatten().numpy()  # per pixel, over the channels
    error = (truth - samples.mean(0)).square().sum(0).flatten().numpy()
    expected = np.corrcoef(rankdata(deviation), rankdata(error))[0, 1]
    assert uncertainty(samples, truth)["spearman"] == pytest.approx(expected, abs=1e-5)
    assert uncertainty(truth.expand(4, *SHAPE), truth + 1)["spearman"] is None


def test_honest_samples_hold_the_truth_as_often_as_one_more_of_them():
    """Of K + 1 samples of one law one is neither the least nor the largest with probability (K - 1) / (K + 1)."""
    torch.manual_seed(4)
    x = torch.randn(20, *SHAPE)
    values = math.prod(SHAPE)
    assert uncertainty(x[1:], x[0])["within"] == pytest.approx(0.9, abs=4 * (0.9 * 0.1 / values) ** 0.5)
    assert uncertainty(x[1:] / 4, x[0])["within"] < 0.5


def test_several_samples_score_by_their_means_and_deviations():
    torch.manual_seed(3)
    truth = torch.rand(2, *SHAPE) - 0.5
    samples = truth + 0.1 * torch.randn(3, 2, *SHAPE)
    rows = score_samples(samples, truth, {"psnr": psnr, "ssim": ssim})
    for b, row in enumerate(rows):
        each = [10 * math.log10(4 / float((x[b] - truth[b]).double().square().mean())) for x in samples]
        assert row["psnr"] == pytest.approx(np.mean(each), abs=1e-4)
        assert row["psnr_std"] == pytest.approx(np.std(each, ddof=1), abs=1e-4)
        centre = samples[:, b].mean(0)
        assert row["psnr_mean"] == pytest.approx(
            10 * math.log10(4 / float((centre - truth[b]).square().mean())), abs=1e-3
        )
        assert row["ssim"] == pytest.approx(np.mean([ssim(x[b : b + 1], truth[b : b + 1])[0] for x in samples]))
        assert (row["samples"], row["lpips"], row["lpips_std"]) == (3, None, None)


def test_the_samples_of_a_benchmark_are_those_of_the_posterior(tiny_prior, tmp_path):
    """Through the command; the baseline, which is not random, has no spread."""
    from invsolve import posterior
    from invsolve.images.files import read_image
    from invsolve.runtime.random_streams import MEASUREMENT, NoiseStreams, stream_index

    bench = make_bench(tmp_path, tiny_prior, 1)
    rows = figures(bench("samples", "--samples", 3, "--tasks", "sr4x", "--methods", "baseline,ncvsd,posterior:2"))
    assert "samples" not in rows["sr4x", "baseline", "00000"]
    row = rows["sr4x", "ncvsd", "00000"]

    task, key = load_task("sr4x"), stream_index("00000")
    truth = read_image(bench.pictures / "00000.png")[None]
    operator = task.make_operator((3, 32, 32))
    y = operator.measure(truth, task.sigma_y, NoiseStreams(0, [(key, MEASUREMENT)]))
    found = posterior(y, operator, 3, 4, task.sigma_y, tiny_prior, settings=task.settings(4), indices=[key])
    each = [psnr(x, truth)[0] for x in found.samples]
    assert row["psnr"] == pytest.approx(np.mean(each), abs=1e-4)
    assert row["psnr_mean"] == pytest.approx(psnr(found.mean, truth)[0], abs=1e-4)
    assert row["psnr_std"] == pytest.approx(np.std(each, ddof=1), abs=1e-4)
    assert row["calibration"] == [
        pytest.approx(pair, abs=1e-4) for pair in uncertainty(found.samples[:, 0], truth[0])["calibration"]
    ]
    assert (tmp_path / "samples" / "pictures" / "sr4x" / "00000" / "ncvsd_std.png").is_file()
    found = posterior(y, operator, 3, 2, task.sigma_y, tiny_prior, indices=[key])  # by its own settings
    assert rows["sr4x", "posterior:2", "00000"]["psnr_mean"] == pytest.approx(psnr(found.mean, truth)[0], abs=1e-4)


def test_a_method_that_diverges_counts_as_gray(tiny_prior, tmp_path, monkeypatch):
    from invsolve.bench import baselines

    bench = make_bench(tmp_path, tiny_prior, 1)
    diverges = baselines.Baseline(lambda y, operator: y * math.nan)
    monkeypatch.setitem(baselines.BASELINES, "measurement", diverges)
    row = figures(bench("nan", "--tasks", "denoise", "--methods", "baseline"))["denoise", "baseline", "00000"]
    (expected,) = score(torch.zeros(1, 3, 32, 32), photograph(0)[None], {"psnr": psnr})
    assert row["psnr"] == pytest.approx(expected["psnr"], abs=0.02)


def test_every_kind_of_task_has_a_baseline():
    """Without noise: observed pixels as they are, missing ones from the nearest, gray in all colours."""
    x = photograph(0, 64)[None]
    for name in ("denoise", "deblur_gaussian", "deblur_motion", "colorize", "inpaint_random", "inpaint_box", "sr4x"):
        task = load_task(name)
        operator = task.make_operator(tuple(x.shape[1:]))
        y = operator(x)
        found = make_baseline(None, task, operator)[0](y)
        assert found.shape == x.shape
        if task.kind in ("denoise", "gaussian_blur", "motion_blur"):
            assert torch.equal(found, y)
        if task.kind == "grayscale":
            assert torch.equal(found, y.repeat(1, 3, 1, 1))
        if task.kind == "super_resolution":
            assert psnr(found, x)[0] > 20
        if task.kind.startswith("inpaint"):
            _check_nearest(found[0], y[0], operator.mask.expand(1, *x.shape[1:])[0, 0].bool())


def _check_nearest(found: torch.Tensor, y: torch.Tensor, observed: torch.Tensor) -> None:
    """By brute force: every pixel equals one of the observed pixels that are nearest to it."""
    places = observed.nonzero().double()
    everywhere = torch.ones_like(observed).nonzero().double()
    distances = torch.cdist(everywhere, places)
    nearest = distances <= distances.min(1, keepdim=True).values + 1e-9
    values = y[:, observed].T  # [observed, 3]
    same = (found.flatten(1).T[:, None] == values[None]).all(2)
    assert bool((same & nearest).any(1).all())
