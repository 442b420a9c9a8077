"""Whole solves as CUDA graphs: recorded for the first pictures of a kind, replayed for all others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from operators import LinearOperator, Weighted

from ..networks.inference import Accelerated
from ..priors.denoiser import Prior
from ..runtime.cuda_graphs import Recordings
from ..runtime.random_streams import NoiseStreams
from .sampler import Problem

_recordings: WeakKeyDictionary[Prior, Recordings] = WeakKeyDictionary()


def recordings_for(problem: Problem) -> Recordings | None:
    """The prior's recordings; None where it was loaded without CUDA graphs, or the operator's prox looks at values."""
    prior = problem.prior
    parts = prior.modules() if isinstance(prior, nn.Module) else ()
    wanted = any(isinstance(part, Accelerated) and part.recordings is not None for part in parts)
    if not wanted or problem.model is not None or kind_of(problem.operator) is None:
        return None
    return _recordings.setdefault(prior, Recordings())


def replayed(
    recordings: Recordings,
    restore: Callable[[Problem, NoiseStreams, Tensor | None], Tensor],
    problem: Problem,
    noise: NoiseStreams,
    start: Tensor | None,
    **how: Hashable,
) -> Tensor:
    """``restore(problem, noise, start)``, which depends on nothing else but what ``how`` tells."""
    y, operator = problem.y, problem.operator
    settings = problem.sigma_y, tuple(problem.sigmas), problem.gamma, problem.few_step
    key = (*how.items(), settings, kind_of(operator), y.shape, y.dtype, start is None)

    def call(y: Tensor, keys: Tensor, start: Tensor | None, *buffers: Tensor) -> Tensor:
        here = replace(problem, y=y, operator=with_buffers(operator, buffers))
        return restore(here, noise.from_start(keys), start)

    return recordings(key, call, (y, noise.keys, start, *operator.buffers()))


def kind_of(operator: LinearOperator) -> Hashable | None:
    """What, beside the values of its buffers, an operator computes; None where that is not known.

    It is known of this project's operators whose prox has a closed form: it follows from their classes, numbers and
    shapes. Conjugate gradients look at values to know when to end, and other classes may hold tensors that are no
    buffers.
    """
    parts = []
    for part in operator.modules():
        ours = type(part).__module__.partition(".")[0] == "operators"
        generic = isinstance(part, LinearOperator) and type(part).prox is LinearOperator.prox
        if not ours or generic or isinstance(part, Weighted):  # whose prox may be conjugate gradients
            return None
        plain = {name: value for name, value in vars(part).items() if isinstance(value, int | float | str | tuple)}
        shapes = [(name, buffer.shape, buffer.dtype) for name, buffer in part.named_buffers(recurse=False)]
        parts.append((type(part), tuple(plain.items()), tuple(shapes)))
    return tuple(parts)


def with_buffers(operator: LinearOperator, buffers: tuple[Tensor, ...]) -> LinearOperator:
    """A copy of the operator with other buffers, in the order of ``operator.buffers()``."""
    return copy.deepcopy(operator, {id(old): new for old, new in zip(operator.buffers(), buffers, strict=True)})
