"""What is measured of an operator once and kept as long as the operator is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakKeyDictionary

from operators import LinearOperator

Measured = TypeVar("Measured")

_kept: WeakKeyDictionary[LinearOperator, dict[str, tuple[Hashable, object]]] = WeakKeyDictionary()


def once_per_operator(operator: LinearOperator, name: str, key: Hashable, measure: Callable[[], Measured]) -> Measured:
    """``measure()``, or what it gave for the same operator, buffers, name and key: the last one is kept."""
    key = (tuple((buffer.data_ptr(), buffer._version) for buffer in operator.buffers()), key)
    known = _kept.setdefault(operator, {})
    if name not in known or known[name][0] != key:
        known[name] = (key, measure())
    return known[name][1]
