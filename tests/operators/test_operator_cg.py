"""The batched conjugate-gradient solvers against dense solutions, image by image."""

from __future__ import annotations

import pytest
import torch
from operator_cases import random

from operators import Convolution, motion_kernel, solve_least_squares, solve_spd


def spd(batch: int, n: int, condition: float) -> torch.Tensor:
    """Symmetric positive definite matrices whose eigenvalues run from 1 to `condition`."""
    q, _ = torch.linalg.qr(random(batch, n, n))
    return q * torch.logspace(0, torch.tensor(condition).log10(), n, dtype=torch.float64) @ q.mT


def apply(matrix):
    return lambda x: (matrix @ x[..., None])[..., 0]


def test_spd_agrees_with_a_dense_solve():
    matrix, b = spd(4, 20, 1e3), random(4, 20, seed=1)
    x, iterations = solve_spd(apply(matrix), b)
    assert (x - torch.linalg.solve(matrix, b)).abs().max() < 1e-9
    assert iterations <= 60


def test_spd_stops_at_the_tolerance_asked_for():
    matrix, b = spd(4, 50, 1e4), random(4, 50, seed=1)
    counts = []
    for tol in (1e-2, 1e-6, 1e-10):
        x, iterations = solve_spd(apply(matrix), b, tol=tol)
        residual = (apply(matrix)(x) - b).norm(dim=1) / b.norm(dim=1)
        assert (residual <= 1.01 * tol).all()
        counts.append(iterations)
    assert counts[0] < counts[1] < counts[2]


def test_an_exact_preconditioner_takes_one_iteration():
    matrix, b = spd(3, 30, 1e6), random(3, 30, seed=1)
    x, iterations = solve_spd(apply(matrix), b, precondition=apply(torch.linalg.inv(matrix)), tol=1e-8)
    assert iterations == 1
    assert (x - torch.linalg.solve(matrix, b)).abs().max() < 1e-9


def test_least_squares_with_a_preconditioner_and_damping_of_its_own_for_each_image():
    a, r = random(3, 25, 15), random(3, 25, seed=1)
    lam = torch.tensor([[0.1], [1.0], [10.0]], dtype=torch.float64)
    normal = a.mT @ a + lam[..., None] * torch.eye(15, dtype=torch.float64)
    expected = torch.linalg.solve(normal, apply(a.mT)(r))
    for precondition in (None, apply(torch.diag_embed(1 / normal.diagonal(dim1=1, dim2=2)))):
        d, _ = solve_least_squares(apply(a), apply(a.mT), r, lam, precondition)
        assert (d - expected).abs().max() < 1e-10


def test_least_squares_without_damping_finds_the_shortest_solution():
    for rows, columns in ((8, 15), (15, 8)):
        a, r = random(3, rows, columns), random(3, rows, seed=1)
        d, _ = solve_least_squares(apply(a), apply(a.mT), r, 0.0)
        assert (d - apply(torch.linalg.pinv(a))(r)).abs().max() < 1e-9


def test_a_converged_image_is_frozen():
    """The easy image gives the same bits beside a hard one as beside itself, and a zero image stays zero."""
    matrix, b = spd(3, 40, 1e5), random(3, 40, seed=1)
    matrix[0] = torch.eye(40)
    b[1] = 0
    together, iterations = solve_spd(apply(matrix), b)
    alone, few = solve_spd(apply(matrix[[0, 0, 0]]), b[[0, 0, 0]])
    assert few == 1 < iterations
    assert torch.equal(together[0], alone[0])
    assert not together[1].any()


def test_giving_up_is_said():
    matrix, b = spd(2, 50, 1e6), random(2, 50, seed=1)
    with pytest.warns(RuntimeWarning, match="stopped after 3 iterations with 2 of 2 images above the tolerance 1e-12"):
        _, iterations = solve_spd(apply(matrix), b, max_iterations=3)
    assert iterations == 3
    with pytest.warns(RuntimeWarning, match="stopped after 3 iterations with 1 of 2 images"):
        solve_least_squares(apply(matrix), apply(matrix), b * torch.tensor([[1.0], [0.0]]), 0.0, max_iterations=3)


def test_inconsistent_data_in_float32_reach_the_rounding_floor():
    """A right-hand side far outside the range of A leaves a gradient of rounding errors: the iteration must end."""
    a = random(2, 60, 10).float()
    q, _ = torch.linalg.qr(a)
    outside = random(2, 60, seed=1).float()
    outside = outside - apply(q)(apply(q.mT)(outside))
    r = 1e4 * outside + apply(a)(random(2, 10, seed=2).float())
    d, iterations = solve_least_squares(apply(a), apply(a.mT), r, 0.0)
    expected = apply(torch.linalg.pinv(a.double()))(r.double())
    assert iterations < 100
    assert (d - expected).abs().max() < 1e-5 * r.norm()


def test_least_squares_take_one_damping_or_one_for_each_image():
    a, r = random(3, 8, 6), random(3, 8, seed=1)
    lam = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    flat, _ = solve_least_squares(apply(a), apply(a.mT), r, lam)
    assert torch.equal(flat, solve_least_squares(apply(a), apply(a.mT), r, lam[:, None])[0])
    with pytest.raises(ValueError, match="lam has 6 values but there are 3 images"):
        solve_least_squares(apply(a), apply(a.mT), r, torch.ones(6).double())


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16], ids=str)
def test_data_of_another_type_are_refused(dtype):
    same, data = lambda x: x, torch.ones(1, 2, dtype=dtype)
    for solver in (lambda: solve_spd(same, data), lambda: solve_least_squares(same, same, data, 0.0)):
        with pytest.raises(TypeError, match=f"the data are {dtype} but must be torch.float32 or torch.float64"):
            solver()


def test_slow_least_squares_stop_where_the_misfit_cannot_be_seen():
    """Within a thousandth of |r| of the least objective, in energy; to 1e-6 it would take over 1000 iterations."""
    u, v = (torch.linalg.qr(random(200, 200, seed=seed))[0] for seed in (0, 1))
    a = (u * torch.logspace(0, -3, 200, dtype=torch.float64) @ v.T).expand(2, 200, 200)
    r = apply(a)(random(2, 200, seed=2))
    forward, adjoint = apply(a.float()), apply(a.mT.float())
    for lam in (0.0, 1e-8):
        d, iterations = solve_least_squares(forward, adjoint, r.float(), lam)
        normal = a[0].T @ a[0] + lam * torch.eye(200, dtype=torch.float64)
        missing = d.double() - torch.linalg.solve(normal, a[0].T @ r.T).T
        energy = (apply(a)(missing).square() + lam * missing.square()).sum(1).sqrt()
        assert iterations < 700
        assert (energy < 1.2e-3 * r.norm(dim=1)).all()
    with pytest.warns(RuntimeWarning, match="stopped after 800 iterations"):
        solve_least_squares(forward, adjoint, r.float(), 0.0, tol=1e-6, max_iterations=800)


@pytest.mark.parametrize("boundary", ["reflect", "replicate", "zero"])
def test_a_blur_is_undone_in_some_hundred_iterations_at_any_damping(boundary, recwarn):
    """From 1000 and a warning at no damping and at the first draw of a published schedule, rho = 80."""
    op = Convolution((1, 48, 48), motion_kernel(15, 0.5, seed=0), boundary)
    x, noise = random(1, 1, 48, 48).float(), random(1, 1, 48, 48, seed=1).float()
    most = {(0.0, 0.5): 300, (0.05, 80.0): 200, (0.05, 5.0): 200, (0.05, 0.5): 80, (0.05, 0.05): 10}
    for (sigma_y, rho), limit in most.items():
        y, calls = op(x) + sigma_y * noise, []
        op.forward = lambda z, calls=calls: calls.append(1) or Convolution.forward(op, z)
        op.prox(rho * noise, y, (sigma_y / rho) ** 2)
        del op.forward
        assert len(calls) <= limit
    assert not recwarn.list
