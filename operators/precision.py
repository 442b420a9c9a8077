"""Float32 that is float32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

Switch = tuple[object, object, Callable[[object], None]]  # what it is at, what it is at without TF32, and its setter


def full_precision(like: Tensor) -> AbstractContextManager[None]:
    """A context in which what is computed of `like` keeps its dtype and its digits: without autocast and TF32.

    Autocast would have matrix products in bfloat16, with 8 bits, and hand them on in that dtype. Where there is nothing
    to switch off this costs a few microseconds: on the CPU TF32 (bfloat16, where it has that) is for matrix products on
    request alone. Code compiled by ``torch.compile`` leaves autocast too, but has the program's switches of TF32: a
    graph cannot hold them.
    """
    device = like.device.type
    autocast = torch.is_autocast_enabled(device)
    rounded = not torch.compiler.is_compiling() and (device != "cpu" or _products_are_rounded())
    as_it_is = torch.autocast(device, enabled=False) if autocast else contextlib.nullcontext()
    return _both(as_it_is, full_float32()) if rounded else as_it_is


@contextlib.contextmanager
def _both(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield


def _products_are_rounded() -> bool:
    try:
        return torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:  # the program has set PyTorch's new switches
        return True


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """A context without TF32, which is float32 with a mantissa of 10 bits: relative errors of 5e-4 instead of 6e-8.

    PyTorch lets CUDA convolutions have it unless told otherwise, and matrix products on request. What the program chose
    is restored afterwards. Derivatives taken outside of the context are computed as the program chose.
    """
    changed = [switch for switch in _switches() if switch[0] != switch[1]]
    for _, off, write in changed:
        write(off)
    try:
        yield
    finally:
        for before, _, write in changed:
            write(before)


def _switches() -> list[Switch]:
    """PyTorch's switches of TF32: the old ones, or the new ones (2.9) where the program has set any of those.

    Where they differ, reading the old ones raises RuntimeError, and ``torch.compile`` reads them: both must agree
    inside of the context too, hence the old ones first, which set the new.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with contextlib.suppress(RuntimeError):
        if getattr(cudnn, "fp32_precision", "none") != "tf32":  # what the old ones would fall back to when off
            products = torch.get_float32_matmul_precision() if matmul.allow_tf32 else "highest"
            return [
                (cudnn.allow_tf32, False, partial(setattr, cudnn, "allow_tf32")),
                (products, "highest", torch.set_float32_matmul_precision),
            ]
    new = (cudnn.conv, matmul)
    return [(owner.fp32_precision, "ieee", partial(setattr, owner, "fp32_precision")) for owner in new]
