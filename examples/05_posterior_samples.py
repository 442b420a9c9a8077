"""
Posterior samples and their deviation
=====================================

Many pictures explain one measurement. ``posterior`` gives several of them, their mean and their deviation, pixel by
pixel.
"""

import matplotlib.pyplot as plt
import numpy as np

from invsolve import posterior
from invsolve.images.files import read_image
from operators import Resize

truth = read_image("skimage:astronaut")[None, :, 10:202, 128:320]
operator = Resize((3, 192, 192), factor=4, filter="cubic")
y = operator.measure(truth, sigma_y=0.05)  # 48 x 48 pixels

found = posterior(y, operator, samples=8, sigma_y=0.05)  # .samples [8, 1, 3, 192, 192], .mean, .std

# %%
# The samples differ where the measurement says little, and agree where it says much. Their mean is nearer to the truth
# than any of them, and smoother.

images = {"measured": y, "sample 1": found.samples[0], "sample 2": found.samples[1], "mean": found.mean, "truth": truth}
figure, axes = plt.subplots(1, 5, figsize=(12, 2.8), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")

# %%
# Where the deviation is large, expect errors. The points are means over groups of pixels of like deviation; were the
# samples exact they would lie on the line.

std = found.std[0].square().mean(0).sqrt()
error = (found.mean - truth)[0].square().mean(0).sqrt()
groups = np.array_split(std.flatten().argsort().numpy(), 20)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for axis, (title, image) in zip(
    axes, {"deviation of the samples": std, "error of the mean": error}.items(), strict=False
):
    figure.colorbar(axis.imshow(image, cmap="magma", vmin=0, vmax=0.3), ax=axis, shrink=0.8)
    axis.set_title(title)
    axis.axis("off")
rms = [[values.flatten()[group].square().mean().sqrt() for group in groups] for values in (std, error)]
axes[2].plot([0, 0.3], [0, 0.3], color="gray", linewidth=1)
axes[2].plot(*rms, "o")
axes[2].set(xlabel="deviation", ylabel="error", title="error by deviation (rms)", aspect="equal")
plt.show()
