"""Where the files that come with the package lie."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """The folder ``tasks`` or ``checkpoints``: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
