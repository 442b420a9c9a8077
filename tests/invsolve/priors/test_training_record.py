"""The largest noise level that a training record tells of."""

from __future__ import annotations

import math

import pytest

from invsolve.priors.file import read_checkpoint
from invsolve.priors.registry import resolve
from invsolve.priors.training_record import largest_sigma

TEACHER = {"recipe": {"sigma_mean": -0.9, "sigma_std": 1.6}}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (TEACHER, math.exp(3.1)),  # 2.5 standard deviations of ln sigma above its mean
        ({"recipe": {"sigma_mean": -0.9, "sigma_std": 1.0}, "continues": TEACHER}, math.exp(3.1)),
        ({"recipe": {"sigma_max": 20.0}}, 20.0),
        ({"recipe": {"sigma_max": 8.0}, "continues": {"recipe": {"sigma_max": 20.0}}}, 20.0),
        ({"license": "of a published one"}, 80.0),
    ],
)
def test_the_largest_sigma_is_that_of_the_recipe_and_of_those_before(record, expected):
    assert largest_sigma(record) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "expected"), [("default", 20.0), ("teacher", math.exp(3.1))])
def test_the_shipped_priors(name, expected):
    assert largest_sigma(read_checkpoint(resolve(name))[0]["record"]) == pytest.approx(expected)
