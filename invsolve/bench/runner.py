"""`invsolve bench`: restore and measure many pictures by every method; resumable, shared by processes."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from itertools import chain
from pathlib import Path

import torch
from tqdm import tqdm

from ..images.metrics import TRUNK_VARIABLE, load_metrics
from ..networks.inference import Inference
from ..priors.denoiser import PosteriorMean
from ..priors.file import read_checkpoint, sha256
from ..priors.registry import SAMPLERS, load_prior, resolve
from ..runtime import random_streams
from ..runtime.processes import alone, count, joined, own_device, rank
from ..specs.options import BenchOptions
from ..specs.task import Task, list_tasks, load_task
from .further import FID, Fid, fids, load_fid, load_further
from .methods import ALL_BASELINES, Tools, make_method, methods_at, network_of
from .pictures import Pictures, Size, written
from .restore import Bench, Job, restore
from .run_file import Definition, Record, check_folder, digest, open_folder, pictures_record
from .statistics import read_benchmark
from .store import RESULTS, append, is_last_writer, merge, own_path, read_results
from .summary import write_markdown, write_summary

RECORDED = (
    "steps",
    "size",
    "reduce",
    "limit",
    "seed",
    "samples",
    "pictures",
    "metrics",
)  # options that the results depend on
KEPT = 8  # sizes of pictures


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
        if name not in options.methods and not (ALL_BASELINES in options.methods and name.startswith("baseline:")):
            raise ValueError(f"--redo: {name} is not among --methods, which are {', '.join(options.methods)}")
    device = own_device(options.device)
    pictures = Pictures(options.data, options.size, options.reduce, options.limit)
    further = load_further(options.metrics, device)
    fid = load_fid(device) if FID in options.metrics else None
    if fid and options.pictures < len(pictures):
        raise ValueError(f"--metrics {FID}: is measured on the written pictures: add --pictures {len(pictures)}")
    jobs, networks = prepare(options, device)
    metrics = load_metrics(options.lpips_trunk, device, say) | further
    record = _record(options, device, jobs, pictures, networks, "lpips" in metrics)
    redo = {
        (task.name, name)
        for task in jobs.tasks
        for name in methods_at(task, options.redo)
        if name in jobs.methods[task.name]
    }
    with alone(options.out):
        if redo:
            check_folder(options.out, record, pictures, redo)  # each for itself, so that none waits for one that failed
            with joined(torch.device("cpu")):
                if rank() == 0:
                    open_folder(options.out, record, pictures, redo)
        open_folder(options.out, record, pictures)
        _complete(Bench(options, pictures, jobs.at, metrics, device), jobs, fid, say)


class Jobs:
    """The tasks with their operators and methods, made once for each size of pictures that comes up.

    Those of the last ``KEPT`` sizes are kept: operators of large pictures hold much memory.
    """

    def __init__(self, tasks: Sequence[Task], words: Sequence[str], tools: Tools, device: torch.device):
        self.tasks, self._tools, self._device = tasks, tools, device
        self.methods = {task.name: methods_at(task, words) for task in tasks}
        self.at = lru_cache(maxsize=KEPT)(self._at)

    def _at(self, size: Size) -> list[Job]:
        """Those for pictures of a size. Raises ValueError where a task or a method cannot be had at it."""
        return [self._job(task, size) for task in self.tasks]

    def cut(self, sizes: Iterable[Size]) -> dict[str, dict[str, str]]:
        """Of each task the sizes of pictures that it cannot take, and what is left of them."""
        found: dict[str, dict[str, str]] = {}
        for task in self.tasks:
            for size in sizes:
                if (kept := _kept(task, size)) != size:
                    found.setdefault(task.name, {})[written(size)] = written(kept)
        return found

    def _job(self, task: Task, size: Size) -> Job:
        try:
            operator = task.make_operator((3, *_kept(task, size)), seed=self._tools.seed)
        except ValueError as error:
            raise ValueError(f"{task.name} of pictures of {written(size)} pixels: {error}") from None
        methods = [make_method(name, task, operator, self._tools) for name in self.methods[task.name]]
        return Job(task, operator.to(self._device), methods)


def _kept(task: Task, size: Size) -> Size:
    """What a task takes of pictures of a size: their sides down to its multiples."""
    height, width = (side - side % unit for side, unit in zip(size, task.degradation.multiples, strict=True))
    return height, width


def prepare(options: BenchOptions, device: torch.device) -> tuple[Jobs, dict[str, Record]]:
    """The tasks with their methods, and what ``run.json`` says of each network that these take."""
    names = {network: getattr(options, network) for method in options.methods if (network := network_of(method))}
    loaded = {network: load_prior(name, device, Inference(options.precision)) for network, name in names.items()}
    if not isinstance(loaded.get("denoiser"), PosteriorMean | None):
        raise ValueError(
            f"--denoiser {options.denoiser}: is a generative denoiser but must be a plain one, as teacher is"
        )
    networks = {network: _provenance(name) for network, name in names.items()}
    largest = loaded["denoiser"].largest_sigma if "denoiser" in loaded else math.inf
    tools = Tools(options.steps, options.seed, **loaded, largest_sigma=largest)
    tasks: dict[str, Task] = {}
    for name in dict.fromkeys(name for word in options.tasks for name in (list_tasks() if word == "all" else [word])):
        task = load_task(name)
        if task.name in tasks:
            raise ValueError(f"--tasks: {name} is a second task of the name {task.name}")
        tasks[task.name] = task
    return Jobs(list(tasks.values()), options.methods, tools, device), networks


def definitions(
    jobs: Jobs, sizes: Iterable[Size], networks: Mapping[str, Record], precision: str
) -> dict[str, dict[str, Definition]]:
    """What each method's figures at each task depend on beside the measurements and the options of the run.

    Settings that are chosen for an operator may differ between the sizes of the pictures: then by size.
    """
    found: dict[str, dict[str, dict[str, Definition]]] = {}  # method, task, size
    for size in sizes:
        for job in jobs.at(size):
            for method in job.methods:
                network = network_of(method.name)
                weights = {network: networks[network]["sha256"][:12], "precision": precision} if network else {}
                if method.settings.get("gamma") != 0 and "sampler" in networks.get(network, {}):
                    weights["sampler"] = networks[network]["sampler"]["sha256"][:12]
                by_size = found.setdefault(method.name, {}).setdefault(job.task.name, {})
                by_size[written(size)] = {**weights, **method.settings}
    return {
        method: {task: _one_if_alike(by_size) for task, by_size in tasks.items()} for method, tasks in found.items()
    }


def _one_if_alike(by_size: Mapping[str, Definition]) -> Definition:
    first = next(iter(by_size.values()))
    return first if all(definition == first for definition in by_size.values()) else by_size


def _complete(work: Bench, jobs: Jobs, fid: Fid | None, say: Callable[[str], None]) -> None:
    """Do what is missing of this process's share, and finish the benchmark if nothing is missing then."""
    out, names = work.options.out, work.pictures.names
    wanted = {(task, method, name) for task, methods in jobs.methods.items() for method in methods for name in names}
    missing = wanted - read_results(out).keys()
    mine = set(names[rank() :: count()])
    share = {key for key in missing if key[2] in mine}
    due = {name for _, _, name in share}
    positions = [position for position, name in enumerate(names) if name in due]
    own = own_path(out, rank(), count())
    with tqdm(total=len(share), unit="restoration", disable=True if rank() > 0 else None) as bar:
        for some in _batches(positions, work.pictures, work.options.batch):
            for rows in restore(work, some, share):
                append(own, rows)
                bar.set_postfix_str(f"{rows[-1]['task']} {rows[-1]['method']}", refresh=False)
                bar.update(len(rows))

    left = len(wanted - read_results(out).keys())
    if left:
        say(f"{left} of {len(wanted)} restorations are missing: other processes are at them, or repeat the command")
    elif is_last_writer(out, own) if share else rank() == 0 and not missing:
        _finish(out, fid, say)


def _batches(positions: Sequence[int], pictures: Pictures, count: int) -> Iterator[list[int]]:
    """At most ``count`` pictures of one size at a time: all of the first one's size, then all of the next's."""
    of_size: dict[Size, list[int]] = {}
    for position in positions:
        of_size.setdefault(pictures.sizes[pictures.names[position]], []).append(position)
    for alike in of_size.values():
        for first in range(0, len(alike), count):
            yield alike[first : first + count]


def _finish(folder: Path, fid: Fid | None, say: Callable[[str], None]) -> None:
    from .report.page import write_report

    merge(folder)
    distances = fids(read_benchmark(folder), fid) if fid else {}
    written = [write_summary(folder, distances), write_markdown(folder, distances), write_report(folder)]
    say(written[1].read_text(encoding="utf-8"))
    say(f"wrote {', '.join(map(str, [folder / RESULTS, *written]))}")


def _provenance(name: str) -> Record:
    path = resolve(name)
    header, _ = read_checkpoint(path)
    found = {"name": name, "sha256": sha256(path), "kind": header["kind"], "record": header["record"]}
    return found | ({"sampler": _provenance(SAMPLERS[name])} if name in SAMPLERS else {})


def _record(
    options: BenchOptions,
    device: torch.device,
    jobs: Jobs,
    pictures: Pictures,
    networks: Mapping[str, Record],
    lpips: bool,
) -> Record:
    """What ``run.json`` says: all that the figures depend on, and where they were computed."""
    cuda = device.type == "cuda"
    trunk = options.lpips_trunk or os.environ.get(TRUNK_VARIABLE)
    return {
        "data": options.data.resolve().name,
        "tasks": [task.name for task in jobs.tasks],
        "degradations": {
            task.name: {"type": task.kind, **task.parameters, **_noise_record(task)} for task in jobs.tasks
        },
        "methods": list(dict.fromkeys(chain.from_iterable(jobs.methods.values()))),
        "definitions": definitions(jobs, dict.fromkeys(pictures.sizes.values()), networks, options.precision),
        "options": {name: getattr(options, name) for name in RECORDED}
        | {"metrics": list(options.metrics), "noise": random_streams.VERSION},
        **pictures_record(pictures, len(pictures)),
        "cut": jobs.cut(dict.fromkeys(pictures.sizes.values())),
        "lpips": lpips,
        "lpips_sha256": digest(Path(trunk).read_bytes()) if lpips and trunk else None,
        **networks,
        "scale": "noise levels are for images on [-1, 1]",
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in ("invsolve", "torch")}},
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads",
        "batch": options.batch,
    }


def _noise_record(task: Task) -> Record:
    """The noise of a task's measurements, as ``run.json`` says it."""
    kind = task.noise_kind
    other = {} if kind is None else {"noise": {"type": type(kind).__name__, **asdict(kind)}}
    return {"sigma_y": task.sigma_y, **other}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
