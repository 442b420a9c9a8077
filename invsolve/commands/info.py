"""`invsolve info`: the tasks, the priors and the recipes of trainings."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("info", help="list the tasks, the priors and the recipes of trainings")
    parser.set_defaults(command=_info)


def _info(arguments: argparse.Namespace) -> None:
    from ..foreign.hub import PUBLISHED
    from ..priors.registry import list_priors, resolve
    from ..specs.recipe import RECIPES
    from ..specs.task import list_tasks, load_task

    print("Tasks (noise levels are for images on [-1, 1]):")
    for name in list_tasks():
        task = load_task(name)
        print(f"  {name:<16} {task.description}; sigma_y {task.sigma_y:g}")
    print("Priors:")
    for name, description in list_priors():
        absent = "" if resolve(name).is_file() else " (its file is not here)"
        print(f"  {name:<16} {description}{absent}")
    for name, published in PUBLISHED.items():
        print(f"  {name:<16} {published.description}")
    print("Recipes of trainings:")
    for name, (command, description) in RECIPES.items():
        print(f"  {name:<26} invsolve {command}: {description}")
