"""
Training a prior, end to end
============================

A prior of one's own in half a minute: pictures of discs, a small network as the teacher, its distillation, a
restoration. The result is a toy, the way is the real one: the commands would be::

    invsolve train teacher.yaml --data discs --out teacher
    invsolve distill distill.yaml --teacher teacher/denoiser-ema0.1.safetensors --data discs --out prior
"""

from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml

from invsolve import NoiseStreams, Settings, load_prior, solve
from invsolve.images.files import read_image, write_image
from invsolve.training.distill import distill
from invsolve.training.teacher import train
from operators import Mask, random_mask

folder, random = Path(mkdtemp()), np.random.default_rng(0)
(folder / "discs").mkdir()
rows, columns = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
for i in range(96):
    image = torch.tensor(random.uniform(-0.8, 0.8, 3)).float()[:, None, None].expand(3, 32, 32)
    for _ in range(3):
        (row, column), radius = random.uniform(-1, 1, 2), random.uniform(0.2, 0.6)
        disc = ((radius - ((rows - row) ** 2 + (columns - column) ** 2).sqrt()) * 16 + 0.5).clamp(0, 1)
        image = torch.lerp(image, torch.tensor(random.uniform(-1, 1, 3)).float()[:, None, None], disc)
    write_image(image, folder / "discs" / f"{i:03d}.png")

# %%
# The recipes: everything else has a default (``invsolve.specs.recipe``). The last eight pictures are kept out.

common = {"batch": 8, "crop": 32, "holdout": 8, "ema": [0.1], "precision": "fp32", "warmup": 10, "decay_after": 100}
network = {"widths": [24, 32], "blocks": [1, 1], "auxt": False}
recipes = {
    "teacher": {**common, "images": 8 * 300, "network": network, "learning_rate": 0.02},
    "distill": {**common, "images": 8 * 30, "sigma_max": 2.0, "fake_first": 10, "gamma": 0.2},
}
for name, recipe in recipes.items():
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))

teacher = train(folder / "teacher.yaml", [str(folder / "discs")], folder / "teacher")
generator = distill(folder / "distill.yaml", teacher, [str(folder / "discs")], folder / "prior")

# %%
# Half of the pixels of held-out pictures are missing. The prior is a file; ``load_prior`` and ``--prior`` take it.
# After so short a training some noise stays.

truth = torch.stack([read_image(folder / "discs" / f"{i:03d}.png") for i in range(88, 92)])
operator = Mask((3, 32, 32), random_mask((32, 32), fraction=0.5, seed=0))
y = operator.measure(truth, 0.05, NoiseStreams(1, range(4)))
settings = Settings(sigma_max=1.0, sigma_min=0.1, gamma=0.0)
restored = solve(y, operator, steps=8, sigma_y=0.05, prior=load_prior(generator), settings=settings)

figure, axes = plt.subplots(3, 4, figsize=(7.4, 5.8), layout="constrained")
for row, (title, images) in zip(axes, {"measured": y, "restored": restored, "truth": truth}.items(), strict=True):
    for axis, image in zip(row, images, strict=True):
        axis.imshow(((image + 1) / 2).clamp(0, 1).permute(1, 2, 0))
        axis.axis("off")
    row[0].set_title(title, loc="left")
plt.show()
