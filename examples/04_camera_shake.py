"""
Camera shake with a known kernel
================================

The kernel is the path that the camera took during the exposure. What lies beyond the edges of the picture was blurred
into it as well: with the boundary ``valid`` it is unknown, is restored too, and cut off at the end. On the command
line::

    invsolve run deblur_motion --input blurred.png --kernel kernel.png
"""

import matplotlib.pyplot as plt

from invsolve import solve
from invsolve.images.files import read_image
from operators import blur, motion_kernel

SIZE = 31  # of the kernel, in pixels
scene = read_image("skimage:rocket")[None, :, 60:346, 190:476]  # more than the camera keeps

kernel = motion_kernel(SIZE, intensity=0.6, seed=3)
operator = blur((3, 286, 286), kernel, boundary="valid")
y = operator.measure(scene, sigma_y=0.03)  # 256 x 256: the picture is smaller than the scene

# %%
# Nobody tuned settings for this kernel: ``solve`` chooses them from how well a linear estimate does.

restored = solve(y, operator, steps=4, sigma_y=0.03)
margin = SIZE // 2
print(f"measured {tuple(y.shape[2:])}, restored {tuple(restored.shape[2:])}")

images = {"blurred": y, "restored": restored[..., margin:-margin, margin:-margin]}
images["truth"] = scene[..., margin:-margin, margin:-margin]
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
axes[0].imshow(kernel, cmap="gray")
axes[0].set_title("kernel")
for axis, (title, image) in zip(axes[1:], images.items(), strict=True):
    axis.imshow(((image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0))
    axis.set_title(title)
for axis in axes:
    axis.axis("off")
plt.show()
