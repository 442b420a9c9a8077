"""
Your own photo, enlarged
========================

A small picture of any size, without a true one to compare with. The command line does it in one line::

    invsolve run sr4x --input small.jpg

This is the same in Python. How noisy the picture is nobody knows, so the level is estimated.
"""

from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
from PIL import Image

from invsolve import estimate_sigma, load_prior, solve
from invsolve.images.files import PACKAGED, read_image, resized, write_image
from operators import Resize

folder = Path(mkdtemp())
photo = folder / "small.jpg"  # put your own here
write_image(resized(read_image(PACKAGED + "chelsea"), (100, 150)), folder / "small.png")
Image.open(folder / "small.png").save(photo, quality=95)

# %%
# JPEG, the camera and the reduction all leave something that a clean picture does not have. The prior measures how
# much: it looks for the noise level at which its own samples are as far from the picture as the noise.

y = read_image(photo)[None]
operator = Resize((3, 4 * y.shape[2], 4 * y.shape[3]), factor=4, filter="cubic")
sigma = estimate_sigma(y, load_prior())
print(f"noise: {sigma:.3f} on [-1, 1], which is {sigma * 255 / 2:.1f} of 255 gray levels")

restored = solve(y, operator, steps=4, sigma_y=sigma)
write_image(restored[0].clamp(-1, 1), folder / "large.png")

# %%
# Left what one has without invsolve, right the restored picture. What is new in it is plausible, not true.

images = {"enlarged by Lanczos": resized(y, restored.shape[2:]), "restored in 4 evaluations": restored}
figure, axes = plt.subplots(1, 2, figsize=(12, 4.3), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
plt.show()
