"""Operations on the colours of one image, with the arithmetic of PIL.

Every function takes and returns one uint8 image [H, W, C], C 3 or 1, is jit-able and maps over
batches with `jax.vmap`. Numeric arguments may be traced. Most are lookups: each has a `*_table`,
which says what becomes of the 256 values of a channel, so that a choice among them costs one
lookup. The factor of an enhancement (`brightness`, `contrast`, `color`, `sharpness`) is PIL's:
0 is the degenerate image, 1 the image itself, above 1 exaggerates; see `blend`.

Results equal PIL's (`ImageOps`, `ImageEnhance`), but for `autocontrast` and, where float32
rounds otherwise, `blend`, by one grey level at most. (TensorFlow's ports, as in the code of
Brock et al. (2021), differ by a level from both: they truncate where PIL rounds.) `dm_pix` works
on floats in 0 .. 1 and has other laws of contrast and brightness; use it for hue.
"""

import jax
import jax.numpy as jnp

# One uint8 table for each channel: uint8 [256] for all of them or [C, 256].
Table = jax.Array


def lookup(image: jax.Array, table: Table) -> jax.Array:
    """table[c, image[..., c]] for every pixel; table is uint8 [256] or [C, 256]."""
    channels = image.shape[-1]
    table = jnp.broadcast_to(table, (channels, 256)).reshape(-1)
    return table[image.astype(jnp.int32) + 256 * jnp.arange(channels)]


def values() -> Table:
    """The table that changes nothing: uint8 [256]."""
    return jnp.arange(256, dtype=jnp.uint8)


def invert_table() -> Table:
    """255 - x."""
    return 255 - values()


def solarize_table(threshold: jax.typing.ArrayLike) -> Table:
    """255 - x from the threshold (0 .. 256, or more) upwards: 256 changes nothing."""
    return jnp.where(jnp.arange(256) < threshold, values(), invert_table())


def solarize_add_table(
    addition: jax.typing.ArrayLike, threshold: jax.typing.ArrayLike = 128
) -> Table:
    """x + addition below the threshold, clipped to 0 .. 255."""
    x = jnp.arange(256)
    return jnp.where(x < threshold, jnp.clip(x + addition, 0, 255), x).astype(jnp.uint8)


def posterize_table(bits: jax.typing.ArrayLike) -> Table:
    """Keeps the highest `bits` bits (at least 1, at most 8) and clears the others."""
    shift = 8 - jnp.clip(bits, 1, 8)
    return (jnp.arange(256) >> shift << shift).astype(jnp.uint8)


def brightness_table(factor: jax.typing.ArrayLike) -> Table:
    """factor x: a blend with black."""
    return blend(jnp.uint8(0), values(), factor)


def contrast_table(image: jax.Array, factor: jax.typing.ArrayLike) -> Table:
    """A blend with the mean of `grey`, rounded: one table for all channels."""
    total, count = grey(image).astype(jnp.int32).sum(), image.shape[0] * image.shape[1]
    mean = (2 * total + count) // (2 * count)
    return blend(mean.astype(jnp.uint8), values(), factor)


def autocontrast_table(image: jax.Array) -> Table:
    """Stretches each channel linearly to 0 .. 255, truncated; a constant one stays: [C, 256].

    The division is that of integers; PIL's, in floats, is one level lower at some exact results.
    """
    low, high = (
        bound(axis=(0, 1)).astype(jnp.int32)[:, None] for bound in (image.min, image.max)
    )
    x = jnp.arange(256)
    stretched = jnp.clip((x - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
    return jnp.where(high > low, stretched, x).astype(jnp.uint8)


def equalize_table(image: jax.Array) -> Table:
    """Makes each channel's histogram as flat as a lookup can: [C, 256].

    With the step s = (pixels - those of the highest value) // 255, x becomes
    (s // 2 + pixels below x) // s; where s = 0 the channel stays.
    """
    counts = histogram(image)
    up_to = jnp.cumsum(counts, axis=1)
    pixels = image.shape[0] * image.shape[1]
    highest = image.max(axis=(0, 1)).astype(jnp.int32)[:, None]
    step = (pixels - jnp.take_along_axis(counts, highest, axis=1)) // 255
    equalized = jnp.minimum((up_to - counts + step // 2) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, equalized, jnp.arange(256)).astype(jnp.uint8)


def histogram(image: jax.Array) -> jax.Array:
    """Number of pixels of each value in each channel: int32 [C, 256].

    On a CPU by counting; elsewhere, where scattered additions are slow, as a product of matrices.
    """
    return jax.lax.platform_dependent(
        image, cpu=_histogram_by_counting, default=_histogram_by_product
    )


def _histogram_by_counting(image: jax.Array) -> jax.Array:
    channels = image.shape[-1]
    bins = image.astype(jnp.int32) + 256 * jnp.arange(channels)
    counts = jnp.zeros(256 * channels, jnp.int32).at[bins.reshape(-1)].add(1)
    return counts.reshape(channels, 256)


def _histogram_by_product(image: jax.Array) -> jax.Array:
    """Counts pairs of the high and the low four bits; exact up to 2**24 pixels."""
    x = image.reshape(-1, image.shape[-1])
    high = jax.nn.one_hot(x >> 4, 16, dtype=jnp.bfloat16)
    low = jax.nn.one_hot(x & 15, 16, dtype=jnp.bfloat16)
    counts = jnp.einsum("pch,pcl->chl", high, low, preferred_element_type=jnp.float32)
    return counts.reshape(-1, 256).astype(jnp.int32)


def blend(
    degenerate: jax.Array, image: jax.Array, factor: jax.typing.ArrayLike
) -> jax.Array:
    """degenerate + factor (image - degenerate), clipped to 0 .. 255 and truncated: uint8."""
    start = degenerate.astype(jnp.float32)
    mixed = start + jnp.float32(factor) * (image.astype(jnp.float32) - start)
    return jnp.clip(mixed, 0, 255).astype(jnp.uint8)


def grey(image: jax.Array) -> jax.Array:
    """Luma of ITU-R 601, rounded, in PIL's 16-bit integers: uint8 [H, W, 1]; grey images stay."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(jnp.uint8)[..., None]


def smooth(image: jax.Array) -> jax.Array:
    """The 3x3 mean with the centre weighted 5, rounded; the border stays. PIL's SMOOTH."""
    x = image.astype(jnp.int32)
    rows = x[:-2] + x[1:-1] + x[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * x[1:-1, 1:-1]
    return jnp.asarray(image).at[1:-1, 1:-1].set(((total + 6) // 13).astype(jnp.uint8))


def invert(image: jax.Array) -> jax.Array:
    """See `invert_table`."""
    return lookup(image, invert_table())


def solarize(image: jax.Array, threshold: jax.typing.ArrayLike) -> jax.Array:
    """See `solarize_table`."""
    return lookup(image, solarize_table(threshold))


def solarize_add(
    image: jax.Array, addition: jax.typing.ArrayLike, threshold: jax.typing.ArrayLike = 128
) -> jax.Array:
    """See `solarize_add_table`."""
    return lookup(image, solarize_add_table(addition, threshold))


def posterize(image: jax.Array, bits: jax.typing.ArrayLike) -> jax.Array:
    """See `posterize_table`."""
    return lookup(image, posterize_table(bits))


def brightness(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """A blend with black."""
    return lookup(image, brightness_table(factor))


def contrast(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """A blend with the image's mean grey level."""
    return lookup(image, contrast_table(image, factor))


def autocontrast(image: jax.Array) -> jax.Array:
    """See `autocontrast_table`."""
    return lookup(image, autocontrast_table(image))


def equalize(image: jax.Array) -> jax.Array:
    """See `equalize_table`."""
    return lookup(image, equalize_table(image))


def color(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """A blend with the grey image: saturation. Grey images stay."""
    return blend(grey(image), image, factor)


def sharpness(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """A blend with the `smooth` image."""
    return blend(smooth(image), image, factor)
