"""The shipped prior's training within minutes of a GPU: packed before, stopped by the clock, brought back.

Pictures and weights travel to the machine as files of at most 60 MB, and weights from it in pieces of at most 16 MiB.
It needs this repository's code, not installed, with torch, numpy, scipy, pillow, pyyaml, safetensors and tqdm. At home,
the last pictures by name of each folder left out, as many as it says:

    python benchmarks/prior_gpu.py pack --faces FFHQ/train:32 SYNTHETIC --photos PHOTOS:64 BSDS/train --out parts
    python benchmarks/prior_gpu.py rehearse --faces FFHQ/train:32 --photos PHOTOS:64 --out /tmp/rehearsal

``rehearse`` does all of this on a CPU within two minutes, at a tiny size. Then on the machine, at the repository's top:

    export PYTHONPATH=.
    python3 benchmarks/prior_gpu.py train default --parts parts --work runs/gpu --out OUT --minutes 5
    python3 benchmarks/prior_gpu.py train sampler --parts parts --work runs/gpu --out OUT --minutes 4
    python3 benchmarks/prior_gpu.py train teacher --parts parts --work runs/gpu --out OUT --minutes 3

Each goes on from the weights in ``parts``, or from others by ``--weights``, and from its own state in ``--work`` where
that is still there. ``--minutes`` is the training's time, of which ``torch.compile`` takes one; reading the pictures
and writing the weights takes half a minute more. Every minute or so it validates, on faces and photographs. ``OUT``
gets the figures, ``teacher.json``, and the weights in half precision, ``teacher.safetensors.0``, ``.1``; so for the
others. At home again:

    cat OUT/default.safetensors.? > default.safetensors
    invsolve run sr4x --input small.png --prior default.safetensors
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from invsolve.data.sources import Source
from invsolve.runtime.shipped import shipped

PART = 60_000_000  # bytes of a zip file of pictures
PIECE = 15 * 2**20  # bytes of a piece of weights
JPEG = (".jpg", ".jpeg", ".webp")  # what is packed as it is; the rest becomes JPEG of quality 92
DOMAINS = ("faces", "photos")
RECIPES = {  # by the shipped prior that goes on
    "default": "default-photos-finetune",
    "sampler": "default-calibrate",
    "teacher": "default-photos-teacher",
}
TINY = {  # what a rehearsal changes in a recipe
    **{"images": 12, "batch": 2, "crop": 64, "holdout": 2, "warmup": 2},
    **{"precision": "fp32", "compile": False, "workers": 0, "checkpoint_every": 3},
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, command in (("pack", pack), ("rehearse", rehearse)):
        packing = commands.add_parser(name)
        packing.set_defaults(command=command)
        for domain in DOMAINS:
            packing.add_argument(f"--{domain}", nargs="+", required=True, metavar="PATH[:LEFT_OUT]")
        packing.add_argument("--out", type=Path, required=True, metavar="DIR")
        packing.add_argument("--megabytes", type=float, default=180, help="of pictures in all; more are thinned evenly")
    training = commands.add_parser("train")
    training.set_defaults(command=train)
    training.add_argument("stage", choices=RECIPES)
    training.add_argument("--parts", type=Path, required=True, metavar="DIR", help="what pack wrote")
    training.add_argument("--weights", type=Path, metavar="FILE", help="to go on from others than those in --parts")
    training.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="for states, and all that stays there"
    )
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="for what is brought back")
    training.add_argument("--minutes", type=float, required=True)
    training.add_argument("--device", default="auto")
    training.add_argument("--tiny", action="store_true", help="the size of a rehearsal")
    options = parser.parse_args(arguments)
    options.command(options)


def pack(options: argparse.Namespace) -> None:
    """Zip files of the pictures, each a random mixture of its domain's, and all weights."""
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = {domain: list(read(getattr(options, domain))) for domain in DOMAINS}
    size = sum(len(content) for every in pictures.values() for _, content in every)
    share = min(1.0, 1e6 * options.megabytes / size)
    for domain, every in pictures.items():
        kept = [each for i, each in enumerate(every) if int((i + 1) * share) > int(i * share)]
        kept = [kept[i] for i in np.random.default_rng(0).permutation(len(kept))]
        for number, part in enumerate(filled(kept)):
            with zipfile.ZipFile(options.out / f"{domain}-{number}.zip", "w") as archive:
                for name, content in part:
                    archive.writestr(zipfile.ZipInfo(name), content)
            print(f"{domain}-{number}.zip: {len(part)} of {len(every)} pictures")
    for name in RECIPES:
        shutil.copy(shipped("checkpoints") / f"{name}.safetensors", options.out)


def read(entries: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Names, with their source's number, and contents of the pictures of ``PATH:LEFT_OUT``, without the last ones."""
    for number, entry in enumerate(entries):
        path, _, left_out = entry.partition(":")
        source = Source(Path(path))
        for name in source.names[: len(source.names) - int(left_out or 0)]:
            content, target = source.read(name), Path(f"{number}-{name.replace('/', '-')}")
            if target.suffix.lower() not in JPEG:
                picture, target = Image.open(io.BytesIO(content)).convert("RGB"), target.with_suffix(".jpg")
                picture.save(buffer := io.BytesIO(), "JPEG", quality=92, subsampling=0)
                content = buffer.getvalue()
            yield str(target), content


def filled(pictures: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Lists of pictures, each of which a zip file of ``PART`` bytes holds."""
    part, size = [], 0
    for name, content in pictures:
        needs = len(content) + 2 * len(name) + 200  # with its entries in the archive
        if size + needs > PART:
            yield part
            part, size = [], 0
        part.append((name, content))
        size += needs
    yield part


def weighted(parts: Path) -> list[str]:
    """``PATH:WEIGHT`` of the zip files: each domain has weight 1, shared by its pictures."""
    found = []
    for domain in DOMAINS:
        counts = {path: len(Source(path).names) for path in sorted(parts.glob(f"{domain}-*.zip"))}
        found += [f"{path}:{count / sum(counts.values()):.6f}" for path, count in counts.items()]
    return found


def train(options: argparse.Namespace) -> None:
    """Go on with a prior until the clock stops it, and write what is brought back."""
    from invsolve.training.calibrate import calibrate
    from invsolve.training.finetune import finetune
    from invsolve.training.teacher import train as train_teacher

    stage, work, started = options.stage, options.work / options.stage, time.monotonic()
    recipe = yaml.safe_load((shipped("checkpoints") / f"{RECIPES[stage]}.yaml").read_text())
    work.mkdir(parents=True, exist_ok=True)
    (config := work / "recipe.yaml").write_text(yaml.safe_dump({**recipe, **(TINY if options.tiny else {})}))
    weights = options.weights or options.parts / f"{stage}.safetensors"
    how = {"data": weighted(options.parts), "out": work, "device": options.device, "max_minutes": options.minutes}
    if stage == "teacher":
        result = train_teacher(config, denoiser=weights, **how)
    elif stage == "sampler":
        result = calibrate(config, weights, **how)
    else:
        result = finetune(config, weights, options.parts / "teacher.safetensors", **how)
    options.out.mkdir(parents=True, exist_ok=True)
    content = result.read_bytes()
    for number, start in enumerate(range(0, len(content), PIECE)):
        (options.out / f"{stage}.safetensors.{number}").write_bytes(content[start : start + PIECE])
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    (options.out / f"{stage}.json").write_text(json.dumps(lines, indent=0))
    print(f"{stage}: {time.monotonic() - started:.0f} s, {json.dumps(lines[-1])}")


def rehearse(options: argparse.Namespace) -> None:
    """All of it on a CPU: pack, train all, one of them twice, join the pieces, restore a picture."""
    import torch

    from invsolve import NoiseStreams, load_prior, load_task, solve
    from invsolve.data.training_set import center_crops

    parts, work, out = (options.out / name for name in ("parts", "work", "out"))
    given = [word for domain in DOMAINS for word in (f"--{domain}", *getattr(options, domain))]
    main(["pack", *given, "--out", str(parts), "--megabytes", "2"])
    where = ["--parts", str(parts), "--work", str(work), "--out", str(out), "--device", "cpu", "--tiny"]
    for stage, minutes in (("teacher", "2"), ("sampler", "2"), ("default", "0.01"), ("default", "2")):  # on again
        main(["train", stage, *where, "--minutes", minutes])
    pieces = sorted(out.glob("default.safetensors.*"))
    (joined := options.out / "default.safetensors").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    x = center_crops([next(Source(parts / "faces-0.zip").decoded())], 128, torch.device("cpu"))
    task = load_task("sr4x")
    operator = task.make_operator(tuple(x.shape[1:]))
    y = operator.measure(x, task.sigma_y, NoiseStreams(0, range(1)))
    restored = solve(y, operator, sigma_y=task.sigma_y, prior=load_prior(str(joined)), settings=task.settings(4))
    psnr = -10 * ((restored - x).square().mean() / 4).log10().item()
    print(f"{joined} restores a picture at sr4x with {psnr:.1f} dB")


if __name__ == "__main__":
    main()
