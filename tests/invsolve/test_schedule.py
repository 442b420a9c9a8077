from itertools import pairwise

import pytest

from invsolve.schedule import karras


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2.0, 0.1, 3.0), "at least 1 level, not 0"),
        ((4, 0.1, 2.0, 3.0), "from 0.1 to 2.0"),
        ((4, 2.0, 0.0, 3.0), "from 2.0 to 0.0"),
        ((4, float("nan"), 0.1, 3.0), "from nan"),
        ((4, 2.0, 0.1, 0.0), "exponent"),
    ],
)
def test_bad_schedules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        karras(*arguments)
