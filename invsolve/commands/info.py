"""`invsolve info`: the tasks, the priors and the recipes of trainings."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "info",
        help="list the tasks, the priors and the recipes of trainings",
        description="List the tasks, the priors and the recipes of trainings, or show one task with its parameters.",
    )
    parser.add_argument("task", nargs="?", metavar="TASK", help="name of a shipped task or a YAML file: show this one")
    parser.set_defaults(command=_info)


def _info(arguments: argparse.Namespace) -> None:
    if arguments.task is None:
        _list()
    else:
        _show(arguments.task)


def _show(name: str) -> None:
    """One task: what ``invsolve run --set`` can change, and what it takes of the user's."""
    from ..specs.fields import NoiseLevel, described, field_types
    from ..specs.task import load_task

    task = load_task(name)
    print(f"{task.name}: {task.description}")
    print(f"  operator: {task.kind}; change its parameters by invsolve run {name} --set NAME=VALUE")
    for group, part in (("operator", task.degradation), ("noise", task.noise_kind)):
        hints = {} if part is None else field_types(type(part))
        for key, hint in hints.items():
            name = f"{group}.{key}"
            print(f"    {name:<21} {getattr(part, key)!s:<10} {described(hint)}")
    if task.is_white:
        level = f"{described(NoiseLevel)}; noise, for images on [-1, 1]; or --sigma"
        print(f"    {'sigma_y':<21} {task.sigma_y!s:<10} {level}")
    takes = {"mask": "--mask FILE, --mask-color or transparent pixels", "kernel": "--kernel FILE"}
    if task.degradation.takes:
        print(f"  a degraded picture brings its own {task.degradation.takes}: {takes[task.degradation.takes]}")
    levels = sorted({stage.sigma_y for stage in task.stages})
    tuned = f"tuned for noise near {' and '.join(f'{level:g}' for level in levels)}, else " if levels else ""
    print(f"  settings: {tuned}chosen for the operator and the noise")


def _list() -> None:
    from ..foreign.hub import PUBLISHED
    from ..priors.registry import list_priors, resolve
    from ..specs.recipe import RECIPES
    from ..specs.task import list_tasks, load_task

    print("Tasks (noise levels are for images on [-1, 1]):")
    for name in list_tasks():
        task = load_task(name)
        noise = f"; sigma_y {task.sigma_y:g}" if task.is_white else ""
        print(f"  {name:<16} {task.description}{noise}")
    print("Priors:")
    for name, description in list_priors():
        absent = "" if resolve(name).is_file() else " (its file is not here)"
        print(f"  {name:<16} {description}{absent}")
    for name, published in PUBLISHED.items():
        print(f"  {name:<16} {published.description}")
    print("Recipes of trainings:")
    for name, (command, description) in RECIPES.items():
        print(f"  {name:<26} invsolve {command}: {description}")
