"""
Another denoiser as the prior
=============================

Anything that removes white noise can be the prior. Here deepinv's total variation, which needs no weights;
``DRUNet()`` or a diffusers pipeline (``invsolve.adapters.diffusers.load``) goes in the same place. Such a denoiser
gives means, not samples: ``PosteriorMean`` makes the prior, and more evaluations help it.
"""

import matplotlib.pyplot as plt

from invsolve import PosteriorMean, Settings, load_task, solve
from invsolve.adapters.deepinv import DenoiserFromDeepinv
from invsolve.images.files import read_image
from invsolve.images.metrics import psnr

from deepinv.models import TVDenoiser  # isort: skip  (after the adapters: they mend a torchvision without its half)

truth = read_image("skimage:coffee")[None, :, 60:252, 220:412]
task = load_task("deblur_gaussian", ["operator.std=2"])
operator = task.make_operator((3, 192, 192))
y = operator.measure(truth, task.sigma_y)

# %%
# deepinv's noise levels are for images on [0, 1], half of ours; the adapter translates. The settings are of the
# sampler: at which noise level it begins, and at which it ends.

total_variation = PosteriorMean(DenoiserFromDeepinv(TVDenoiser(n_it_max=100)))
settings = Settings(sigma_max=0.4, sigma_min=0.03)
restored = {
    "total variation, 30 evaluations": solve(y, operator, 30, task.sigma_y, total_variation, settings=settings),
    "invsolve's prior, 4 evaluations": solve(y, operator, 4, task.sigma_y),
}

images = {"measured": y, **restored, "truth": truth}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(f"{title}\n{psnr(image, truth)[0]:.1f} dB" if title != "truth" else title)
    axis.axis("off")
plt.show()
