"""The methods of a benchmark, by name.

=========================  ===========================================================================================
``baseline``               a simple picture made of the measurement, see ``baselines.py``
``baseline:tv``            a baseline by its name, where it is made for the task's degradation
``baselines``              of each task every baseline that is made for its degradation
``ncvsd``, ``ncvsd:16``    the prior (``--prior``) in the product's loop, with ``--steps`` or 16 network evaluations
``teacher``, ``:16``       the plain denoiser (``--denoiser``) in the same loop, its posterior mean taken for a sample
``teacher-diffusion:5``    ``teacher`` with ``--steps`` evaluations, each replaced by a sample by reverse diffusion in 5
``ddrm``, ``ddrm:20``      a method of ``invsolve.peers`` over the same denoiser, with its own or 20 steps
=========================  ===========================================================================================
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import chain

import torch
from torch import Tensor

from operators import LinearOperator, NoiseModel, Operator
from operators.spectral import spectral_filter

from .. import peers
from ..priors.denoiser import DiffusionSampler, PosteriorMean, Prior
from ..runtime.random_streams import NoiseStreams
from ..solver.defaults import default_settings, honoured, posterior_settings, task_settings
from ..solver.diagnostics import MismatchWarning
from ..solver.request import Index, check_settings
from ..solver.solve import solve
from ..specs.fields import suggestion
from ..specs.settings import POSTERIOR_STEPS, Settings
from ..specs.task import Task
from .baselines import baselines_of, make_baseline

ALL_BASELINES = "baselines"  # stands for all that a task has
# The methods that are no peers, and the network that each needs.
NETWORKS = {
    "baseline": None,
    ALL_BASELINES: None,
    "ncvsd": "prior",
    "posterior": "prior",
    "teacher": "denoiser",
    "teacher-diffusion": "denoiser",
}
SAMPLE = 5  # evaluations of a sample of teacher-diffusion
REVISION = 1  # of solve: raised when its results change though the settings do not


@dataclass(frozen=True)
class Tools:
    """What the methods of one benchmark share; ``prior`` and ``denoiser`` are there when a method needs them."""

    steps: int
    seed: int
    prior: Prior | None = None
    denoiser: PosteriorMean | None = None
    largest_sigma: float = math.inf  # noise level that the denoiser was trained for


@dataclass(frozen=True)
class Method:
    """A method at one task.

    ``restore(y, streams)`` gives images ``[B, C, H, W]`` for measurements ``[B, *operator.out_shape]``; all that is
    random about image b comes from the stream ``(tools.seed, streams[b])``. Where nothing is, ``random`` is False.
    """

    name: str
    steps: int
    evaluations: int  # of the network, for one image
    restore: Callable[[Tensor, Sequence[Index]], Tensor]
    settings: Mapping[str, float | bool]  # with the network and the run's options all that its figures depend on
    random: bool = True


def make_method(name: str, task: Task, operator: Operator, tools: Tools) -> Method:
    """The method of a name at a task. Raises ValueError where its steps, or the operator, are none it can have."""
    kind, variant = split_name(name)
    number = variant if isinstance(variant, int) else None
    try:
        if kind == "baseline":
            restore, settings = make_baseline(variant, task, operator)
            return Method(name, 0, 0, lambda y, streams: restore(y), settings, random=False)
        if kind == "ncvsd":
            return _in_loop(name, tools.prior, number or tools.steps, task, operator, tools.seed)
        if kind == "posterior":
            return _in_loop(
                name, tools.prior, number or POSTERIOR_STEPS, task, operator, tools.seed, posterior_settings
            )
        if kind == "teacher":
            return _in_loop(name, tools.denoiser, number or tools.steps, task, operator, tools.seed)
        if kind == "teacher-diffusion":
            plain = tools.denoiser
            sampler = DiffusionSampler(plain.denoiser, number or SAMPLE, spectrum=plain.spectrum)
            return _in_loop(name, sampler, tools.steps, task, operator, tools.seed)
        return _peer(name, kind, number, task, operator, tools)
    except ValueError as error:
        raise ValueError(f"{name} at {task.name}: {error}") from None


def methods_at(task: Task, words: Sequence[str]) -> list[str]:
    """The methods of a list at a task, where ``baselines`` stands for those that there are."""
    names = ([f"baseline:{each}" for each in baselines_of(task)] if word == ALL_BASELINES else [word] for word in words)
    return list(dict.fromkeys(chain.from_iterable(names)))


def network_of(name: str) -> str | None:
    """``prior``, ``denoiser`` or None: what the method needs. Raises ValueError for an unknown name."""
    kind = split_name(name)[0]
    if kind in NETWORKS:
        return NETWORKS[kind]
    if kind not in peers.PEERS:
        raise ValueError(f"no method {kind!r}{suggestion(kind, [*NETWORKS, *peers.PEERS])}")
    return "denoiser"


def split_name(name: str) -> tuple[str, int | str | None]:
    """``"ddrm:20"`` -> ``("ddrm", 20)``, ``"dps"`` -> ``("dps", None)``, ``"baseline:tv"`` -> ``(..., "tv")``."""
    kind, colon, number = name.partition(":")
    if kind == "baseline":
        return kind, number if colon else None
    if colon and not (number.isdecimal() and int(number) >= 1):
        raise ValueError(f"method {name!r}: {number!r} is not a number of steps")
    return kind, int(number) if colon else None


def in_use(settings: object) -> dict[str, float | bool]:
    """What is not switched off: another kind of setting, off by default, leaves the results of older ones valid."""
    found: dict[str, float | bool] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            found |= in_use(value)
        elif field.default or value != field.default:
            found[field.name] = value
    return found


def _in_loop(
    name: str,
    prior: Prior,
    steps: int,
    task: Task,
    operator: Operator,
    seed: int,
    choose: Callable[[Operator, float | NoiseModel, Prior], Settings] | None = None,
) -> Method:
    """``solve`` in ``steps`` evaluations, of which each is one sample of the prior here.

    Its settings are those that ``choose`` gives, or the task's, or else the solver's own.
    """
    model = task.noise(operator)
    settings = None if choose else task_settings(task, steps, prior)
    if settings is None:
        settings = (choose or default_settings)(operator, task.noise_or_level(operator), prior)
    settings, evaluations = honoured(settings, prior), steps * prior.evaluations
    check_settings(settings, prior, model is None and isinstance(operator, LinearOperator))
    sample = {"sample": prior.evaluations} if prior.evaluations > 1 else {}

    def restore(y: Tensor, streams: Sequence[Index]) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MismatchWarning)  # operator and noise are what they are said to be
            return solve(y, operator, evaluations, task.sigma_y, prior, seed, settings, streams, noise=model)

    definition = {**in_use(settings), **sample, "revision": REVISION}
    return Method(name, steps, evaluations * (1 + settings.restarts), restore, definition)


def _peer(name: str, kind: str, number: int | None, task: Task, operator: Operator, tools: Tools) -> Method:
    peer = peers.PEERS[kind]
    settings = peers.settings_for(kind, task.name, number, task.kind, tools.largest_sigma)
    sigma_y = task.noise_or_level(operator)
    peer.check(operator, sigma_y)
    if peer.spectral:  # refused here where the spectrum is not known
        spectral_filter(operator, torch.zeros(1, *operator.in_shape), lambda power: power)

    def restore(y: Tensor, streams: Sequence[Index]) -> Tensor:
        noise = NoiseStreams(tools.seed, streams, y.device, y.dtype)
        return peer.restore(y, operator, tools.denoiser.denoiser, sigma_y, noise, settings)

    definition = {**asdict(settings), "revision": peers.REVISION}
    return Method(name, settings.steps, settings.evaluations, restore, definition)
