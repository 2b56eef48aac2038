"""Mixup and CutMix on the device: each image of a batch is mixed with its neighbour.

Images 2j and 2j+1 of a batch are partners, so that a shard of an even number of examples needs no
other device, and the randomness of an image is a function of the key and of its index in the
stream of examples, as in `augment`.
"""

import jax
import jax.numpy as jnp


def mix(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    index: jax.Array,
    *,
    mixup_alpha: float,
    cutmix: bool,
) -> tuple[jax.Array, jax.Array]:
    """Mixes images 2j and 2j+1 of a batch with each other, and their targets in the same ratio.

    Image x with partner x' becomes w x + (1 - w) x', each of the two with a w of its own.
    Mixup: w is one number r ~ Beta(mixup_alpha, mixup_alpha). CutMix: w is 0 in the patch of
    `cutmix_patch` and 1 outside. The target's weight is r, or the share of the pixels outside the
    patch. With both, the pairs whose index // 2 is even take mixup and the others CutMix: half
    each if the batch is a multiple of 4 consecutive examples.

    Sources: Zhang et al. (2018), "mixup", equation 2; Yun et al. (2019), "CutMix", section 3.1;
    halves and laws as in the code of Brock et al. (2021), where mixup_alpha is 0.2. One
    difference: there the partners are used for nothing else, so that 2N images are read for a
    batch of N; here they swap within the batch. (There the image is kept inside the patch and its
    partner outside. As two partners play both parts with equal chance, the law is the same.)

    Args:
      key: of this run; image i uses fold_in(key, index[i]).
      images: uint8 [N, H, W, C], before normalization, N even.
      targets: float32 [N, classes], one-hot or smoothed.
      index: uint32 [N], the examples' positions in the stream.
      mixup_alpha: of the Beta distribution; 0 for no mixup.
      cutmix: whether to use CutMix.

    Returns:
      float32 images in 0 .. 255 and targets, of the shapes received; with mixup_alpha = 0 and no
      CutMix both are returned as they are.

    Raises:
      ValueError: N is odd, or mixup_alpha < 0.
    """
    if mixup_alpha < 0:
        raise ValueError(f"mixup_alpha={mixup_alpha} must be at least 0; 0 is no mixup")
    if not (mixup_alpha or cutmix):
        return images, targets
    count, height, width = images.shape[:3]
    if count % 2:
        raise ValueError(
            f"a batch of {count} images cannot be mixed in pairs; use an even number of images "
            f"on each device, {count + 1} for example"
        )

    def weights(position):
        """Of the pixels, [H, W, 1], and of the target, []."""
        own = jax.random.fold_in(key, position)
        if mixup_alpha:
            ratio = jax.random.beta(own, mixup_alpha, mixup_alpha)
            blended = jnp.broadcast_to(ratio, (height, width, 1)), ratio
        if not cutmix:
            return blended
        top, bottom, left, right = cutmix_patch(own, height, width)
        rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
        inside = (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
        kept = height * width - (bottom - top) * (right - left)
        pasted = jnp.float32(~inside), kept / (height * width)
        if not mixup_alpha:
            return pasted
        return jax.tree.map(lambda a, b: jnp.where(position // 2 % 2 == 0, a, b), blended, pasted)

    pixel_weight, target_weight = jax.vmap(weights)(index)
    return (
        _towards_partner(images.astype(jnp.float32), pixel_weight),
        _towards_partner(targets, target_weight[:, None]),
    )


def cutmix_patch(
    key: jax.Array, height: int, width: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws the patch that CutMix fills from the other image.

    The share to keep is uniform in [0, 1], the sides are sqrt(1 - share) of the image's, the
    centre is a uniform pixel, and what reaches over the border is cut off, so that on average
    more than half is kept. Sides are truncated to integers, and so are their halves.

    Returns:
      int32 scalars top, bottom, left, right: rows [top, bottom), columns [left, right).
    """
    share_key, row_key, column_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.uniform(share_key))

    def interval(key, size):
        center, half = jax.random.randint(key, (), 0, size), jnp.int32(side * size) // 2
        return jnp.maximum(center - half, 0), jnp.minimum(center + half, size)

    return *interval(row_key, height), *interval(column_key, width)


def _towards_partner(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Weight of each value [N, ...], the rest of its partner; exact for weights 0 and 1."""
    pairs = values.reshape(-1, 2, *values.shape[1:])
    partners = pairs[:, ::-1].reshape(values.shape)
    return weight * values + (1 - weight) * partners
