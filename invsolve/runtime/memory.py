"""Work in micro-batches that fit the memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

import torch


class Holder(Protocol):
    """Something that keeps GPU memory which it can do without."""

    def release(self) -> None: ...


holders: WeakSet[Holder] = WeakSet()  # asked when memory runs out; who holds some adds itself


class Limit:
    """How many items at a time have fitted, where more did not; at first there is none."""

    items = sys.maxsize


_limits: WeakKeyDictionary[object, dict[Hashable, Limit]] = WeakKeyDictionary()


def limit_of(owner: object, key: Hashable) -> Limit:
    """The limit of one kind of an object's work (``key``), remembered as long as the object lives."""
    try:
        return _limits.setdefault(owner, {}).setdefault(key, Limit())
    except TypeError:  # it cannot be hashed, or not weakly referred to
        return Limit()


def in_micro_batches(count: int, size: int, work: Callable[[slice], None], limit: Limit) -> None:
    """Call ``work(some)`` over slices of ``range(count)``, at most ``size`` items each, until all are done.

    A micro-batch that runs out of GPU memory is done again in halves, and so are all that follow, also in later calls
    with the same ``limit``. ``work`` must give an item the same result in any micro-batch, also after a call that
    failed midway. Raises ``torch.cuda.OutOfMemoryError`` (of any device; its shorter name is torch 2.5's) when one item
    alone does not fit, nothing else being held.
    """
    start, again = 0, False
    while start < count:
        some = slice(start, min(start + min(size, limit.items), count))
        try:
            work(some)
        except torch.cuda.OutOfMemoryError:
            found = some.stop - start
            if found == 1 and (again or not holders):
                raise
            again, limit.items = found == 1, (found + 1) // 2
        else:
            start, again = some.stop, False
            continue
        release()  # here, where the exception no longer keeps the micro-batch's tensors alive


def release() -> None:
    """Free all GPU memory that can be done without, after some ran out."""
    while holders:
        holders.pop().release()
    torch.cuda.empty_cache()
