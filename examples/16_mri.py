"""
Magnetic resonance imaging
==========================

A scanner measures Fourier coefficients of a slice, line by line, and fewer lines take less time. Complex measurements
of one coil and of four are operators here; the prior of photographs, in gray, fills in what the lines left out.
"""

import matplotlib.pyplot as plt
import torch

from invsolve import GrayPrior, load_prior, solve
from invsolve.images.files import read_image, resized
from invsolve.images.metrics import psnr
from operators import MultiCoilFourier

SIZE, SIGMA = 192, 0.05
truth = resized(read_image("skimage:phantom", channels=1), (SIZE, SIZE))[None]

lines = torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) < 0.2  # a fifth of the lines,
lines[:8] = lines[-8:] = True  # and all near frequency 0, which lies at the corner
mask = lines.float().expand(SIZE, SIZE)

# %%
# Each coil hears best what lies near it, with a phase of its own. Without ``maps`` there is one that hears all alike.

places = torch.linspace(-1, 1, SIZE)
corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
distances = [((places[:, None] - i) ** 2 + (places[None] - j) ** 2).sqrt() for i, j in corners]
maps = torch.stack([torch.polar((-(d**2) / 3).exp(), d + k) for k, d in enumerate(distances)])
operators = {
    "one coil": MultiCoilFourier((1, SIZE, SIZE), mask),
    "four coils": MultiCoilFourier((1, SIZE, SIZE), mask, maps),
}

# %%
# The usual picture has zeros in place of what is missing: stripes, and less of what the coils hear badly. Restoring
# takes the coils' maps into account, and leaves what was measured as it was.

prior = GrayPrior(load_prior())
images = {}
for name, operator in operators.items():
    y = operator.measure(truth, sigma_y=SIGMA)  # complex, [1, coils, 192, 192]
    images[f"{name}, zeros"] = operator.adjoint(y)
    images[f"{name}, restored"] = solve(y, operator, steps=4, sigma_y=SIGMA, prior=prior)

figure, axes = plt.subplots(1, 6, figsize=(15, 3), layout="constrained")
axes[0].imshow(torch.fft.fftshift(mask), cmap="gray")
axes[0].set_title(f"lines measured: {lines.float().mean():.0%}")
titled = {f"{name}: {psnr(x.clamp(-1, 1), truth)[0]:.1f} dB": x for name, x in images.items()}
for axis, (title, image) in zip(axes[1:], {**titled, "truth": truth}.items(), strict=True):
    axis.imshow(image[0, 0], cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
for axis in axes:
    axis.axis("off")
plt.show()
