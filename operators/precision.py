"""Float32 that is float32: contexts without autocast and without TF32; real types and complex ones."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import torch

REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}
COMPLEX = {real: complex_type for complex_type, real in REAL.items()}

_lock = threading.Lock()
_inside = 0  # how many contexts of `full_float32` are open, in all threads
_restore: list[Callable[[], None]] = []  # sets the switches to what they were before the first of them


def real_type(dtype: torch.dtype) -> torch.dtype:
    """The real type of the same precision."""
    return REAL.get(dtype, dtype)


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """A context in which computations on `device` keep their dtype and its digits: no autocast, no TF32."""
    with without_autocast(device), full_float32():
        yield


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """A context without autocast, which would compute matrix products in a half type. It concerns this thread alone."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """A context without TF32, which is float32 with a mantissa of 10 bits: relative errors of 5e-4 instead of 6e-8.

    PyTorch lets CUDA convolutions use TF32 unless told otherwise, and matrix products on request. These switches belong
    to the whole process. Contexts may be nested and open in several threads at once: the first to open switches TF32
    off for all, the last to close restores what the program had chosen. Derivatives taken outside of the context are
    computed as the program chose.
    """
    global _inside
    with _lock:
        if _inside == 0:
            _restore[:] = _switch_off()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                for restore in _restore:
                    restore()


def _switch_off() -> list[Callable[[], None]]:
    """Switch TF32 off; returns the calls that restore what was chosen."""
    changed = [(before, off, write) for before, off, write in _switches() if before != off]
    for _, off, write in changed:
        write(off)
    return [partial(write, before) for before, _, write in changed]


def _switches() -> list[tuple[object, object, Callable[[object], None]]]:
    """PyTorch's switches of TF32, each as its value, its value without TF32, and its setter.

    There are old ones and, since 2.9, new ones. Setting the old ones sets the new ones too. But where a program has set
    the new ones so that they differ, reading the old ones raises RuntimeError, and only the new ones can be restored.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with contextlib.suppress(RuntimeError):
        if getattr(cudnn, "fp32_precision", "none") != "tf32":  # what the old ones would fall back to when off
            products = torch.get_float32_matmul_precision() if matmul.allow_tf32 else "highest"
            return [
                (cudnn.allow_tf32, False, partial(setattr, cudnn, "allow_tf32")),
                (products, "highest", torch.set_float32_matmul_precision),
            ]
    return [(owner.fp32_precision, "ieee", partial(setattr, owner, "fp32_precision")) for owner in (cudnn.conv, matmul)]
