"""
Two measurements of one image
=============================

Two exposures of one scene: a short one, sharp and noisy, and a long one, clean and blurred. ``Stack`` makes one
operator of both. It has one noise level, so ``whitened`` weighs the two by theirs.
"""

import matplotlib.pyplot as plt

from invsolve import solve
from invsolve.images.files import read_image
from invsolve.images.metrics import psnr
from operators import CircularConvolution, Identity, Stack, motion_kernel

SHAPE = (3, 256, 256)
NOISE = (0.5, 0.02)  # of the short exposure and of the long one
truth = read_image("skimage:astronaut")[None, :, :256, 100:356]

short, long = Identity(SHAPE), CircularConvolution(SHAPE, motion_kernel(41, intensity=0.5, seed=5))
both = Stack([short, long])
y = both.measure(truth, NOISE)
y_short, y_long = both.parts(y)

# %%
# From each alone, and from both.

stack, y_both, level = both.whitened(y, NOISE)
restored = {
    "from the short one": solve(y_short, short, steps=4, sigma_y=NOISE[0]),
    "from the long one": solve(y_long, long, steps=4, sigma_y=NOISE[1]),
    "from both": solve(y_both, stack, steps=4, sigma_y=level),
}
titled = {f"{name}: {psnr(x, truth)[0]:.1f} dB": x for name, x in restored.items()}

figure, axes = plt.subplots(2, 3, figsize=(10.5, 7.4), layout="constrained")
images = {"short exposure": y_short, "long exposure": y_long, "truth": truth, **titled}
for axis, (title, image) in zip(axes.flat, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
