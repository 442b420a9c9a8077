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
    unlisted = [source for source in sources if not source.has(LABELS_FILE)]
    return sorted({name.split("/")[0] for source in unlisted for name in source.names if "/" in name})


def class_labels(sources: Sequence[Source], classes: int) -> list[list[int]]:
    """Class, from 0 to ``classes`` - 1, of every picture of every source; empty lists for no classes.

    Raises:
        ValueError: a picture has no class, or one out of range.
    """
    if not classes:
        return [[] for _ in sources]
    names = {name: number for number, name in enumerate(class_names(sources))}
    found = [_listed(source) if source.has(LABELS_FILE) else _by_folder(source, names) for source in sources]
    for source, labels in zip(sources, found, strict=True):
        if max(labels) >= classes:
            raise ValueError(f"{source.path} has class {max(labels)} but the network has labels: {classes}")
    return found


def _by_folder(source: Source, names: dict[str, int]) -> list[int]:
    for name in source.names:
        if "/" not in name:
            raise ValueError(
                f"{source.path}: {name} lies in no folder that names its class; nor is there {LABELS_FILE}"
            )
    return [names[name.split("/")[0]] for name in source.names]


def _listed(source: Source) -> list[int]:
    where = f"{source.path}/{LABELS_FILE}"
    try:
        listed = dict(json.loads(source.read(LABELS_FILE))["labels"])
    except (ValueError, LookupError, TypeError):
        raise ValueError(f'{where}: expected {{"labels": [["path", class], ...]}}') from None
    for name in source.names:
        label = listed.get(name)
        if type(label) is not int or label < 0:
            raise ValueError(f"{where}: the class of {name} is {label!r} but must be an integer of at least 0")
    return [listed[name] for name in source.names]


def one_hot(labels: Tensor, classes: int) -> Tensor | None:
    """``[B]`` class numbers as the network's ``[B, classes]``, negative ones as zeros; None where it has no classes."""
    if not classes:
        return None
    return F.one_hot(labels.clamp_min(0), classes).float() * (labels >= 0)[:, None]


def dropped(labels: Tensor, normals: Tensor, probability: float) -> Tensor:
    """``labels`` ``[B]``, with -1 in place of a share of them, chosen by standard normals ``[B]``."""
    return torch.where(torch.special.ndtr(normals) < probability, -1, labels)
