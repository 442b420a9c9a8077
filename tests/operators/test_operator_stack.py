"""Multiples and stacks of operators against the matrices and the laws that define them."""

from __future__ import annotations

import pytest
import torch
from operator_cases import BATCH, dense, kernel, masks, random

from operators import CircularConvolution, Grayscale, Identity, Mask, Resize, Scaled, Stack, random_mask


def test_a_multiple_is_the_multiple_of_the_matrix():
    op = Resize((1, 6, 8), 2).double()
    assert (dense(-2.5 * op) + 2.5 * dense(op)).abs().max() < 1e-14
    assert (dense(3 * (0.5 * op)) - 1.5 * dense(op)).abs().max() < 1e-14
    assert repr(2 * op).startswith("Scaled(\n  2, (1, 6, 8) -> (1, 3, 4)")


def test_a_stack_is_one_matrix_above_the_other():
    a, b = CircularConvolution((1, 5, 4), kernel(3, 3)).double(), Resize((1, 5, 4), 2).double()
    assert Stack([a, b]).out_shape == (20 + 6,)
    assert (dense(Stack([a, b])) - torch.cat([dense(a), dense(b)])).abs().max() < 1e-14
    assert Stack([a, Identity((1, 5, 4)), a]).out_shape == (3, 5, 4)


def test_a_stack_takes_measurements_apart_as_it_joins_them():
    for second in (Grayscale((3, 4, 6)), Resize((3, 4, 6), 2)):
        op = Stack([Identity((3, 4, 6)), second]).double()
        x = random(2, 3, 4, 6)
        parts = op.parts(op(x))
        assert torch.equal(parts[0], x)
        assert torch.equal(parts[1], second(x))
        assert torch.equal(op.joined(parts), op(x))


def test_each_part_has_its_noise():
    mask = random_mask((4, 4), 0.5, seed=0)
    op, x = Stack([Mask((1, 4, 4), mask), Identity((1, 4, 4))]), torch.zeros(2, 1, 4, 4)
    y = op.measure(x, (0.5, 2.0), lambda shape: torch.ones(2, *shape))
    assert torch.equal(y[:, :1], (0.5 * mask).expand(2, 1, 4, 4))
    assert torch.equal(y[:, 1:], torch.full((2, 1, 4, 4), 2.0))
    assert torch.equal(op.measure(x, 2.0, lambda shape: torch.ones(2, *shape))[:, :1], (2 * mask).expand(2, 1, 4, 4))


def test_whitening_keeps_the_posterior_and_gives_one_noise_level():
    """The mean with the inverse variances of each part as weights, by the dense matrices."""
    op, levels, rho = Stack([Resize((1, 4, 6), 2), Identity((1, 4, 6))]).double(), (0.1, 0.7), 0.5
    y, v = op.measure(random(2, 1, 4, 6), levels, lambda shape: random(2, *shape, seed=1)), random(2, 1, 4, 6, seed=2)
    white, white_y, level = op.whitened(y, levels)
    assert level == 0.1
    precision = torch.cat([torch.full((6,), 0.1**-2), torch.full((24,), 0.7**-2)]).double()
    a = dense(op)
    normal = a.T @ (precision[:, None] * a) + torch.eye(24, dtype=torch.float64) / rho**2
    wanted = torch.linalg.solve(normal, (y * precision) @ a + v.flatten(1) / rho**2, left=False)
    assert (white.prox(v, white_y, (level / rho) ** 2).flatten(1) - wanted).abs().max() < 1e-7


def test_stacks_and_multiples_move_and_select_their_parts():
    op = Stack([2 * Mask((1, 4, 4), masks(BATCH, 1, 4, 4)), CircularConvolution((1, 4, 4), kernel(3, 3))]).double()
    x = random(BATCH, 1, 4, 4)
    assert {b.dtype for b in op.buffers()} == {torch.float64}
    assert torch.equal(op.select([2, 0])(x[[2, 0]]), op(x)[[2, 0]])
    assert (op.batch_size, op.select([1, 1]).batch_size) == (BATCH, 2)


@pytest.mark.parametrize(
    "op",
    [
        Identity((1, 4, 4)),
        2.0 * Identity((1, 4, 4)),
        Identity((1, 4, 4)) @ Identity((1, 4, 4)),
        Stack([Identity((1, 4, 4)), Identity((1, 4, 4))]),
    ],
    ids=lambda op: type(op).__name__,
)
def test_an_operator_of_all_images_alike_is_its_own_selection(op):
    """So what is measured of it once need not be measured again for a micro-batch."""
    assert op.select([1, 0]) is op


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 0 * Identity((1, 4, 4)), ValueError, "the factor of Identity is 0 but must be finite and not 0"),
        (lambda: Scaled(float("nan"), Identity((1, 4, 4))), ValueError, "the factor of Identity is nan"),
        (lambda: "2" * Identity((1, 4, 4)), TypeError, "can't multiply sequence"),
        (lambda: Stack([]), ValueError, r"a stack of \[\] cannot be: it takes at least one operator, and only"),
        (lambda: Stack([Identity((1, 4, 4)), 2.0]), ValueError, r"a stack of \[Identity, float\] cannot be"),
        (
            lambda: Stack([Identity((1, 4, 4)), Identity((1, 4, 5))]),
            ValueError,
            r"the operators take \(1, 4, 4\), \(1, 4, 5\) but must take the same images",
        ),
        (
            lambda: Stack([Mask((1, 4, 4), masks(2, 1, 4, 4)), Mask((1, 4, 4), masks(3, 1, 4, 4))]),
            ValueError,
            "cannot combine: one operator is for 2 images, another for 3",
        ),
        (
            lambda: Stack([Identity((1, 4, 4))]).measure(torch.zeros(1, 1, 4, 4), (0.1, 0.2)),
            ValueError,
            "sigma_y has 2 levels but there are 1 operators",
        ),
        (
            lambda: Stack([Identity((1, 4, 4))] * 2).whitened(torch.zeros(1, 2, 4, 4), (0.0, 0.2)),
            ValueError,
            r"sigma_y is \(0.0, 0.2\) but all must be positive",
        ),
    ],
)
def test_what_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()
