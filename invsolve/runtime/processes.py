"""The processes of one training, as ``torchrun`` starts them: who each is, and what they sum over all of them.

Every process holds all networks, those of the first, and computes its share of each batch. Gradients are averaged
before an update, which every process then makes alike; the first process alone writes files. Without ``torchrun`` there
is one process, and nothing here has an effect. ``torch.distributed`` is imported where processes communicate only.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from .device import choose_device
from .folder_lock import locked

PATIENCE = 10.0  # seconds for a file of one machine to show on the others


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if under_torchrun() else 0


def count() -> int:
    """Number of processes."""
    return int(os.environ["WORLD_SIZE"]) if under_torchrun() else 1


def own_device(name: str) -> torch.device:
    """The device of this process: of several processes on one machine, each has a GPU, or they take turns."""
    device = choose_device(name)
    if device.type != "cuda" or count() == 1:
        return device
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Lock a folder for the processes of this run, through the first. Raises ValueError where another run has it."""
    return locked(folder) if rank() == 0 else contextlib.nullcontext()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Connect the processes, by nccl on CUDA and by gloo elsewhere; gives this process's own device."""
    if count() == 1:
        yield device
        return
    import torch.distributed as dist

    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield device
    wait(device)  # for the first process to write its last files: torchrun may end all when one fails
    if device.type == "cuda":
        dist.destroy_process_group()  # gloo's threads are left to __main__: ending them races with the other side


@torch.no_grad()
def align(network: nn.Module) -> None:
    """Give a network of all processes the first one's parameters and buffers."""
    if count() == 1:
        return
    from torch.distributed import broadcast

    for tensor in (*network.parameters(), *network.buffers()):
        values = tensor.contiguous()
        broadcast(values, 0)
        tensor.copy_(values)


def average_gradients(network: nn.Module) -> None:
    """Replace every gradient by its mean over the processes."""
    if count() == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    joint = _reduced(torch.cat([gradient.flatten() for gradient in gradients]), "SUM") / count()
    for gradient, part in zip(gradients, joint.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def mean(values: Tensor) -> Tensor:
    """Mean of a tensor over the processes, element by element."""
    return values if count() == 1 else _reduced(values.clone(), "SUM") / count()


def norm(values: Tensor) -> Tensor:
    """Euclidean norm of all the processes' values together."""
    local = values.norm()
    return local if count() == 1 else (mean(local.square()) * count()).sqrt()


def largest(values: list[float], device: torch.device) -> list[float]:
    """The largest of each value over the processes: how they agree on what to do next."""
    if count() == 1:
        return values
    return _reduced(torch.tensor(values, dtype=torch.float64, device=device), "MAX").tolist()


def _reduced(values: Tensor, how: str) -> Tensor:
    """Replace ``values`` in every process by their sum or maximum over all; returns them."""
    import torch.distributed as dist

    dist.all_reduce(values, getattr(dist.ReduceOp, how))
    return values


def wait(device: torch.device) -> None:
    """Go on when every process has come here."""
    largest([0.0], device)


def check_shared(folder: Path, device: torch.device) -> None:
    """Make a folder, and see that what the first process writes there is seen by all.

    Raises:
        ValueError: it is not, as where every machine has a folder of this name on a disk of its own.
    """
    if count() == 1:
        return
    (number,) = largest([random.SystemRandom().getrandbits(48) if rank() == 0 else 0], device)
    mark = folder / f".shared-{int(number):012x}"
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    wait(device)
    deadline = time.monotonic() + PATIENCE
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    (unseen,) = largest([not mark.exists()], device)
    if rank() == 0:
        mark.unlink()
    if unseen:
        raise ValueError(f"{folder} is not one folder for all processes; give one on a disk that they share")
