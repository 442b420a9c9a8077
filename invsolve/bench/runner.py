"""`invsolve bench`: restore and measure many pictures by every method; resumable, shared by processes."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from tqdm import tqdm

from operators import LinearOperator

from ..images.metrics import TRUNK_VARIABLE, Metric, load_metrics
from ..networks.inference import Inference
from ..priors.denoiser import PosteriorMean, Prior
from ..priors.file import read_checkpoint
from ..priors.registry import load_prior, resolve
from ..priors.training_record import largest_sigma
from ..runtime.device import choose_device
from ..runtime.processes import alone, count, joined, rank
from ..specs.task import Task, list_tasks, load_task
from .methods import Method, Tools, check_operator, make_method, network_of, networks_of
from .pictures import Pictures
from .restore import Bench, Job, restore
from .run_file import Definition, Record, check_folder, open_folder
from .store import append, is_last_writer, merge, own_path
from .store_reading import RESULTS, Key, read_results
from .summary import write_markdown, write_summary

RECORDED = ("steps", "size", "limit", "seed", "samples", "pictures", "precision")  # options that the results depend on


@dataclass(frozen=True)
class BenchOptions:
    """What the command line says; see ``invsolve bench --help``."""

    data: Path
    out: Path
    tasks: Sequence[str]  # names or files; "all" stands for the shipped ones
    methods: Sequence[str]
    steps: int = 4
    limit: int | None = None
    size: int = 256
    batch: int = 1
    prior: str = "default"
    denoiser: str = "teacher"
    seed: int = 0
    samples: int | None = None
    pictures: int = 4
    precision: str = "fp32"
    device: str = "auto"
    lpips_trunk: Path | None = None
    redo: Sequence[str] = ()


def bench(options: BenchOptions, say: Callable[[str], None] = print) -> None:
    """Do what is missing in ``options.out``; the process that does the last of it writes summary and report.

    What is there of the methods of ``options.redo`` at these tasks is dropped first. Under ``torchrun`` a process
    restores the pictures at the positions rank, rank + count, ... . They exchange no messages, but that all wait until
    the first has dropped: each writes a file of its own, and one that dies leaves a gap which a later run fills.
    While the first lives no other run is let into ``options.out``.

    Raises:
        ValueError: the first thing wrong with the options, the pictures or the directory, in one line.
    """
    for given, names in {"--tasks": options.tasks, "--methods": options.methods}.items():
        if not names:
            raise ValueError(f"{given}: the list is empty")
    for name in options.redo:
        if name not in options.methods:
            raise ValueError(f"--redo: {name} is not among --methods, which are {', '.join(options.methods)}")
    device = _own_device(options.device)
    pictures = Pictures(options.data, options.size, options.limit)
    jobs, provenances = prepare(options, device)
    metrics = load_metrics(options.lpips_trunk, device, say)
    record = _record(options, jobs, pictures, provenances, "lpips" in metrics)
    first_pictures = partial(_record_of_pictures, pictures)
    with alone(options.out):
        if options.redo:
            redo = {(job.task.name, name) for job in jobs for name in options.redo}
            # each for itself, so that none waits in vain for the first
            check_folder(options.out, record, first_pictures, redo)
            with joined(torch.device("cpu")):
                if rank() == 0:
                    open_folder(options.out, record, first_pictures, redo)
        open_folder(options.out, record, first_pictures)
        _complete(options, jobs, pictures, metrics, device, say)


def prepare(options: BenchOptions, device: torch.device) -> tuple[list[Job], dict[str, Record]]:
    """The tasks with their methods, and what ``run.json`` says of each network that these take."""
    networks = {name: _load(name, options, device) for name in sorted(networks_of(options.methods))}
    provenances = {network: _provenance(getattr(options, network)) for network in networks}
    return _make_jobs(options, networks, provenances, device), provenances


def definitions(jobs: Sequence[Job], provenances: Mapping[str, Record]) -> dict[str, dict[str, Definition]]:
    """What ``run.json`` says of each method at each task: its settings, and a digest of its network."""
    found: dict[str, dict[str, Definition]] = {}
    for job in jobs:
        for method in job.methods:
            found.setdefault(method.name, {})[job.task.name] = _definition(method, provenances)
    return found


def _complete(
    options: BenchOptions,
    jobs: list[Job],
    pictures: Pictures,
    metrics: dict[str, Metric],
    device: torch.device,
    say: Callable[[str], None],
) -> None:
    """Do what is missing of this process's share, and finish the benchmark if nothing is missing then."""
    wanted = {(job.task.name, method.name, name) for job in jobs for method in job.methods for name in pictures.names}
    missing = wanted - read_results(options.out).keys()
    own = own_path(options.out, rank(), count())
    work = Bench(pictures, jobs, metrics, options.seed, options.samples, options.pictures, options.out, device)
    wrote = _work(work, missing, own, options.batch)

    left = len(wanted - read_results(options.out).keys())
    if left:
        say(f"{left} of {len(wanted)} restorations are missing: other processes are at them, or repeat the command")
    elif is_last_writer(options.out, own) if wrote else rank() == 0 and not missing:
        _finish(options.out, say)


def _work(work: Bench, missing: set[Key], own: Path, batch: int) -> bool:
    """Do what is missing of this process's share; whether there was anything."""
    mine = set(work.pictures.names[rank() :: count()])
    share = {key for key in missing if key[2] in mine}
    due = {name for _, _, name in share}
    positions = [position for position, name in enumerate(work.pictures.names) if name in due]
    with tqdm(total=len(share), unit="restoration", disable=True if rank() > 0 else None) as bar:
        for first in range(0, len(positions), batch):
            for rows in restore(work, positions[first : first + batch], share):
                append(own, rows)
                bar.set_postfix_str(f"{rows[-1]['task']} {rows[-1]['method']}", refresh=False)
                bar.update(len(rows))
    return bool(share)


def _finish(folder: Path, say: Callable[[str], None]) -> None:
    from .report.page import write_report

    merge(folder)
    written = [write_summary(folder), write_markdown(folder), write_report(folder)]
    say(written[1].read_text(encoding="utf-8"))
    say(f"wrote {', '.join(map(str, [folder / RESULTS, *written]))}")


def _own_device(name: str) -> torch.device:
    """The device of this process: of several processes on one machine, each has a GPU, or they take turns."""
    device = choose_device(name)
    if device.type != "cuda" or count() == 1:
        return device
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _load(network: str, options: BenchOptions, device: torch.device) -> Prior:
    """The ``prior`` or the ``denoiser`` of the options."""
    name = getattr(options, network)
    loaded = load_prior(name, device, Inference(options.precision))
    if network == "denoiser" and not isinstance(loaded, PosteriorMean):
        raise ValueError(f"--denoiser {name}: is a generative denoiser but must be a plain one, as teacher is")
    return loaded


def _make_jobs(
    options: BenchOptions, networks: Mapping[str, Prior], provenances: Mapping[str, Record], device: torch.device
) -> list[Job]:
    shape = (3, options.size, options.size)
    largest = largest_sigma(provenances["denoiser"]["record"]) if "denoiser" in networks else math.inf
    tools = Tools(options.steps, options.seed, **networks, largest_sigma=largest)
    jobs: dict[str, Job] = {}
    for name in _task_names(options.tasks):
        task = load_task(name)
        if task.name in jobs:
            raise ValueError(f"--tasks: {name} is a second task of the name {task.name}")
        try:
            operator = task.make_operator(shape, seed=options.seed)
        except ValueError as error:
            raise ValueError(f"{task.name} at --size {options.size}: {error}") from None
        methods = [_make_method(method, task, operator, tools) for method in dict.fromkeys(options.methods)]
        jobs[task.name] = Job(task, operator.to(device), methods)
    return list(jobs.values())


def _task_names(given: Iterable[str]) -> list[str]:
    """Every name once, and the shipped tasks in the place of ``all``."""
    return list(dict.fromkeys(name for word in given for name in (list_tasks() if word == "all" else [word])))


def _make_method(name: str, task: Task, operator: LinearOperator, tools: Tools) -> Method:
    try:
        check_operator(name, operator)
    except ValueError as error:
        raise ValueError(f"{name} at {task.name}: {error}") from None
    return make_method(name, task, tools)


def _record(
    options: BenchOptions, jobs: Sequence[Job], pictures: Pictures, provenances: Mapping[str, Record], lpips: bool
) -> Record:
    """What ``run.json`` says: all that the figures depend on, and where they were computed."""
    device = choose_device(options.device)
    hardware = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    return {
        "data": options.data.resolve().name,
        "tasks": [job.task.name for job in jobs],
        "degradations": {job.task.name: _degradation(job.task) for job in jobs},
        "methods": list(dict.fromkeys(options.methods)),
        "definitions": definitions(jobs, provenances),
        "options": {name: getattr(options, name) for name in RECORDED},
        **_record_of_pictures(pictures, len(pictures)),
        "lpips": lpips,
        "lpips_sha256": _trunk_digest(options.lpips_trunk) if lpips else None,
        **provenances,
        "scale": "noise levels are for images on [-1, 1]",
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in ("invsolve", "torch")}},
        "device": hardware,
        "batch": options.batch,
    }


def _record_of_pictures(pictures: Pictures, first: int) -> Record:
    names = _digest("\n".join(pictures.names[:first]))
    return {"images": {"count": first, "names_sha256": names}, "pictures_sha256": pictures.digest(first)}


def _degradation(task: Task) -> Definition:
    """What defines the task's measurements."""
    return {"type": task.kind, **task.parameters, "sigma_y": task.sigma_y}


def _definition(method: Method, provenances: Mapping[str, Record]) -> Definition:
    """What a method's figures at a task depend on beside the measurements and the options of the run."""
    network = network_of(method.name)
    weights = {network: provenances[network]["sha256"][:12]} if network else {}
    return {**weights, **method.settings}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _trunk_digest(trunk: Path | None) -> str | None:
    """Of the file of AlexNet's weights; None for those that torchvision downloads."""
    path = trunk or os.environ.get(TRUNK_VARIABLE)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] if path else None


def _provenance(name: str) -> Record:
    path = resolve(name)
    header, _ = read_checkpoint(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": name, "sha256": digest, "kind": header["kind"], "record": header["record"]}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
