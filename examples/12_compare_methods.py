"""
Comparing methods
=================

``invsolve.peers`` has other methods over the same operators and denoiser, with settings tuned for the shipped tasks.
For tables over many pictures, with intervals and a report, there is ``invsolve bench``; this is one picture by hand.
"""

import time

import matplotlib.pyplot as plt
import torch

from invsolve import NoiseStreams, load_prior, load_task, solve
from invsolve.images.files import read_image
from invsolve.images.metrics import psnr, ssim
from invsolve.peers import PEERS, settings_for

truth = read_image("skimage:astronaut")[None, :, 50:146, 176:272]
task = load_task("inpaint_random")
operator = task.make_operator((3, 96, 96))
y = operator.measure(truth, task.sigma_y, NoiseStreams(1, [0]))

# %%
# The peers ask for the posterior mean at a noise level: the shipped prior's teacher gives it.

teacher = load_prior("teacher").denoiser
images, labels = {"measured": y}, {}
start = time.perf_counter()
images["invsolve"] = solve(y, operator, 4, task.sigma_y, settings=task.settings(4))
labels["invsolve"] = f"4 evaluations, {time.perf_counter() - start:.1f} s"
for name in ("ddrm", "ddnm", "diffpir"):
    settings = settings_for(name, task.name, steps=20)
    start = time.perf_counter()
    with torch.no_grad():
        images[name] = PEERS[name].restore(y, operator, teacher, task.sigma_y, NoiseStreams(0, [0]), settings)
    labels[name] = f"{settings.evaluations} evaluations, {time.perf_counter() - start:.1f} s"

for name, label in labels.items():
    print(f"{name:9} {psnr(images[name], truth)[0]:5.2f} dB   SSIM {ssim(images[name], truth)[0]:.3f}   {label}")

# %%
# One picture says little: two methods differ by less than two pictures do.

figure, axes = plt.subplots(2, 3, figsize=(10.5, 7.6), layout="constrained")
for axis, (title, image) in zip(axes.flat, {**images, "truth": truth}.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(f"{title}\n{labels[title]}" if title in labels else title)
    axis.axis("off")
plt.show()
