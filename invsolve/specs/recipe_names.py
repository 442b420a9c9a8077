"""The shipped configurations of trainings, by name."""

from __future__ import annotations

from pathlib import Path

from ..priors.registry import checkpoints_folder
from .validation import suggestion

# name, of a YAML file in checkpoints/: (command, what it is)
RECIPES = {
    "default-teacher": ("train", "how the prior teacher was trained"),
    "default-distill": ("distill", "how it became a generative denoiser"),
    "default-finetune": ("finetune", "how that became the prior default"),
    "published-ffhq256-teacher": ("train", "a teacher of the published size, for FFHQ at 256 pixels"),
    "published-ffhq256-distill": ("distill", "the published distillation of such a teacher"),
}


def find_recipe(name_or_path: str, command: str) -> Path:
    """The file of a shipped configuration of ``invsolve COMMAND``, or any other as it is given.

    Raises:
        ValueError: there is no such configuration, nor a file.
    """
    known = [name for name, (of, _) in RECIPES.items() if of == command]
    if name_or_path in known:
        return checkpoints_folder() / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    advice = f"{suggestion(name_or_path, known)} (or give the path of a .yaml file)"
    raise ValueError(f"no configuration {name_or_path!r} of invsolve {command}{advice}")
