"""
A physics of deepinv: tomography
================================

With the extra ``[deepinv]`` deepinv's linear physics are operators here. Few projections of a slice are measured; its
outline and edges are what a prior of photographs knows too.
"""

import matplotlib.pyplot as plt

from invsolve import GrayPrior, load_prior, solve
from invsolve.adapters.deepinv import OperatorFromDeepinv, measurement_to_01
from invsolve.images.files import read_image, resized
from invsolve.images.metrics import psnr

from deepinv.physics import Tomography  # isort: skip  (after the adapters: they mend a torchvision without its half)

SIZE, ANGLES = 128, 30
truth = resized(read_image("skimage:phantom", channels=1), (SIZE, SIZE))[None]

physics = Tomography(angles=ANGLES, img_width=SIZE, circle=False, normalize=True)
operator = OperatorFromDeepinv(physics, in_shape=(1, SIZE, SIZE))
y = operator.measure(truth, sigma_y=0.01)  # the sinogram, [1, 1, 182, 30]

# %%
# deepinv's own reconstruction is the filtered back-projection. Its images are in [0, 1], and a sinogram of the image
# ``(x + 1) / 2`` is ``(y + A 1) / 2``: ``measurement_to_01`` knows.

projected = 2 * physics.A_dagger(measurement_to_01(y, operator)) - 1
restored = solve(y, operator, steps=4, sigma_y=0.01, prior=GrayPrior(load_prior()))

images = {"filtered back-projection": projected, "restored": restored}
titled = {f"{name}: {psnr(x.clamp(-1, 1), truth)[0]:.1f} dB": x for name, x in images.items()}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
axes[0].imshow(y[0, 0], cmap="gray", aspect="auto")
axes[0].set_title(f"sinogram of {ANGLES} angles")
for axis, (title, image) in zip(axes[1:], {**titled, "truth": truth}.items(), strict=True):
    axis.imshow(image[0, 0], cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
for axis in axes:
    axis.axis("off")
plt.show()
