"""Libraries that are loaded only when they are asked for: optional ones, and those that need torchvision."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_optional(name: str, extra: str | None = None) -> ModuleType:
    """Import the library that an extra, of the same name by default, installs: ``invsolve[name]``.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    try:
        return import_with_torchvision(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(f'{name} is not installed: pip install "invsolve[{extra or name}]"', name=name) from None


def import_with_torchvision(name: str) -> ModuleType:
    """Import a library that imports torchvision; work around a torchvision whose compiled half does not load.

    A CPU build of torch beside PyPI's torchvision (built for CUDA) is a common pair. There ``import torchvision``
    fails with "operator torchvision::nms does not exist": its compiled operators are silently absent, yet it registers
    Python halves for two of them. Nothing here calls them, so declaring their names is enough. This is done only
    after that failure, since declaring them beside a working torchvision would be an error of its own.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]  # half-imported
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", NMS_SCHEMA)
    return importlib.import_module(name)
