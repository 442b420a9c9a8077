"""Settings of the sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .fields import BelowOne, Checked, Index, NotNegative, Positive, Share, WithinOne, check_sigmas

STEPS = 4  # network evaluations of a restored picture, unless told otherwise
POSTERIOR_STEPS = 4  # of a sample of the posterior


@dataclass(frozen=True)
class FewStep(Checked):
    """What makes few evaluations restore better, at the cost of the sampler's exact law; 0 switches each off.

    ``benchmarks/ablation.py`` measures what each buys; ``invsolve/solver/sampler.py`` has the equations. Below, x_i is
    the prior's sample at the i-th noise level sigma.

    Raises:
        ValueError: a value is out of range; TypeError: it is not a number.
    """

    renoise: Share = 0.0  # re-noising of measured components at the first level; at 1 u has white noise of level sigma
    momentum: WithinOne = 0.0  # a: likelihood samples are made near x_i + a (x_i - x_{i-1}), -1 < a < 1
    overrelaxation: BelowOne = 0.0  # Adler's over-relaxation of the likelihood samples, 0 to below 1
    output_ema: BelowOne = 0.0  # c: the result is the average x_out <- c x_out + (1 - c) x_i, 0 <= c < 1
    sigma_inflation: NotNegative = 0.0  # the network is given (1 + this) sigma at first, falling to sigma at last


@dataclass(frozen=True)
class Settings(Checked):
    """Settings of the sampler. Noise levels are on the images' scale [-1, 1].

    The defaults are neutral: the sampler of the paper, with the true noise level and the prior's own samples. See
    :func:`invsolve.default_settings` for values that serve the shipped prior.

    Raises:
        ValueError: a value is out of range; TypeError: it is not a number.
    """

    sigma_max: Positive = 2.0  # first noise level of the annealing
    sigma_min: Positive = 0.1  # last noise level
    exponent: Positive = 3.0  # of the Karras schedule between them (1: linear; larger: more small levels)
    sigma_likelihood: NotNegative | None = None  # that likelihood samples assume of y; None: the true sigma_y
    warm_start: bool = False  # make the first likelihood sample near the Wiener estimate instead of near gray
    gamma: NotNegative | None = None  # over-noising of a generative denoiser; None: what it was trained with
    few_step: FewStep = FewStep()
    restarts: Index = 0  # further runs; of all, the one that explains the measurement best is kept

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigmas(self)

    def without_over_noising(self) -> Settings:
        """These settings for a prior without over-noising: ``gamma`` and ``sigma_inflation`` switched off."""
        return replace(self, gamma=None, few_step=replace(self.few_step, sigma_inflation=0.0))
