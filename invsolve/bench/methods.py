"""The methods of a benchmark, by name.

=========================  ===========================================================================================
``baseline``               what a user has without the product, see ``baselines.py``
``ncvsd``, ``ncvsd:16``    the prior (``--prior``) in the product's loop, with ``--steps`` or 16 network evaluations
``teacher``, ``:16``       the plain denoiser (``--denoiser``) in the same loop, its posterior mean taken for a draw
``teacher-diffusion:5``    that denoiser in the same loop, each draw by reverse diffusion in 5 evaluations
``ddrm``, ``ddrm:20``      a method of ``invsolve.peers`` over the same denoiser, with its own or 20 steps
=========================  ===========================================================================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from operators import LinearOperator
from operators.spectral import spectral_filter

from ..priors.denoiser import DiffusionSampler, PosteriorMean, Prior
from ..runtime.random_streams import NoiseStreams
from ..solver.solve import Index, check_warm_start, solve
from ..specs.settings import Settings
from ..specs.task import Task
from ..specs.validation import suggestion
from .baselines import baseline_for

DRAW = 5  # evaluations of a draw of teacher-diffusion
SAMPLER = 1  # revision of solve: raised when its results change though the settings do not


@dataclass(frozen=True)
class Tools:
    """What the methods of one benchmark share; ``prior`` and ``denoiser`` are there when a method needs them.

    ``largest_sigma`` is the largest noise level that the denoiser was trained for.
    """

    steps: int
    seed: int
    prior: Prior | None = None
    denoiser: PosteriorMean | None = None
    largest_sigma: float = math.inf


@dataclass(frozen=True)
class Method:
    """A method at one task.

    ``restore(y, operator, streams)`` gives ``[B, C, H, W]`` for measurements ``[B, *operator.out_shape]``; all that is
    random about image b comes from the stream ``(tools.seed, streams[b])``. Where nothing is, ``random`` is False.
    """

    name: str
    steps: int
    evaluations: int  # of the network, for one image
    restore: Callable[[Tensor, LinearOperator, Sequence[Index]], Tensor]
    settings: Mapping[str, float | bool]  # with the network and the run's options all that its figures depend on
    random: bool = True


def make_method(name: str, task: Task, tools: Tools) -> Method:
    """The method of a name at a task. Raises ValueError where its number of steps is none it can have."""
    kind, number = split_name(name)
    if kind in _KINDS:
        return _KINDS[kind][0](name, number, task, tools)
    return _peer(name, number, task, tools)


def check_operator(name: str, operator: LinearOperator) -> None:
    """Raises ValueError where the method of a name cannot take ``operator``, on the CPU; nothing is restored."""
    from ..peers import PEERS

    peer = PEERS.get(split_name(name)[0])
    if peer is not None and peer.spectral:
        spectral_filter(operator, torch.zeros(1, *operator.in_shape), lambda power: power)


def networks_of(names: Sequence[str]) -> set[str]:
    """Which of ``prior`` and ``denoiser`` the methods of these names need. Raises ValueError for an unknown name."""
    return {network for name in names if (network := network_of(name))}


def network_of(name: str) -> str | None:
    """``prior``, ``denoiser`` or None: what the method needs. Raises ValueError for an unknown name."""
    kind = split_name(name)[0]
    if kind in _KINDS:
        return _KINDS[kind][1]
    from ..peers import PEERS

    if kind not in PEERS:
        raise ValueError(f"no method {kind!r}{suggestion(kind, [*_KINDS, *PEERS])}")
    return "denoiser"


def split_name(name: str) -> tuple[str, int | None]:
    """``"ddrm:20"`` -> ``("ddrm", 20)``; ``"dps"`` -> ``("dps", None)``."""
    kind, colon, number = name.partition(":")
    if colon and not (number.isdecimal() and int(number) >= 1):
        raise ValueError(f"method {name!r}: {number!r} is not a number of steps")
    return kind, int(number) if colon else None


def _baseline(name: str, number: int | None, task: Task, tools: Tools) -> Method:
    if number is not None:
        raise ValueError(f"method {name!r}: the baseline takes no number of steps")
    baseline = baseline_for(task.kind)
    return Method(name, 0, 0, lambda y, operator, streams: baseline(y, operator), {}, random=False)


def _ncvsd(name: str, number: int | None, task: Task, tools: Tools) -> Method:
    return _in_loop(name, tools.prior, number or tools.steps, task, tools)


def _teacher(name: str, number: int | None, task: Task, tools: Tools) -> Method:
    return _in_loop(name, tools.denoiser, number or tools.steps, task, tools)


def _teacher_diffusion(name: str, number: int | None, task: Task, tools: Tools) -> Method:
    plain = tools.denoiser
    draw = DiffusionSampler(plain.denoiser, evaluations=number or DRAW, spectrum=plain.spectrum)
    method = _in_loop(name, draw, tools.steps, task, tools)
    return replace(method, settings={**method.settings, "sample": draw.evaluations})


def _in_loop(name: str, prior: Prior, levels: int, task: Task, tools: Tools) -> Method:
    """``solve`` with the task's settings for so many noise levels, one draw of the prior at each."""
    settings, evaluations = task.settings(levels), levels * prior.evaluations
    try:
        check_warm_start(settings, prior)
    except ValueError as error:
        raise ValueError(f"{name} at {task.name}: {error}") from None

    def restore(y: Tensor, operator: LinearOperator, streams: Sequence[Index]) -> Tensor:
        return solve(y, operator, evaluations, task.sigma_y, prior, tools.seed, settings, streams)

    return Method(name, levels, evaluations, restore, {**in_use(settings), "revision": SAMPLER})


def in_use(settings: Settings) -> dict[str, float | bool]:
    """What is not switched off: another kind of setting, off by default, leaves the results of older ones valid."""
    fields = ((field, getattr(settings, field.name)) for field in dataclasses.fields(settings))
    return {field.name: value for field, value in fields if field.default or value != field.default}


def _peer(name: str, number: int | None, task: Task, tools: Tools) -> Method:
    from ..peers import PEERS, REVISION, settings_for

    kind = split_name(name)[0]
    peer, settings = PEERS[kind], settings_for(kind, task.name, number, task.kind, tools.largest_sigma)

    def restore(y: Tensor, operator: LinearOperator, streams: Sequence[Index]) -> Tensor:
        noise = NoiseStreams(tools.seed, streams, y.device, y.dtype)
        return peer.restore(y, operator, tools.denoiser.denoiser, task.sigma_y, noise, settings)

    return Method(name, settings.steps, settings.evaluations, restore, {**asdict(settings), "revision": REVISION})


# name: (how to make it, which network it needs)
_KINDS: dict[str, tuple[Callable[[str, int | None, Task, Tools], Method], str | None]] = {
    "baseline": (_baseline, None),
    "ncvsd": (_ncvsd, "prior"),
    "teacher": (_teacher, "denoiser"),
    "teacher-diffusion": (_teacher_diffusion, "denoiser"),
}
