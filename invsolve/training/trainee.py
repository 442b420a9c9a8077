"""A network in training, and the file that a restart goes on from.

``state.pt`` is ``{"step": steps done, "training": its identity, trainee's name: Trainee.state_dict(), ...}``, written
by ``torch.save`` and read with ``weights_only``: tensors, numbers, text and plain containers.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from pathlib import Path

import torch
from torch import nn

from ..images.files import write_atomically
from ..networks.layers import normalize_weights
from ..runtime import processes
from ..specs.recipe import RunConfig
from .ema import PowerEMA
from .identity import check_identity

REMEMBERED = 100  # updates of which a trainee knows whether they were skipped

# What torch.load and load_state_dict raise for a damaged file or for one of other networks.
UNUSABLE_STATE = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError)


def rate_at(step: int, reference: float, warmup: int, decay_after: int) -> float:
    """Learning rate at optimiser step 1, 2, ...: linear warm-up, constant, then inverse square root (EDM2 eq. 67)."""
    return reference * min(1.0, step / max(warmup, 1)) / math.sqrt(max(1.0, step / decay_after))


class Trainee:
    """A network in training with its optimiser and averages: one of teacher, generator, fake, discriminator.

    ``skipped`` counts the updates left out because a gradient was not finite; ``recent`` says of the latest ones, the
    last one last, whether they were.
    """

    def __init__(self, network: nn.Module, rate: float, betas: tuple[float, float], ema: tuple[float, ...] = ()):
        self.network, self.rate = network, rate
        fused = next(network.parameters()).is_cuda
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=betas, eps=1e-8, fused=fused)
        self.averages = [PowerEMA(network, std) for std in ema]
        self.steps = self.skipped = 0
        self.recent: deque[bool] = deque(maxlen=REMEMBERED)

    def update(self, config: RunConfig) -> None:
        """One optimiser step on the gradients at hand, averaged over the processes; weights are normalised after it.

        Without effect, but for the counts, where a gradient is not finite: a loss that is not finite makes them so.
        """
        processes.average_gradients(self.network)
        finite = gradients_are_finite(self.network)
        self.recent.append(not finite)
        if finite:
            self.steps += 1
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at(self.steps, self.rate, config.warmup, config.decay_after)
            self.optimizer.step()
            normalize_weights(self.network)
            for average in self.averages:
                average.update(self.network, self.steps)
        else:
            self.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": [average.network.state_dict() for average in self.averages],
            "steps": self.steps,
            "skipped": self.skipped,
            "recent": list(self.recent),
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.network.load_state_dict(saved)
        self.steps = state["steps"]
        self.skipped = state.get("skipped", 0)  # absent from the states of version 0.1, as is the next
        self.recent = deque(state.get("recent", []), maxlen=REMEMBERED)


def gradients_are_finite(network: nn.Module) -> bool:
    """Whether every gradient is, judged by its norm: one too large to be squared in its precision is not."""
    norms = torch._foreach_norm([p.grad for p in network.parameters() if p.grad is not None])
    return bool(torch.stack(norms).isfinite().all())


def save_state(path: Path, trainees: dict[str, Trainee], step: int, identity: dict[str, object]) -> None:
    """Atomically write everything a restart needs."""
    state = {"step": step, "training": identity, **{name: trainee.state_dict() for name, trainee in trainees.items()}}
    write_atomically(path, lambda file: torch.save(state, file))


def load_state(path: Path, trainees: dict[str, Trainee], device: torch.device, identity: dict[str, object]) -> int:
    """Restore the trainees; returns the number of steps already done (0 where there is no state).

    Raises:
        ValueError: the file is damaged, or is the state of another training than that of this ``identity``.
    """
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        check_identity(state.get("training", {}), identity)  # absent from the states of earlier versions
        for name, trainee in trainees.items():
            trainee.load_state_dict(state[name])
        return state["step"]
    except UNUSABLE_STATE as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} does not go on with this training; move it away to start anew ({reason})") from None
