"""Work in portions that fit the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch


def in_portions(count: int, size: int, work: Callable[[slice], None]) -> None:
    """Call ``work(portion)`` over slices of ``range(count)``, ``size`` items each, until all are done.

    A portion that runs out of GPU memory is done again in halves, and so are all that follow. ``work`` must give an
    item the same result in any portion. Raises ``torch.OutOfMemoryError`` when one item alone does not fit.
    """
    start = 0
    while start < count:
        portion = slice(start, min(start + size, count))
        try:
            work(portion)
        except torch.OutOfMemoryError:
            found = portion.stop - start
            if found == 1:
                raise
            size = (found + 1) // 2
        else:
            start = portion.stop
            continue
        torch.cuda.empty_cache()  # here, where the exception no longer keeps the portion's tensors alive
