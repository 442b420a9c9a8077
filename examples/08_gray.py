"""
Gray pictures
=============

The prior knows three colours. ``GrayPrior`` makes one of it for images of one channel: it adds noise that the mean of
the colours does not see, samples a colour picture and takes its mean. ``invsolve run`` does so for every gray file.
"""

import matplotlib.pyplot as plt

from invsolve import GrayPrior, load_prior, solve
from invsolve.images.files import read_image
from operators import Mask, random_mask

truth = read_image("skimage:camera", channels=1)[None, :, 60:316, 130:386]  # [1, 1, 256, 256]
prior = GrayPrior(load_prior())

operator = Mask((1, 256, 256), random_mask((256, 256), fraction=0.6, seed=0))
y = operator.measure(truth, sigma_y=0.05)
restored = solve(y, operator, steps=4, sigma_y=0.05, prior=prior)  # [1, 1, 256, 256]

images = {"measured: 60 % is missing": y, "restored": restored, "truth": truth}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0, 0], cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
    axis.axis("off")
plt.show()
