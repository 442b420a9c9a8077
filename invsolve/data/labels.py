"""Class labels of training pictures, from a ``dataset.json`` or from the names of folders."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .sources import Source

LABELS_FILE = "dataset.json"  # {"labels": [["path", 3], ...]}, as EDM2's zip files hold it


def class_names(sources: Sequence[Source]) -> list[str]:
    """Names of the top folders, sorted, of all sources without a labels file: class k is the k-th of them."""
    folders = {name.split("/")[0] for source in _by_folder(sources) for name in source.names if "/" in name}
    return sorted(folders)


def class_labels(sources: Sequence[Source], classes: int) -> list[list[int]]:
    """Class, from 0 to ``classes`` - 1, of every picture of every source; empty lists for no classes.

    Raises:
        ValueError: a picture has no class, or one out of range.
    """
    if not classes:
        return [[] for _ in sources]
    numbers = {name: number for number, name in enumerate(class_names(sources))}
    found = [_listed(source) if source.has(LABELS_FILE) else _folders(source, numbers) for source in sources]
    for source, labels in zip(sources, found, strict=True):
        if max(labels) >= classes:
            raise ValueError(f"{source.path} has class {max(labels)} but the network has labels: {classes}")
    return found


def _by_folder(sources: Sequence[Source]) -> list[Source]:
    return [source for source in sources if not source.has(LABELS_FILE)]


def _folders(source: Source, numbers: dict[str, int]) -> list[int]:
    outside = [name for name in source.names if "/" not in name]
    if outside:
        raise ValueError(
            f"{source.path}: {outside[0]} lies in no folder that names its class; nor is there {LABELS_FILE}"
        )
    return [numbers[name.split("/")[0]] for name in source.names]


def _listed(source: Source) -> list[int]:
    where = f"{source.path}/{LABELS_FILE}"
    try:
        listed = dict(json.loads(source.read(LABELS_FILE))["labels"])
    except (ValueError, LookupError, TypeError):
        raise ValueError(f'{where}: expected {{"labels": [["path", class], ...]}}') from None
    for name in source.names:
        if type(listed.get(name)) is not int or listed[name] < 0:
            raise ValueError(
                f"{where}: the class of {name} is {listed.get(name)!r} but must be an integer of at least 0"
            )
    return [listed[name] for name in source.names]


def one_hot(labels: Tensor, classes: int) -> Tensor | None:
    """``[B]`` class numbers as the network's ``[B, classes]``, negative ones as zeros; None where it has no classes."""
    if not classes:
        return None
    return F.one_hot(labels.clamp_min(0), classes).float() * (labels >= 0)[:, None]


def dropped(labels: Tensor, normals: Tensor, probability: float) -> Tensor:
    """``labels`` ``[B]``, with -1 in place of a share of them, chosen by standard normals ``[B]``."""
    return torch.where(torch.special.ndtr(normals) < probability, -1, labels)
