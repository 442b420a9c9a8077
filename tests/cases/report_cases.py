"""A benchmark directory with made-up figures and pictures, as `invsolve bench` leaves it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 64
# method: (evaluations, seconds, LPIPS)
METHODS = {
    "baseline": (0, 0.002, 0.45),
    "ncvsd": (4, 1.2, 0.15),
    "ncvsd:16": (16, 4.8, 0.14),
    "teacher-diffusion:5": (20, 6.1, 0.16),
    "ddrm:20": (20, 6.0, 0.165),
    "dps": (1000, 600.0, 0.16),
    "daps": (1000, 310.0, 0.155),
}
SAMPLED = ("ncvsd", "dps")
TASKS = ("sr4x", "denoise")


def row(task: str, method: str, image: str, **figures: Any) -> dict[str, Any]:
    """A line of results.jsonl."""
    line = {"task": task, "method": method, "steps": 4, "evaluations": 4, "image": image, "index": 0, "seed": 0}
    return line | {"psnr": 25.0, "ssim": 0.8, "lpips": 0.2, "seconds": 1.0} | figures


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "results.jsonl") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in rows))


def picture(path: Path, seed: int, side: int = SIDE) -> None:
    """A smooth random picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path)


def benchmark(
    folder: Path, tasks: Sequence[str] = TASKS, methods: Mapping = METHODS, images: Sequence[str] = ("00000", "00001")
) -> Path:
    """Write run.json, results.jsonl and the pictures."""
    rows = []
    for t, task in enumerate(tasks):
        for i, image in enumerate(images):
            place = folder / "pictures" / task / image
            picture(place / "truth.png", i)
            picture(place / "measurement.png", i, SIDE // 4 if task == "sr4x" else SIDE)
            for m, (method, (evaluations, seconds, lpips)) in enumerate(methods.items()):
                figures = {"evaluations": evaluations, "seconds": seconds, "lpips": lpips + 0.01 * i + 0.001 * t}
                if method in SAMPLED:
                    figures |= {"samples": 4, "psnr_mean": 26.0, "psnr_std": 0.3, "lpips_std": 0.01, "spearman": 0.5}
                    figures["within"] = 0.75
                    figures["calibration"] = [[0.01 * k, 0.012 * k + 0.002 * m] for k in range(1, 21)]
                    picture(place / f"{method}_std.png", 50 + i)
                rows.append(row(task, method, image, **figures))
                picture(place / f"{method.replace(':', '_')}.png", 10 * m + i)
    write_rows(folder, rows)
    options = {"data": "faces", "steps": 4, "seed": 3}
    run = {"tasks": list(tasks), "methods": list(methods), "options": options, "prior": {"name": "default"}}
    (folder / "run.json").write_text(json.dumps(run))
    return folder
