"""
Noise of an unknown level
=========================

With ``sigma_y="auto"`` the level of the noise is estimated in a few evaluations more: by the prior's own samples,
which at the true level lie as far from the picture as the noise. ``invsolve run denoise --input noisy.png`` does so by
default.
"""

import matplotlib.pyplot as plt

from invsolve import NoiseStreams, estimate_sigma, load_prior, solve
from invsolve.images.files import read_image
from operators import Identity

truth = read_image("skimage:chelsea")[None, :, 20:276, 110:366]
operator = Identity((3, 256, 256))
noise = NoiseStreams(1, [0])  # of another seed than the sampler draws with: the same wherever this runs

# %%
# Estimates for several levels. What the prior takes for noise counts in, so little noise seems more than it is.

prior = load_prior()
for sigma in (0.05, 0.1, 0.2, 0.4):
    estimated = estimate_sigma(operator.measure(truth, sigma, noise), prior)
    print(f"true {sigma:.2f}, estimated {estimated:.3f}: {estimated * 255 / 2:.0f} of 255 gray levels")

# %%
# A restoration that was told nothing.

y = operator.measure(truth, 0.4, noise)
restored = solve(y, operator, steps=4, sigma_y="auto")

images = {"measured": y, "restored": restored, "truth": truth}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
