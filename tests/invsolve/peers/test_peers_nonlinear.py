"""DPS, DAPS, RED-diff and PnP-DM on operators that are not linear, and on photon counts; what the others refuse."""

from __future__ import annotations

import pytest
import torch
from peer_cases import OPERATORS, SHAPE, SHORT, gaussian, operator, random, stream

from invsolve.peers import PEERS
from invsolve.peers.base import score, weights_of
from invsolve.peers.daps import DAPSSettings, langevin
from invsolve.peers.dps import DPSSettings, dps
from invsolve.peers.levels import ddpm_levels
from invsolve.peers.reddiff import gradient
from invsolve.runtime.random_streams import NoiseStreams
from operators import Clip, Gaussian, Identity, LinearOperator, Operator, Poisson, Quantized, Saturated

GENERAL = [name for name, peer in PEERS.items() if peer.takes]
SIGMA_Y = 0.1


class Plain(Operator):
    """A linear operator of which nobody knows that it is linear."""

    def __init__(self, inner: LinearOperator):
        super().__init__(inner.in_shape, inner.out_shape)
        self.inner = inner

    def forward(self, x):
        return self.inner.forward(x)


def restored(name, y, op, sigma_y, **changes):
    settings = PEERS[name].settings(**{**SHORT[name], **changes})
    with torch.no_grad():
        return PEERS[name].restore(y, op, gaussian(), sigma_y, NoiseStreams(0, [0], dtype=torch.float64), settings)


def test_which_take_more_than_white_noise_of_linear_operators():
    assert GENERAL == ["dps", "reddiff", "daps", "pnpdm"]


@pytest.mark.parametrize("name", GENERAL)
def test_a_level_and_a_model_of_that_level_are_the_same(name):
    op = operator("blur")
    y = random(1, *op.out_shape, seed=3)
    assert torch.equal(restored(name, y, op, SIGMA_Y), restored(name, y, op, Gaussian(SIGMA_Y)))


@pytest.mark.parametrize("name", OPERATORS)
def test_the_steps_of_a_nonlinear_operator_are_those_of_a_linear_one(name):
    op, prior = operator(name), gaussian()
    plain = Plain(op).double()
    x, y, n = random(2, *SHAPE, seed=3), random(2, *op.out_shape, seed=4), random(2, *SHAPE, seed=5)
    expected = op.adjoint(y - op(x)) / SIGMA_Y**2
    assert (score(x, y, plain, Gaussian(SIGMA_Y)) - expected).abs().max() < 1e-10 * expected.abs().max()
    settings = DAPSSettings(langevin_steps=5)
    chains = [langevin(x, 0.5, y, a, SIGMA_Y, 1e-5, stream(2, 6), settings) for a in (op, plain)]
    assert (chains[0] - chains[1]).abs().max() < 1e-12
    slopes = [gradient(x, 0.5, y, a, prior, n, 0.3, SIGMA_Y) for a in (op, plain)]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-12


def test_the_score_of_counts_is_that_of_the_poisson_law():
    x, gain = random(2, *SHAPE, seed=3).clamp(-0.9, 1), 30.0
    counts = torch.poisson(gain * (x + 1) / 2, generator=torch.Generator().manual_seed(0))
    found = score(x, 2 * counts / gain - 1, Identity(SHAPE).double(), Poisson(gain))
    rate = gain * (x + 1) / 2
    assert (found - (counts / rate - 1) * gain / 2).abs().max() < 1e-9


def test_dps_weighs_counts_by_their_inverse():
    """The paper's Lambda, 1 / (2 y) (section 3.2), up to the factor that the normalised step does not see."""
    counts = torch.tensor([1.0, 4.0, 9.0, 100.0], dtype=torch.float64).reshape(1, 1, 2, 2)
    weights = weights_of(2 * counts / 30 - 1, Poisson(30.0))
    shares = weights.square() * counts
    assert (shares / shares.mean() - 1).abs().max() < 1e-12
    assert abs(weights.square().mean() - 1) < 1e-12


# What brings each method near the data in this world.
ENOUGH = {
    "dps": {"steps": 200, "scale": 20.0},
    "reddiff": {"steps": 100},
    "daps": {"steps": 10, "ode_steps": 3, "langevin_steps": 50, "sigma_max": 20.0, "tau": 0.1, "rate": 1e-3},
    "pnpdm": {"steps": 8, "decay": 0.4, "grid": 20, "rho_min": 0.1},
}
PROBLEMS = {
    "clip": lambda: (Clip(SHAPE).double(), SIGMA_Y),
    "counts": lambda: (Identity(SHAPE).double(), Poisson(100.0)),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", GENERAL)
def test_they_near_the_truth(name, problem):
    prior = gaussian()
    x = prior.sample(torch.zeros(16, *SHAPE).double(), 1e6, stream(16, 7))  # of the prior itself
    op, model = PROBLEMS[problem]()
    y = op.measure(x, model, stream(16, 8))
    settings = PEERS[name].settings(**ENOUGH[name])
    with torch.no_grad():
        found = PEERS[name].restore(y, op, prior, model, stream(16, 9), settings)
    error, spread = (found - x).square().mean().sqrt(), (x - prior.mean).square().mean().sqrt()
    assert error < 0.6 * spread


def test_dps_differentiates_through_the_operator():
    """One step of Algorithm 1 by hand, for an operator that is not linear."""
    op, prior, settings = Clip(SHAPE).double(), gaussian(), DPSSettings(steps=1, scale=64.0, sigma_max=3.0)
    y = op(random(1, *SHAPE, seed=3))
    with torch.no_grad():
        found = dps(y, op, prior, SIGMA_Y, stream(1, 4), settings)
    (sigma,) = ddpm_levels(1, 3.0)
    u = (sigma * stream(1, 4)(SHAPE)).requires_grad_()
    x0 = prior(u, sigma)
    (slope,) = torch.autograd.grad((y - (2 * x0).clamp(-1, 1)).norm(), u)
    expected = x0 - 64.0 * 4 / 256 * (1 + sigma**2) ** 0.5 * slope
    assert (found - expected).abs().max() < 1e-10


REFUSED = {
    "ddrm": (Clip(SHAPE), SIGMA_Y, "the method is for white noise of linear operators alone, not for Clip"),
    "pigdm": (Clip(SHAPE), Gaussian(0.1), "the method is for white noise of linear operators alone, not for Clip"),
    "diffpir": (
        Identity(SHAPE),
        Poisson(30.0),
        "the method is for white noise of linear operators alone, not for Poisson noise",
    ),
    "dps": (
        Identity(SHAPE),
        Saturated(0.1),
        "the method is for Gaussian noise, Poisson noise alone, not for Saturated noise",
    ),
    "daps": (
        Identity(SHAPE),
        Quantized(0.1),
        "the method is for Gaussian noise, Poisson noise, Saturated noise alone, not for Quantized noise",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_method_is_not_defined_for_is_refused(name):
    op, sigma_y, message = REFUSED[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        PEERS[name].check(op, sigma_y)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", PEERS)
def test_white_noise_of_linear_operators_is_for_all(name):
    PEERS[name].check(Identity(SHAPE), SIGMA_Y)
    PEERS[name].check(Identity(SHAPE), Gaussian(SIGMA_Y))
