"""
Scratches, removed with a mask
==============================

A mask says which pixels are observed. The others are filled in; those observed stay as they are, since ``sigma_y`` is
0. On the command line the mask is a picture::

    invsolve run inpaint_random --input scratched.png --mask mask.png
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw

from invsolve import load_task, solve
from invsolve.images.files import read_image

truth = read_image("skimage:coffee")[None, :, 40:296, 200:456]

# %%
# Scratches of two to five pixels, drawn as you would paint them over in any program.

drawing = Image.new("L", (256, 256), 255)
brush, random = ImageDraw.Draw(drawing), np.random.default_rng(1)
for _ in range(14):
    ends = random.uniform(0, 256, (2, 2))
    middle = ends.mean(0) + random.normal(0, 20, 2)
    brush.line([*ends[0], *middle, *ends[1]], fill=0, width=int(random.integers(2, 6)), joint="curve")
mask = torch.tensor(np.array(drawing) > 0).float()  # 1 observed, 0 missing
scratched = truth * mask + (1 - mask)

# %%
# What a measurement holds where nothing is observed does not matter. Large holes are for ``inpaint_box``.

task = load_task("inpaint_random")
operator = task.make_operator((3, 256, 256), mask=mask)
restored = solve(scratched, operator, steps=4, sigma_y=0.0, settings=task.settings(4, sigma_y=0.0))
unchanged = (restored - truth)[..., mask == 1].abs().max()
print(f"largest change of an observed pixel: {unchanged:.1e}")

images = {"scratched": scratched, "restored": restored, "truth": truth}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
