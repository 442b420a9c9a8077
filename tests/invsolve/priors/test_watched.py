"""A watched prior: the same samples, each of them seen, and none after its watcher raises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from invsolve import load_prior, load_task, solve
from invsolve.priors.watched import Watched

TASK = load_task("denoise")
OPERATOR = TASK.make_operator((3, 16, 24))
SETTINGS = TASK.settings(3)
HOW = {"steps": 3, "sigma_y": TASK.sigma_y, "settings": SETTINGS}


def measurement() -> torch.Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_restores_the_same_and_shows_each_sample(tiny_prior):
    prior, seen = load_prior(tiny_prior), []
    watched = solve(measurement(), OPERATOR, prior=Watched(prior, seen.append), **HOW)
    assert torch.equal(watched, solve(measurement(), OPERATOR, prior=prior, **HOW))
    assert [x.shape for x in seen] == [(2, 3, 16, 24)] * 3
    plain = replace(SETTINGS, few_step=replace(SETTINGS.few_step, output_ema=0.0))  # its result is the last sample
    assert torch.equal(seen[-1], solve(measurement(), OPERATOR, prior=prior, **HOW | {"settings": plain}))


def test_what_its_watcher_raises_ends_the_sampling(tiny_prior):
    seen = []

    def look(x: torch.Tensor) -> None:
        seen.append(x)
        if len(seen) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        solve(measurement(), OPERATOR, prior=Watched(load_prior(tiny_prior), look), **HOW)
    assert len(seen) == 2
