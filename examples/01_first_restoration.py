"""
First restoration
=================

A picture is reduced to a quarter of its size, noise is added, and four evaluations of the prior restore it. The
operator says what was measured; the prior is the one that comes with invsolve, and knows nothing of the operator.
"""

import matplotlib.pyplot as plt

from invsolve import load_task, solve
from invsolve.images.files import read_image
from invsolve.images.metrics import psnr

truth = read_image("skimage:astronaut")[None, :, :256, 100:356]  # [1, 3, 256, 256] in [-1, 1]

# %%
# A task holds an operator, a noise level and settings of the sampler that were tuned for both. ``sigma_y`` is the
# standard deviation of the noise, for images on [-1, 1].

task = load_task("sr4x")
operator = task.make_operator((3, 256, 256))
y = operator.measure(truth, task.sigma_y)  # [1, 3, 64, 64]
restored = solve(y, operator, steps=4, sigma_y=task.sigma_y, settings=task.settings(4))

print(f"PSNR: {psnr(restored, truth)[0]:.1f} dB")

# %%
# A matrix has a pseudo-inverse, and ``operator.pinv`` is it: the image of least norm that explains the measurement,
# noise and all. It is what one has without a prior.

images = {"measured": y, "pseudo-inverse": operator.pinv(y), "restored": restored, "truth": truth}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
