"""
Low light
=========

Where photons are few the noise is not white: bright pixels are noisier than dark ones. A noise model says so.
``Poisson`` has the number of photons that white sends to a pixel; there are models of read noise, rounding and
saturation too.
"""

import matplotlib.pyplot as plt

from invsolve import NoiseStreams, solve
from invsolve.images.files import read_image
from invsolve.images.metrics import psnr
from operators import Identity, Poisson

truth = read_image("skimage:coffee")[None, :, 40:296, 200:456]
operator, photons = Identity((3, 256, 256)), Poisson(gain=12)
y = operator.measure(truth, photons, NoiseStreams(1, [0]))

# %%
# A model of white noise of the same power leaves noise in the bright parts, and smooths the dark ones too much. (PSNR
# hardly tells: it is an error, and half-removed noise is a small one.)

power = (y - truth).square().mean().sqrt().item()
restored = {
    f"as white noise of {power:.2f}": solve(y, operator, steps=4, sigma_y=power),
    "as photons": solve(y, operator, steps=4, noise=photons),
}

images = {"12 photons from white": y.clamp(-1, 1), **restored, "truth": truth}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(f"{title}\n{psnr(image, truth)[0]:.1f} dB" if title != "truth" else title)
    axis.axis("off")
plt.show()
