"""What ``invsolve train`` and ``invsolve distill`` do, apart from parsing their arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data.training_set import classes_of, describe_data, held_out_images, read_data, training_spectrum
from ..networks.unet import UNet, UNetConfig, conditional_from
from ..priors.denoiser import Denoiser, GenerativeDenoiser
from ..priors.file import load_denoiser, save_denoiser
from ..priors.registry import resolve
from ..runtime import processes
from ..runtime.device import choose_device
from ..runtime.random_streams import NoiseStreams
from ..specs.recipe import DistillConfig, RunConfig, TrainConfig, load_config
from .discriminator import Discriminator
from .edm import denoising_psnr
from .exports import export_path, exports_missing, snapshot_due, snapshot_record
from .grids import PICTURES, denoised, drawn, write_grid
from .identity import identity, of_network, of_weights
from .loop import Checkpoints, train_loop
from .posthoc import snapshot_path
from .steps import DistillStep, TeacherStep, memory_format
from .trainee import Trainee

VALIDATION_LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def check_shares(path: str | Path, config: RunConfig) -> None:
    """Refuse a batch that the processes cannot share evenly."""
    if config.batch % (processes.count() * config.accumulate):
        shares = f"{processes.count()} processes of {config.accumulate} micro-batches"
        raise ValueError(f"{path}: batch {config.batch} cannot be shared evenly by {shares}")


def check_crop(path: str | Path, config: RunConfig, network: UNet, image_size: int | None = None) -> None:
    """Refuse crops of a size that the network would have to pad, or of another than the only one it knows."""
    if config.crop % network.multiple:
        raise ValueError(f"{path}: crop {config.crop} is no multiple of the network's {network.multiple}")
    if image_size not in (None, config.crop):
        raise ValueError(f"{path}: crop is {config.crop} but the network knows images of {image_size} pixels only")


def validate(denoiser: Denoiser, images: Tensor, labels: Tensor | None = None) -> dict[str, float]:
    """Denoising PSNR of the held-out images, if there are any, at each level, always with the same noise."""
    figures = {}
    for sigma in VALIDATION_LEVELS if len(images) else ():
        noise = NoiseStreams(0, range(len(images)), images.device)(images.shape[1:])
        figures[f"psnr_{sigma:g}"] = round(denoising_psnr(denoiser, images, sigma, noise, labels), 3)
    return figures


def training_record(config: RunConfig, step: int, **extra: object) -> dict:
    """What a weights' file says about its making."""
    recipe = {k: v for k, v in asdict(config).items() if k not in ("license", "data")}
    shared = {"license": config.license, "data": config.data, "images_seen": step * config.batch}
    return {**shared, **extra, "recipe": recipe}


def class_record(data: Sequence[str], classes: int) -> dict[str, list[str]]:
    """``{"classes": names in order}`` where the data's folders name them, for the record."""
    names = classes_of(data, classes)
    return {"classes": names} if names else {}


def agreed_classes(data: Sequence[str], classes: int, records: Mapping[str, dict]) -> dict[str, list[str]]:
    """:func:`class_record`, or where the data names no classes that of the weights, whose records have owners as keys.

    Raises ValueError where two of them name different classes.
    """
    owner, agreed = "the data's", class_record(data, classes)
    for name, record in records.items():
        known = record.get("classes")
        if known and agreed.get("classes", known) != known:
            raise ValueError(f"{owner} classes are {', '.join(agreed['classes'])} but {name} {', '.join(known)}")
        if known and not agreed:
            owner, agreed = name, {"classes": known}
    return agreed


def cache_folder(cache: str | Path | None, out: Path) -> Path:
    return out / "cache" if cache is None else Path(cache)


def check_folders(out: Path, cache: str | Path | None, device: torch.device) -> None:
    """Refuse folders that not all processes share; before ``read_data``, where they wait for the first one's files."""
    for folder in (out, cache_folder(cache, out)):
        processes.check_shared(folder, device)


@dataclass(frozen=True)
class Traits:
    """What a generator's file says of it beside its weights and their making; see ``save_denoiser``."""

    sigma_data: float
    gamma: float
    spectrum: Tensor | None
    image_size: int | None

    @classmethod
    def of(cls, denoiser: Denoiser, header: dict, spectrum: Tensor | None) -> Traits:
        """Those of a loaded file."""
        return cls(denoiser.sigma_data, header["gamma"], spectrum, header.get("image_size"))

    def numbers(self) -> dict[str, float | None]:
        return {"sigma_data": self.sigma_data, "gamma": self.gamma, "image_size": self.image_size}


def generator_to_continue(path: str | Path, start: UNet, traits: Traits) -> tuple[UNet, dict]:
    """Network and record of a generator to go on with: of the same kind as ``start``, made of the teacher."""
    found, header, spectrum = load_denoiser(resolve(path), train=True)
    given = {**asdict(found.network.config), **Traits.of(found, header, spectrum).numbers()}
    expected = {**asdict(start.config), **traits.numbers()}
    for name, value in expected.items():
        if given[name] != value:
            raise ValueError(f"{path}: {name} is {given[name]} but must be {value}, as of the teacher or configuration")
    return found.network, header["record"]


def export_generator(
    out: Path,
    settings: RunConfig,
    trainee: Trainee,
    step: int,
    traits: Traits,
    extra: dict[str, object],
    this: dict[str, object],
) -> Denoiser:
    """Write a generator's averages as they are after ``step``; returns the one that is the training's result.

    ``extra`` belongs to the record, ``this`` is the identity of the training, for the snapshots.
    """
    beside = {"gamma": traits.gamma, "spectrum": traits.spectrum, "image_size": traits.image_size}
    for average in reversed(trainee.averages):
        denoiser = Denoiser(average.network, traits.sigma_data)
        record = training_record(settings, step, **extra, ema=average.std)
        save_denoiser(export_path(out, "generator", average.std), denoiser, record, **beside)
        if snapshot_due(settings, trainee, step):
            record |= snapshot_record(trainee, this)
            save_denoiser(snapshot_path(out, step, average.std), denoiser, record, **beside, normalized=False)
    return denoiser


def train(
    config: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
    cache: str | Path | None = None,
) -> Path:
    """Train an EDM teacher; returns the exported weights' path, ``out/denoiser-ema*.safetensors``.

    ``cache`` is the folder for decoded pictures that do not fit into memory, ``out/cache`` by default.

    Raises:
        ValueError: naming what is wrong with the configuration, the data or the state left in ``out``.
    """
    settings, out = load_config(config, TrainConfig), Path(out)
    with processes.joined(choose_device(device)) as where:
        check_shares(config, settings)
        torch.manual_seed(settings.seed)
        try:
            shape = UNetConfig(**asdict(settings.network))
        except ValueError as error:
            raise ValueError(f"{config}: network: {error}") from None
        network = UNet(shape).to(where, memory_format=memory_format(settings, where))
        check_crop(config, settings, network)
        check_folders(out, cache, where)
        crops, *rest = read_data(data, settings, cache_folder(cache, out), shape.labels)
        held_out = held_out_images(*rest, settings.crop, shape.labels, where)
        extra = class_record(data, shape.labels)
        trainee = Trainee(network, settings.learning_rate, settings.betas, settings.ema)
        this = identity("train", settings, describe_data(data, shape.labels), **of_network(shape))
        missing = partial(exports_missing, out, "denoiser", settings, trainee, this)
        spectrum = training_spectrum(crops)
        step = TeacherStep(Denoiser(network), trainee, settings)

        def checkpoint(number: int) -> dict[str, float]:
            figures = {}
            for average in reversed(trainee.averages):
                denoiser = Denoiser(average.network)
                figures = validate(denoiser, held_out.images, held_out.labels)
                path = export_path(out, "denoiser", average.std)
                record = training_record(settings, number, **extra, validation=figures, ema=average.std)
                save_denoiser(path, denoiser, record, spectrum=spectrum)
                if snapshot_due(settings, trainee, number):
                    record = training_record(settings, number, **extra, ema=average.std)
                    record |= snapshot_record(trainee, this)
                    path = snapshot_path(out, number, average.std)
                    save_denoiser(path, denoiser, record, spectrum=spectrum, normalized=False)
            if len(held_out.images):
                shown = held_out.first(PICTURES)
                write_grid(out, number, denoised(denoiser, shown.images, shown.labels))
            return figures

        checkpoints = Checkpoints(out, this, checkpoint, missing)
        with processes.alone(out):
            train_loop(settings, crops, {"teacher": trainee}, step, checkpoints, where, max_minutes)
        return export_path(out, "denoiser", settings.ema[0])


def distill(
    config: str | Path,
    teacher: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
    generator: str | Path | None = None,
    cache: str | Path | None = None,
) -> Path:
    """Distil a teacher into a generative denoiser; returns the exported weights' path, ``out/generator-ema*``.

    ``generator`` is a prior to go on with instead of the teacher's own weights. The fake denoiser starts from the
    teacher all the same: for a generator that draws from the posterior it is the posterior mean, which the teacher
    computes, while the generator's weights compute a draw. ``cache`` is as for :func:`train`.

    Raises:
        ValueError: naming what is wrong with the configuration, the teacher, the data or the state left in ``out``.
    """
    settings, out = load_config(config, DistillConfig), Path(out)
    with processes.joined(choose_device(device)) as where:
        check_shares(config, settings)
        torch.manual_seed(settings.seed)
        source, header, spectrum = load_denoiser(resolve(teacher), train=True)
        if source.network.config.conditional:
            raise ValueError(f"{teacher} is a {header['kind']}; a teacher is a plain denoiser")
        traits = replace(Traits.of(source, header, spectrum), gamma=settings.gamma)
        check_crop(config, settings, source.network, traits.image_size)
        classes = source.network.config.labels
        starts = [conditional_from(source.network, settings.conditioning) for _ in range(3)]
        records, extra = {"the teacher's": header["record"]}, {}
        if generator is not None:
            starts[0], extra["continues"] = generator_to_continue(generator, starts[0], traits)
            records["the generator's"] = extra["continues"]
        extra |= agreed_classes(data, classes, records)
        check_folders(out, cache, where)
        crops, *rest = read_data(data, settings, cache_folder(cache, out), classes)
        origins = {"teacher": of_weights(source.network), "sigma_data": source.sigma_data}
        origins["generator"] = "none" if generator is None else of_weights(starts[0])
        this = identity("distill", settings, describe_data(data, classes), **origins)
        held_out = held_out_images(*rest, settings.crop, classes, where).first(PICTURES)
        layout = memory_format(settings, where)
        source = source.eval().requires_grad_(False).to(where, memory_format=layout)
        drawing, fake, judge = (network.to(where, memory_format=layout) for network in starts)
        discriminator = Discriminator(judge, source.sigma_data).to(where)
        trainees = {
            "generator": Trainee(drawing, settings.generator_rate, settings.betas, settings.ema),
            "fake": Trainee(fake, settings.fake_rate, settings.betas),
            "discriminator": Trainee(discriminator, settings.discriminator_rate, settings.betas),
        }
        trainee = trainees["generator"]
        missing = partial(exports_missing, out, "generator", settings, trainee, this)
        student = GenerativeDenoiser(Denoiser(drawing, source.sigma_data), settings.gamma)
        step = DistillStep(student, Denoiser(fake, source.sigma_data), discriminator, source, trainees, settings)

        def checkpoint(number: int) -> dict[str, float]:
            record = {**extra, "teacher": header["record"]}
            denoiser = export_generator(out, settings, trainee, number, traits, record, this)
            if len(held_out.images):
                averaged = GenerativeDenoiser(denoiser, settings.gamma)
                write_grid(out, number, drawn(averaged, held_out.images, held_out.labels))
            return {}

        checkpoints = Checkpoints(out, this, checkpoint, missing)
        with processes.alone(out):
            train_loop(settings, crops, trainees, step, checkpoints, where, max_minutes)
        return export_path(out, "generator", settings.ema[0])
