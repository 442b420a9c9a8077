"""The training loop: samples in order, learning-rate schedule, resumable checkpoints, progress and metrics."""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..layers import normalize_weights
from .config import RunConfig
from .data import Crops, SampleNoise, seed_of, to_unit
from .ema import PowerEMA

LOG_EVERY = 50  # steps
# What torch.load and load_state_dict raise for a damaged file or for one of other networks.
UNUSABLE_STATE = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError)


def rate_at(step: int, reference: float, warmup: int, decay_after: int) -> float:
    """Learning rate at optimiser step 1, 2, ...: linear warm-up, constant, then inverse square root (EDM2 eq. 67)."""
    return reference * min(1.0, step / max(warmup, 1)) / math.sqrt(max(1.0, step / decay_after))


class Player:
    """A network in training with its optimiser and averages: one of teacher, generator, fake, discriminator."""

    def __init__(self, network: nn.Module, rate: float, betas: tuple[float, float], ema: tuple[float, ...] = ()):
        self.network, self.rate = network, rate
        fused = next(network.parameters()).is_cuda
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=betas, eps=1e-8, fused=fused)
        self.averages = [PowerEMA(network, std) for std in ema]
        self.steps = 0

    def update(self, config: RunConfig) -> None:
        """One optimiser step on the gradients at hand; the weights are normalised and averaged after it."""
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.steps, self.rate, config.warmup, config.decay_after)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        normalize_weights(self.network)
        for average in self.averages:
            average.update(self.network, self.steps)

    def state_dict(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": [average.network.state_dict() for average in self.averages],
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.network.load_state_dict(saved)
        self.steps = state["steps"]


@dataclass
class Samples:
    """What a training step gets: pictures ``x`` ``[B, C, H, W]``, scalar normals ``[B, 4]`` and a noise source."""

    x: Tensor
    normals: Tensor
    noise: SampleNoise


def save_state(path: Path, players: dict[str, Player], step: int) -> None:
    """Atomically write everything a restart needs."""
    temporary = path.with_name(path.name + ".partial")
    torch.save({"step": step, **{name: player.state_dict() for name, player in players.items()}}, temporary)
    os.replace(temporary, path)


def load_state(path: Path, players: dict[str, Player], device: torch.device) -> int:
    """Restore the players; returns the number of steps already done (0 where there is no state).

    Raises:
        ValueError: the file is damaged, or is the state of another training.
    """
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        for name, player in players.items():
            player.load_state_dict(state[name])
        return state["step"]
    except UNUSABLE_STATE as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} does not go on with this training; move it away to start anew ({reason})") from None


def train_loop(
    config: RunConfig,
    crops: Crops,
    players: dict[str, Player],
    step: Callable[[Samples, int], dict[str, Tensor]],
    checkpoint: Callable[[int], dict[str, float]],
    out: Path,
    device: torch.device,
    max_minutes: float = math.inf,
) -> int:
    """Run until ``config.images`` or the time limit. The same call resumes from ``out/state.pt``.

    ``step(samples, number)`` updates the players and returns metrics; ``checkpoint(step)`` is called after each saved
    state and returns validation figures. Returns the number of steps done in all. What a step draws from torch's
    global generator (dropout) is a function of ``(config.seed, number)``, so that a restart changes nothing.

    Raises:
        ValueError: ``out/state.pt`` is damaged or of another training. FloatingPointError: the training diverged;
            the last saved state is from before.
    """
    out.mkdir(parents=True, exist_ok=True)
    first = load_state(out / "state.pt", players, device)
    total = math.ceil(config.images / config.batch)
    batches = crops.batches(first * config.batch, config.batch, config.workers, pin=device.type == "cuda")
    started, sums, done = time.monotonic(), {}, first
    progress = tqdm(range(first + 1, total + 1), initial=first, total=total, unit="step", smoothing=0.05)
    with open(out / "metrics.jsonl", "a") as log:
        for number in progress:
            pictures, normals, indices = next(batches)
            noise = SampleNoise(config.seed, indices.tolist(), device)
            samples = Samples(to_unit(pictures, device), normals.to(device, non_blocking=True), noise)
            torch.manual_seed(seed_of(config.seed, (number, 2)))
            for name, value in step(samples, number).items():
                sums.setdefault(name, []).append(value.detach())
            done = number
            out_of_time = (time.monotonic() - started) / 60 > max_minutes
            saves = number % config.checkpoint_every == 0 or number == total or out_of_time
            if number % LOG_EVERY == 0 or saves:
                means = {name: torch.stack(values).mean().item() for name, values in sums.items()}
                sums = {}
                if not all(math.isfinite(mean) for mean in means.values()):
                    raise FloatingPointError(f"training diverged at step {number}: {means}")
                progress.set_postfix({name: f"{mean:.4g}" for name, mean in means.items()})
                seconds = round(time.monotonic() - started, 1)
                log.write(json.dumps({"step": number, "seconds": seconds, **means}) + "\n")
                log.flush()
            if saves:
                save_state(out / "state.pt", players, number)
                log.write(json.dumps({"step": number, "validation": checkpoint(number)}) + "\n")
                log.flush()
            if out_of_time:
                tqdm.write(f"time limit reached after step {number} of {total}; the same command goes on from here")
                break
    return done
