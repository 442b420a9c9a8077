"""The task that the options of `invsolve run` ask for, and whether what they bring is of use to it."""

from __future__ import annotations

import math
from dataclasses import replace

from ..images.mask_and_kernel import colour_channels
from ..specs.degradations import Blur, SuperResolution
from ..specs.options import RunOptions
from ..specs.task import Task, load_task


def choose_task(options: RunOptions) -> Task:
    """The task with what the options change of it.

    A picture that was really blurred does not wrap around at its edges: for it a task's boundary, where that is
    circular, becomes valid.

    Raises:
        ValueError: an option is of no use to the task, or one that it needs is missing.
    """
    task = load_task(options.task)
    blurs, enlarges = (isinstance(task.degradation, kind) for kind in (Blur, SuperResolution))
    changes = [*options.changes]
    if options.factor is not None:
        changes.append(f"operator.factor={options.factor}")
    elif options.outscale is not None and enlarges:
        changes.append(f"operator.factor={math.ceil(options.outscale)}")
    _refuse_what_is_of_no_use(task, options, blurs, enlarges)
    task = load_task(options.task, changes)
    if blurs:
        boundary = options.boundary or task.degradation.boundary
        if options.boundary is None and boundary == "circular" and not options.simulate:
            boundary = "valid"
        if options.keep_margin and boundary != "valid":
            raise ValueError(f"--keep-margin: at boundary {boundary} the picture has no margin; it has at valid")
        task = replace(task, degradation=replace(task.degradation, boundary=boundary))
    return task


def _refuse_what_is_of_no_use(task: Task, options: RunOptions, blurs: bool, enlarges: bool) -> None:
    degradation, real = task.degradation, not options.simulate
    masks, kernels = degradation.takes == "mask", degradation.takes == "kernel"
    brought = options.mask is not None or options.mask_color is not None
    taken = {
        "--sigma": (options.sigma is not None, task.is_white),
        "--mask": (options.mask is not None, masks),
        "--mask-color": (options.mask_color is not None, masks and real),
        "--invert-mask": (options.invert_mask, masks and (real or brought)),
        "--fit-mask": (options.fit_mask, masks and (real or brought)),
        "--kernel": (options.kernel is not None, kernels),
        "--boundary": (options.boundary is not None, blurs),
        "--keep-margin": (options.keep_margin, blurs and real),
        "--factor": (options.factor is not None, enlarges),
        "--outscale": (options.outscale is not None, enlarges and real),
    }
    for flag, (given, useful) in taken.items():
        if given and not useful:
            raise ValueError(f"the task {task.name} takes no {flag}" + ("" if real else " with --simulate"))
    if options.mask is not None and options.mask_color is not None:
        raise ValueError("--mask and --mask-color both say what is missing: give one of them")
    if real and degradation.random and kernels and options.kernel is None:
        raise ValueError(f"{task.name} needs --kernel FILE: the blur of a blurred picture is not known")
    if options.mask_color is not None:
        colour_channels(options.mask_color)
