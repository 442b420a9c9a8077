"""Metropolis-adjusted Langevin steps: samples of a likelihood that has no closed form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from operators.base import LinearOperator
from operators.cg import each
from operators.noise import Noise, NoiseModel
from operators.operator import Operator
from operators.precision import without_autocast
from operators.weighted import Weighted

STEPS, POINTWISE_STEPS = 60, 16  # of a sample; fewer where each pixel is accepted by itself
ACCEPTED = 0.574  # share that is best in many dimensions (Roberts and Rosenthal 1998)
ADAPTED = 0.5  # share of the steps in which the step size is adapted; the others leave the law as it is
APPROACH, BOUNDED_STEPS = 20, 12  # of an operator whose curvature is bounded: unadjusted steps, and adjusted ones
POOR = 0.1  # acceptance below which samples cannot be trusted


class State(NamedTuple):
    """Where a chain is: the image, the logarithm of its density and its gradient."""

    u: Tensor  # [B, *in_shape]
    log_density: Tensor  # [B], or of each pixel
    gradient: Tensor  # [B, *in_shape]


class Langevin:
    """Samples of p(u | x, y) ∝ N(u; x, rho² I) p(y | A(u)) by Metropolis-adjusted Langevin steps

        u' = u + h C g(u) + sqrt(2 h) C^(1/2) n,   g the gradient of ln p(u | x, y),

    accepted with probability min(1, p(u') q(u | u') / p(u) q(u' | u)) (Roberts and Tweedie 1996), so that every step
    leaves the law as it is. C is, for a linear A, the covariance of the Gaussian approximation about y, D the deviation
    of the noise: `C = (A^T D^-2 A + I / rho²)^-1`, drawn from by perturbation and prox; for another A it is rho² I, or
    `(c / D² + 1 / rho²)^-1 I` where its curvature has a bound c (`Operator.curvature`). With a bound the chain begins
    by steps that are not adjusted, `u' = u + C g(u) + C^(1/2) n`, exact where the curvature is the bound: they come
    near from far off, where adjusted steps would have to be short, and fewer of these then do.
    The step size h of each image is adapted during the first half of the steps. Where A is pointwise, the law is a
    product over the pixels and each is accepted by itself; else an image as a whole.
    """

    def __init__(self, y: Tensor, operator: Operator, model: NoiseModel, steps: int | None = None):
        self.y, self.operator, self.model = y, operator, model
        self.whitened = self._whitened() if isinstance(operator, LinearOperator) else None
        self.precision = self._precision() if self.whitened is None and operator.curvature is not None else None
        few = POINTWISE_STEPS if operator.pointwise else STEPS if self.precision is None else BOUNDED_STEPS
        self.steps = steps or few
        self.accepted: list[Tensor] = []  # of each sample so far, the share of accepted steps, [B]

    def sample(self, x: Tensor, rho: float, noise: Noise) -> Tensor:
        """A sample, of a chain that starts where the Gaussian approximation has its mean, or else at x."""
        dimensions = 1 if self.operator.pointwise else x[0].numel()
        power = -1 / 3 if self.precision is None else -1 / 2  # far from where its law is (Christensen et al. 2005)
        log_h = x.new_full((len(x),), dimensions**power).log()
        start = x if self.whitened is None else self.whitened.prox(x, self.whitened.weights * self.y, rho**-2)
        state, adapted, shares = self.state(start, x, rho), round(ADAPTED * self.steps), []
        for _ in range(0 if self.precision is None else APPROACH):
            c = self._variance(rho)
            state = self.state(state.u + c * state.gradient + c.sqrt() * noise(self.operator.in_shape), x, rho)
        for i in range(self.steps):
            state, share = self.step(state, x, rho, each(log_h.exp(), x), noise)
            if i < adapted:
                log_h = log_h + (share - ACCEPTED) / (1 + i) ** 0.5
            else:
                shares.append(share)
        self.accepted.append(torch.stack(shares).mean(0))
        return state.u

    def step(self, state: State, x: Tensor, rho: float, h: Tensor, noise: Noise) -> tuple[State, Tensor]:
        """One step of size h `[B, 1, ...]`; also the share of each image that was accepted, `[B]`."""
        proposal = state.u + self._move(state.gradient, h, rho, noise)
        new = self.state(proposal, x, rho)
        forth = self._log_proposal(state, new.u, h, rho)
        back = self._log_proposal(new, state.u, h, rho)
        ratio = new.log_density - state.log_density + back - forth
        uniform = noise(x.shape[1:]) if self.operator.pointwise else noise((1,)).flatten()
        accept = torch.special.log_ndtr(uniform) < ratio  # a ratio that is not a number refuses
        chosen = accept if self.operator.pointwise else each(accept, x)
        kept = State(
            torch.where(chosen, new.u, state.u),
            torch.where(accept, new.log_density, state.log_density),
            torch.where(chosen, new.gradient, state.gradient),
        )
        return kept, accept.to(x).flatten(1).mean(1) if self.operator.pointwise else accept.to(x)

    def state(self, u: Tensor, x: Tensor, rho: float) -> State:
        likelihood, gradient = log_likelihood(u, self.y, self.operator, self.model)
        log_density = self._total(likelihood) - self._total((u - x) ** 2) / (2 * rho**2)
        return State(u, log_density, gradient - (u - x) / rho**2)

    def _move(self, gradient: Tensor, h: Tensor, rho: float, noise: Noise) -> Tensor:
        """h C g + sqrt(2 h) C^(1/2) n."""
        n = noise(self.operator.in_shape)
        if self.whitened is None:
            variance = self._variance(rho)
            return h * variance * gradient + (2 * h * variance) ** 0.5 * n
        n = (2 * h).sqrt() * rho * n
        data = (2 * each(h, self.y)).sqrt() * noise(self.operator.out_shape)
        return self.whitened.prox(h * rho**2 * gradient + n, self.whitened.observed(data), rho**-2)

    def _log_proposal(self, state: State, there: Tensor, h: Tensor, rho: float) -> Tensor:
        """ln q(there | u), -|there - u - h C g|² / (4 h) in the metric C^-1."""
        if self.whitened is None:
            variance = self._variance(rho)
            return -self._total((there - state.u - h * variance * state.gradient) ** 2 / (4 * h * variance))
        drift = self.whitened.prox(h * rho**2 * state.gradient, torch.zeros_like(self.y), rho**-2)
        off = there - state.u - drift
        seen = self.whitened.forward(off) ** 2 / each(4 * h, self.y)
        return -self._total(seen) - self._total(off**2 / (4 * h)) / rho**2

    def _total(self, value: Tensor) -> Tensor:
        """Sums over an image, or where pixels are by themselves nothing is summed."""
        return value if self.operator.pointwise else value.flatten(1).sum(1)

    def _variance(self, rho: float) -> float | Tensor:
        """What C is of the identity, for an A that is not linear."""
        return rho**2 if self.precision is None else 1 / (self.precision + rho**-2)

    def _precision(self) -> Tensor:
        """c / D², with the mean square of the deviation about y, `[B, 1, ...]`."""
        return each(self.operator.curvature / self.model.variance(self.y), self.operator.blank(self.y))

    def _whitened(self) -> Weighted:
        """The operator in units of the noise about y: value by value where it is pointwise, else of its rms."""
        if self.operator.pointwise:
            return Weighted(self.operator, 1 / self.model.deviations(self.y))
        return Weighted(self.operator, 1 / each(self.model.variance(self.y).sqrt(), self.y))


def log_likelihood(u: Tensor, y: Tensor, operator: Operator, model: NoiseModel) -> tuple[Tensor, Tensor]:
    """ln p(y | u) for each value that is observed, and the gradient of its sum in u `[B, *in_shape]`."""
    with torch.inference_mode(False), torch.enable_grad(), without_autocast(u.device):
        u = u.detach().clone().requires_grad_()
        found = operator.observed(model.log_likelihood(y, operator.forward(u)))
        (gradient,) = torch.autograd.grad(found.sum(), u)
    return found.detach(), gradient
