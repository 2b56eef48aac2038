"""Augmentation and normalization on the device, inside the training step.

The randomness of an image is a function of the key and of its index in the stream of examples,
so that neither the place in the batch nor the number of devices changes what it looks like.
"""

from collections.abc import Sequence

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np


def normalize(
    images: jax.Array, mean: Sequence[float] | np.ndarray, std: Sequence[float]
) -> jax.Array:
    """(images - mean) / std, with mean and std in pixel values 0 .. 255 as in `DatasetInfo`.

    Args:
      images: uint8 [..., C].
      mean: C numbers, or those of every pixel, [H, W, C], as `reading.mean_image` has them.
      std: C numbers.

    Returns:
      float32 [..., C].
    """
    return (images.astype(jnp.float32) - jnp.array(mean, jnp.float32)) / jnp.array(
        std, jnp.float32
    )


def augment(
    key: jax.Array, images: jax.Array, index: jax.Array, *, crop_padding: int, flip: bool
) -> jax.Array:
    """Shifts each image at random over a border of zeros and mirrors half of them.

    Image i is padded by `crop_padding` black pixels on every side, cropped back to its size at
    one of the (2 crop_padding + 1)**2 offsets, and mirrored left-right with probability 1/2.
    Source: the CIFAR recipe of He et al. (2016), "Deep Residual Learning", section 4.2.

    Args:
      key: of this run; image i uses fold_in(key, index[i]).
      images: [N, H, W, C], before normalization.
      index: integer [N], the examples' positions in the stream.
      crop_padding: pixels; 0 leaves the images in place.
      flip: whether to mirror.

    Returns:
      [N, H, W, C] of the dtype of `images`.

    Raises:
      ValueError: crop_padding < 0.
    """
    if crop_padding < 0:
        raise ValueError(f"crop_padding={crop_padding} must be at least 0 pixels")
    border = (crop_padding, crop_padding)

    def one(image, position):
        crop_key, flip_key = jax.random.split(jax.random.fold_in(key, position))
        if crop_padding:
            padded = jnp.pad(image, (border, border, (0, 0)))
            image = dm_pix.random_crop(crop_key, padded, image.shape)
        if flip:
            image = dm_pix.random_flip_left_right(flip_key, image)
        return image

    return jax.vmap(one)(images, index)
