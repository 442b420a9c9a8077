"""
JPEG artefacts
==============

A JPEG holds rounded cosine coefficients, so each is known to lie within an interval. The samples stay within them:
nothing is changed that the file says for certain. On the command line a JPEG file brings its own tables and
coefficients::

    invsolve run jpeg --input photo.jpg
"""

import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from invsolve import solve
from invsolve.images.files import read_image, to_bytes
from invsolve.images.metrics import psnr
from operators import JPEG
from operators.jpeg import quality_tables

QUALITY = 12
truth = read_image("skimage:chelsea")[None, :, 20:276, 110:366]

file = io.BytesIO()
Image.fromarray(to_bytes(truth[0])).save(file, "JPEG", quality=QUALITY)
decoded = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 127.5 - 1

# %%
# The operator is the cosine transform of 8x8 pixels of luma and of the halved chroma. That is linear; the rounding is
# the noise, whose law is no longer normal: ``noise=`` takes the place of ``sigma_y``.

operator = JPEG((3, 256, 256), quality_tables(QUALITY), subsampling=(2, 2))
y = operator.measure(truth, operator.rounding)  # the coefficients
restored = solve(y, operator, steps=4, noise=operator.rounding)

images = {f"JPEG of {file.tell() / 1000:.1f} kB: {psnr(decoded, truth)[0]:.1f} dB": decoded}
images |= {f"restored: {psnr(restored, truth)[0]:.1f} dB": restored, "truth": truth}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
