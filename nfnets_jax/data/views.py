"""Random views of images for self-supervised learning, made on the device.

The operations, their order and their laws are those of the released code of BYOL (arXiv
2006.07733): random resized crop, flip, colour jitter, grayscale, blur, solarize.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Weights of red, green and blue in a grayscale image.
LUMA = (0.2989, 0.5870, 0.1140)
# Of a crop: width over height.
ASPECTS = (3 / 4, 4 / 3)


class ViewSpec(NamedTuple):
    """The law of one view.

    Attributes:
      crop_min_area, crop_max_area: of the crop, as a share of the image.
      flip_probability: of a left-right mirror image.
      jitter_probability: that the colours are jittered.
      brightness: largest addition to all values.
      contrast: largest change of the factor of each channel's deviations from its mean.
      saturation: largest change of the factor of the saturation.
      hue: largest shift of the hue, as a share of the colour circle.
      grayscale_probability: that the colours are taken away, jitter or not.
      blur_probability: of a Gaussian blur, of a standard deviation between blur_sigma_min and
        blur_sigma_max pixels, whose kernel has int(height blur_kernel_fraction / 2) pixels on
        either side of its centre.
      solarize_probability: that values from solarize_threshold upwards are inverted.
    """

    crop_min_area: float = 0.08
    crop_max_area: float = 1.0
    flip_probability: float = 0.5
    jitter_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale_probability: float = 0.2
    blur_probability: float = 0.0
    blur_sigma_min: float = 0.1
    blur_sigma_max: float = 2.0
    blur_kernel_fraction: float = 0.1
    solarize_probability: float = 0.0
    solarize_threshold: float = 0.5


# The two distributions of arXiv 2006.07733, from the released configuration.
VIEW_1 = ViewSpec(blur_probability=1.0)
VIEW_2 = ViewSpec(blur_probability=0.1, solarize_probability=0.2)

# What each of an image's random numbers is for.
_DRAWS = ("area", "aspect", "left", "top", "flip", "jitter", "brightness", "contrast", "saturation",
          "hue", "place_0", "place_1", "place_2", "place_3", "grayscale", "blur", "sigma",
          "solarize")


def make_view(
    key: jax.Array,
    images: jax.Array,
    index: jax.Array,
    spec: ViewSpec,
    *,
    image_size: int | None = None,
) -> jax.Array:
    """Makes one random view of each image.

    Args:
      key: of this view and step; image i uses fold_in(key, index[i]).
      images: [N, H, W, C], uint8, or float in 0 .. 1; C is 3, or 1, where colours do nothing.
      index: integer [N], the examples' positions in the stream.
      spec: the law. What it leaves out is left out of the program.
      image_size: side S of the view, whose crop is then made here; None for images that are
        cropped already.

    Returns:
      float32 [N, S, S, C] in 0 .. 1.
    """
    def draw(position):
        return jax.random.uniform(jax.random.fold_in(key, position), (len(_DRAWS),))

    u = dict(zip(_DRAWS, jax.vmap(draw)(index).T, strict=True))
    x = images.astype(jnp.float32)
    if jnp.issubdtype(images.dtype, jnp.integer):
        x = x / 255.0
    # As [N, H, C, W] both products of a resize or a blur need no transposition.
    x = x.transpose(0, 1, 3, 2)
    if image_size is not None:
        x = _crop(x, u, spec, image_size)
    if spec.flip_probability > 0:
        x = jnp.where(_per_image(u["flip"] < spec.flip_probability), x[..., ::-1], x)
    planes = [x[:, :, c] for c in range(x.shape[2])]
    if spec.jitter_probability > 0:
        planes = _jitter(planes, u, spec)
    if spec.grayscale_probability > 0 and len(planes) == 3:
        luma = sum(weight * plane for weight, plane in zip(LUMA, planes, strict=True))
        chosen = _per_plane(u["grayscale"] < spec.grayscale_probability)
        planes = [jnp.where(chosen, luma, plane) for plane in planes]
    x = jnp.stack(planes, axis=2)
    radius = int(x.shape[1] * spec.blur_kernel_fraction / 2)
    if spec.blur_probability > 0 and radius > 0:
        sigma = _between(u["sigma"], spec.blur_sigma_min, spec.blur_sigma_max)
        chosen = u["blur"] < spec.blur_probability
        x = apply_matrices(x, *(
            jnp.where(chosen[:, None, None], blur_matrix(sigma, size, radius), jnp.eye(size))
            for size in (x.shape[1], x.shape[3])))
    if spec.solarize_probability > 0:
        chosen = _per_image(u["solarize"] < spec.solarize_probability)
        x = jnp.where(chosen & (x >= spec.solarize_threshold), 1.0 - x, x)
    return jnp.clip(x, 0.0, 1.0).transpose(0, 1, 3, 2)


def crop_box(u: dict[str, jax.Array], height: int, width: int, min_area: float, max_area: float):
    """The law of the random resized crop: (left, top, width, height) in whole pixels.

    The share of the area is uniform, the logarithm of the aspect ratio is uniform in
    log 3/4 .. log 4/3; sides are rounded and cut off at the image, so that nothing is drawn again.

    Args:
      u: uniform numbers in [0, 1) for area, aspect, left and top, of any shape.
      height, width: of the images.
      min_area, max_area: as shares.
    """
    area = _between(u["area"], min_area, max_area) * height * width
    aspect = jnp.exp(_between(u["aspect"], *map(math.log, ASPECTS)))
    crop_width = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, width)
    crop_height = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, height)
    left = jnp.floor(u["left"] * (width - crop_width + 1))
    top = jnp.floor(u["top"] * (height - crop_height + 1))
    return left, top, crop_width, crop_height


def resize_matrix(start: jax.Array, length: jax.Array, in_size: int, out_size: int) -> jax.Array:
    """Bicubic (Keys, a = -1/2), antialiased resampling of a piece of a line, as PIL does it.

    As with PIL's `box`, pixels beyond the piece but inside the image are used at its ends.

    Args:
      start, length: [N], of the piece, in pixels.
      in_size, out_size: number of pixels before and after.

    Returns:
      [N, out_size, in_size], whose rows sum to 1.
    """
    scale = (length / out_size)[:, None, None]
    centers = start[:, None, None] + (jnp.arange(out_size)[:, None] + 0.5) * scale
    x = jnp.abs(jnp.arange(in_size) + 0.5 - centers) / jnp.maximum(scale, 1.0)
    inner = (1.5 * x - 2.5) * x * x + 1.0
    outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    weights = jnp.where(x < 1.0, inner, jnp.where(x < 2.0, outer, 0.0))
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def blur_matrix(sigma: jax.Array, size: int, radius: int) -> jax.Array:
    """Convolution of a line with a Gaussian of 2 radius + 1 pixels that sums to 1; zeros outside.

    Args:
      sigma: [N], standard deviations in pixels.
      size: number of pixels.
      radius: of the kernel, in pixels.

    Returns:
      [N, size, size].
    """
    taps = jnp.exp(-0.5 * jnp.square(jnp.arange(-radius, radius + 1) / sigma[:, None]))
    taps = taps / jnp.sum(taps, axis=-1, keepdims=True)
    offset = jnp.arange(size)[None] - jnp.arange(size)[:, None]
    inside = jnp.abs(offset) <= radius
    return jnp.where(inside, taps[:, jnp.clip(offset, -radius, radius) + radius], 0.0)


def apply_matrices(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """rows @ plane @ columns^T for each plane: [N, H, C, W] to [N, S, C, T].

    Args:
      x: [N, H, C, W].
      rows: [N, S, H].
      columns: [N, T, W].
    """
    count, height, channels, width = x.shape
    x = rows @ x.reshape(count, height, channels * width)
    x = x.reshape(count, -1, width) @ columns.transpose(0, 2, 1)
    return x.reshape(count, rows.shape[1], channels, columns.shape[1])


def _crop(x, u, spec, image_size):
    height, width = x.shape[1], x.shape[3]
    left, top, crop_width, crop_height = crop_box(
        u, height, width, spec.crop_min_area, spec.crop_max_area)
    rows = resize_matrix(top, crop_height, height, image_size)
    columns = resize_matrix(left, crop_width, width, image_size)
    return jnp.clip(apply_matrices(x, rows, columns), 0.0, 1.0)


def _jitter(planes: Sequence[jax.Array], u: dict, spec: ViewSpec) -> list[jax.Array]:
    """Brightness, contrast, saturation and hue in a random order, each followed by a clip.

    At each of the four places every image needs another of the four operations. Brightness,
    contrast and saturation are one multiplication and addition whose coefficients are chosen.
    """
    is_color = len(planes) == 3
    strengths = dict(brightness=spec.brightness, contrast=spec.contrast,
                     saturation=spec.saturation * is_color, hue=spec.hue * is_color)
    names = [name for name, strength in strengths.items() if strength > 0]
    if not names:
        return list(planes)
    changes = {name: strengths[name] * (2.0 * u[name] - 1.0) for name in names}
    order = jnp.argsort(jnp.stack([u[f"place_{i}"] for i in range(len(names))], -1), axis=-1)
    is_jittered = u["jitter"] < spec.jitter_probability

    def apply_one(planes, place):
        chosen = {name: _per_plane(is_jittered & (place == i)) for i, name in enumerate(names)}
        change = {name: jnp.where(chosen[name], _per_plane(changes[name]), 0.0) for name in names}
        results = planes
        if "brightness" in names:
            results = [x + change["brightness"] for x in results]
        if "contrast" in names:
            means = [jnp.mean(x, axis=(1, 2), keepdims=True) for x in planes]
            results = [x + change["contrast"] * (x - m)
                       for x, m in zip(results, means, strict=True)]
        if "saturation" in names:
            adjusted = adjust_saturation(planes, 1.0 + change["saturation"])
            results = [jnp.where(chosen["saturation"], a, b)
                       for a, b in zip(adjusted, results, strict=True)]
        if "hue" in names:
            adjusted = adjust_hue(planes, change["hue"])
            results = [jnp.where(chosen["hue"], a, b)
                       for a, b in zip(adjusted, results, strict=True)]
        return [jnp.clip(x, 0.0, 1.0) for x in results], None

    # As a loop, because XLA on CPUs would compute a place again for each use of its result.
    return jax.lax.scan(apply_one, list(planes), order.T)[0]


def adjust_saturation(planes: Sequence[jax.Array], factor: jax.Array) -> list[jax.Array]:
    """Multiplies the saturation of HSV, cut off at 1; hue and value stay.

    With v the largest of r, g, b, the saturation is s = (v - min) / v and v - x is proportional
    to s for each channel x, so that no hue has to be computed.

    Args:
      planes: red, green, blue, in 0 .. 1.
      factor: broadcastable to a plane, at least 0.
    """
    value, spread = _value_and_spread(planes)
    largest = value / jnp.maximum(spread, 1e-12)
    factor = jnp.minimum(factor, largest)
    return [value - factor * (value - x) for x in planes]


def adjust_hue(planes: Sequence[jax.Array], shift: jax.Array) -> list[jax.Array]:
    """Turns the hue of HSV by a share of the circle; saturation and value stay.

    Args:
      planes: red, green, blue, in 0 .. 1.
      shift: broadcastable to a plane; whole numbers change nothing.
    """
    red, green, blue = planes
    value, spread = _value_and_spread(planes)
    inverse = 1.0 / jnp.maximum(spread, 1e-12)
    sextant = jnp.where(
        red == value, (green - blue) * inverse,
        jnp.where(green == value, (blue - red) * inverse + 2.0, (red - green) * inverse + 4.0))
    hue = sextant + 6.0 * shift

    def channel(place):
        k = (hue + place) / 6.0
        k = 6.0 * (k - jnp.floor(k))
        return value - spread * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return [channel(5.0), channel(3.0), channel(1.0)]


def _value_and_spread(planes):
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    return value, value - jnp.minimum(jnp.minimum(red, green), blue)


def _between(u, low, high):
    return low + (high - low) * u


def _per_image(values):
    return values[:, None, None, None]


def _per_plane(values):
    return values[:, None, None]
