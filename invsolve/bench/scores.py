"""The figures of a restored picture: its distance from the truth, and with several samples what they say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ..images.metrics import Metric, psnr

BINS = 20  # of the calibration curve

Figures = dict[str, float | None]


def score(x: Tensor, truth: Tensor, metrics: Mapping[str, Metric]) -> list[Figures]:
    """``psnr``, ``ssim`` and ``lpips`` of each image ``[B, C, H, W]`` in [-1, 1]; None for what is unknown."""
    columns = {name: metric(x, truth) for name, metric in metrics.items()}
    columns.setdefault("lpips", [None] * len(x))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def score_samples(samples: Tensor, truth: Tensor, metrics: Mapping[str, Metric]) -> list[dict]:
    """Figures of each image from K samples ``[K, B, C, H, W]`` of it.

    ``psnr``, ``ssim`` and ``lpips`` are means over the samples, ``psnr_std`` and ``lpips_std`` their deviations,
    ``psnr_mean`` is the PSNR of the samples' mean; the others are those of :func:`uncertainty`.
    """
    scores = [score(x, truth, metrics) for x in samples]  # [K][B]
    rows = []
    for b, psnr_mean in enumerate(psnr(samples.mean(0), truth)):
        columns = {name: [figures[b][name] for figures in scores] for name in scores[0][b]}
        known = {name: values for name, values in columns.items() if None not in values}
        row = {name: float(np.mean(known[name])) if name in known else None for name in columns}
        row |= {"samples": len(samples), "psnr_mean": psnr_mean}
        for name in ("psnr", "lpips"):
            row[f"{name}_std"] = float(np.std(known[name], ddof=1)) if name in known else None
        rows.append(row | uncertainty(samples[:, b], truth[b]))
    return rows


def uncertainty(samples: Tensor, truth: Tensor) -> dict:
    """Does the spread of K samples ``[K, C, H, W]`` tell the error of their mean?

    With honest samples the truth is one more sample of the posterior, so its distance from the mean of the K has the
    variance ``(1 + 1/K) std²``: the square root of that is the predicted deviation. ``spearman`` is the rank
    correlation over the pixels of the maps ``[H, W]`` of predicted deviation and of error, root mean squares over the
    channels, None where the samples do not differ. ``calibration`` is ``[predicted deviation, error]``, root mean
    squares over each of 20 bins of equally many values (pixel and channel), in the order of the predicted one. With
    few samples the outer bins are partly sorted by chance. ``within`` is the share of the values between the least and
    the largest of the samples, ``(K - 1) / (K + 1)`` of honest ones.
    """
    std, mean = torch.std_mean(samples.double(), dim=0)
    predicted = (math.sqrt(1 + 1 / len(samples)) * std).cpu().numpy()
    error = (truth.double() - mean).abs().cpu().numpy()
    order = predicted.ravel().argsort(kind="stable")
    both = (predicted, error)
    bins = [[_rms(part) for part in np.array_split(values.ravel()[order], BINS)] for values in both]
    maps = [_rms(values, axis=0).ravel() for values in both]
    within = (samples.amin(0) <= truth) & (truth <= samples.amax(0))
    correlation = spearmanr(*maps).statistic if all(np.ptp(values) > 0 for values in maps) else None
    return {
        "spearman": None if correlation is None else float(correlation),
        "within": within.double().mean().item(),
        "calibration": [[float(p), float(e)] for p, e in zip(*bins, strict=True)],
    }


def _rms(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.sqrt(np.mean(values**2, axis=axis))
