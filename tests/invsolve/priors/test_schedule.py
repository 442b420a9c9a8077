from itertools import pairwise

import pytest

from invsolve.priors.schedule import karras


def test_karras_matches_values_worked_out_by_hand():
    # exponent 2 from 4 to 1: square roots 2, 1.5, 1.
    assert karras(3, 4.0, 1.0, 2.0) == pytest.approx([4.0, 2.25, 1.0], rel=1e-14)
    # exponent 1 is linear.
    assert karras(4, 4.0, 1.0, 1.0) == pytest.approx([4.0, 3.0, 2.0, 1.0], rel=1e-14)


def test_karras_ends_exactly_on_its_bounds_and_decreases():
    levels = karras(50, 80.0, 0.002, 7.0)
    assert (levels[0], levels[-1], len(levels)) == (80.0, 0.002, 50)
    assert all(a > b for a, b in pairwise(levels))
    roots = [level ** (1 / 7) for level in levels]
    gaps = [a - b for a, b in pairwise(roots)]
    assert max(gaps) - min(gaps) < 1e-12


def test_a_single_level_is_the_first():
    assert karras(1, 2.0, 0.1, 3.0) == [2.0]


def test_two_levels_are_the_bounds():
    assert karras(2, 2.0, 0.1, 3.0) == [2.0, 0.1]


def test_equal_bounds_repeat_one_level():
    assert karras(5, 0.3, 0.3, 3.0) == pytest.approx([0.3] * 5, rel=1e-14)


@pytest.mark.parametrize("exponent", [0.1, 1.0, 2.0, 3.0, 7.0, 20.0])
def test_karras_is_its_formula(exponent):
    first, last = 80.0 ** (1 / exponent), 0.002 ** (1 / exponent)
    wanted = [(first + i / 49 * (last - first)) ** exponent for i in range(49)]
    assert karras(50, 80.0, 0.002, exponent) == pytest.approx([*wanted, 0.002], rel=1e-12)


@pytest.mark.parametrize("exponent", [1e-320, 1e-9, 0.001])
def test_of_a_small_exponent_only_the_largest_level_counts(exponent):
    """(sigma_min / sigma_max)^(1/e) is 0 then: sigma_i = sigma_max (1 - i / (n - 1))^e."""
    wanted = [20 * (1 - i / 4) ** exponent for i in range(4)] + [0.1]
    assert karras(5, 20.0, 0.1, exponent) == pytest.approx(wanted, rel=1e-14)


def test_of_a_large_exponent_the_levels_are_geometric():
    assert karras(4, 8.0, 1.0, 1e18) == pytest.approx([8.0, 4.0, 2.0, 1.0], rel=1e-14)


def test_levels_far_apart_neither_overflow_nor_vanish():
    # exponent 2: the square roots are 1e150, 5e149 and 1e-155
    assert karras(3, 1e300, 1e-310, 2.0) == pytest.approx([1e300, 2.5e299, 1e-310], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2.0, 0.1, 3.0), "at least 1 level, not 0"),
        ((4, 0.1, 2.0, 3.0), "from 0.1 to 2.0"),
        ((4, 2.0, 0.0, 3.0), "from 2.0 to 0.0"),
        ((4, float("nan"), 0.1, 3.0), "from nan"),
        ((4, 2.0, 0.1, 0.0), "the exponent of a schedule is positive and finite, not 0.0"),
        ((4, 2.0, 0.1, float("inf")), "the exponent of a schedule is positive and finite, not inf"),
    ],
)
def test_bad_schedules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        karras(*arguments)
