"""
Your own operator
=================

A degradation that nobody has tuned anything for: every third row of a sensor is dead, and the lens is dark towards its
corners. A linear function of the image is enough. Autograd derives the adjoint, conjugate gradients solve the proximal
map.
"""

import matplotlib.pyplot as plt
import torch

from invsolve import solve
from invsolve.images.files import read_image
from operators import FunctionOperator

SHAPE = (3, 256, 256)
truth = read_image("skimage:chelsea")[None, :, 20:276, 110:366]

rows = torch.linspace(-1, 1, 256)
vignette = 1 - 0.45 * (rows[:, None] ** 2 + rows**2)  # 1 in the middle, 0.1 in the corners
alive = torch.arange(256) % 3 != 0

# %%
# The operator tests that the function is linear when it is made.

operator = FunctionOperator(SHAPE, lambda x: (x * vignette)[:, :, alive])
y = operator.measure(truth, sigma_y=0.05)  # [1, 3, 170, 256]
restored = solve(y, operator, steps=4, sigma_y=0.05)

# %%
# On [-1, 1] black is -1, so a darker image is one nearer to gray; a lens that is dark towards black would be the
# affine ``(x + 1) * vignette - 1``, whose constant part belongs to ``y``: measure ``y + 1 - vignette`` of it.

images = {"measured": y, "least squares": operator.pinv(y), "restored": restored, "truth": truth}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
