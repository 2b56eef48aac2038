"""RandAugment on the device, for a whole batch at once.

Cubuk et al. (2020), "RandAugment", with the operations, the magnitudes and the constants of the
code of Brock et al. (2021).
"""

import math

import jax
import jax.numpy as jnp

from nfnets_jax.data import color

# The first eight are lookups, the next two blends, the next five geometric; `apply` relies on it.
OPS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Contrast",
    "Brightness",
    "Color",
    "Sharpness",
    "Rotate",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Cutout",
)
FILL = 128  # grey level of what an operation leaves empty


def randaugment(
    key: jax.Array,
    images: jax.Array,
    index: jax.Array,
    *,
    num_layers: int,
    magnitude: float,
    translate_pixels: float = 100.0,
    cutout_pixels: float = 40.0,
) -> jax.Array:
    """Applies `num_layers` operations, one after the other, each drawn uniformly from `OPS`.

    An operation that is drawn is always applied, with the argument of `op_arguments`; geometric
    ones go either way with probability 1/2. The cost is that of every kind of operation once for
    each layer (one histogram, one lookup, one 3x3 smoothing, one gather of pixels, one mask),
    whichever are drawn. The original works on images of any size with the same 100 and 40 pixels.

    Differences from the released code: Contrast blends with the mean grey level, as in PIL (there
    with the number of pixels / 256, cut at 255: white, for images of 256 x 256 or more);
    Solarize from magnitude 10 on, whose threshold there does not fit a byte, is the identity;
    Posterize keeps 1 to 8 bits (below magnitude 2.5 PIL refuses, above 20 both are undefined);
    luma and smoothing are rounded as in PIL (there truncated: up to a grey level).

    Args:
      key: of this run; image i uses fold_in(key, index[i]).
      images: uint8 [N, H, W, C], C 3 or 1, before normalization; floats in pixel values are
        clipped to 0 .. 255 and truncated first.
      index: integer [N], the examples' positions in the stream.
      num_layers: 0 for none; 4 for NFNets.
      magnitude: of all operations, 0 .. 30; 5 to 15 for NFNets. Static.
      translate_pixels: of TranslateX and TranslateY at magnitude 10.
      cutout_pixels: half the side of Cutout's square at magnitude 10.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      ValueError: num_layers, magnitude, translate_pixels or cutout_pixels is negative, or C is
        neither 3 nor 1.
    """
    for name, value in (
        ("num_layers", num_layers),
        ("magnitude", magnitude),
        ("translate_pixels", translate_pixels),
        ("cutout_pixels", cutout_pixels),
    ):
        if value < 0:
            raise ValueError(f"{name}={value} must be at least 0")
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images of shape {images.shape} must have 3 channels or 1 in their last axis"
        )
    if images.dtype != jnp.uint8:
        images = jnp.clip(images, 0, 255).astype(jnp.uint8)
    height, width = images.shape[1:3]
    arguments = op_arguments(magnitude, translate_pixels, cutout_pixels)

    def one_layer(layer, image, position):
        own = jax.random.fold_in(jax.random.fold_in(key, position), layer)
        op_key, sign_key, row_key, column_key = jax.random.split(own, 4)
        center = (
            jax.random.randint(row_key, (), 0, height),
            jax.random.randint(column_key, (), 0, width),
        )
        return apply(
            image,
            jax.random.randint(op_key, (), 0, len(OPS)),
            sign=jax.random.rademacher(sign_key, (), jnp.float32),
            center=center,
            arguments=arguments,
        )

    layers = jax.vmap(one_layer, in_axes=(None, 0, 0))
    return jax.lax.fori_loop(
        0, num_layers, lambda layer, batch: layers(layer, batch, index), images
    )


def op_arguments(
    magnitude: float, translate_pixels: float = 100.0, cutout_pixels: float = 40.0
) -> dict[str, float]:
    """The argument of each operation that has one, at a magnitude.

    With m = magnitude / 10: Rotate 30 m degrees; shears 0.3 m; translations translate_pixels m;
    Cutout int(cutout_pixels m), half a side; Posterize int(4 m) bits; Solarize the threshold
    int(256 m); SolarizeAdd int(110 m), added below 128; Color, Contrast, Brightness and Sharpness
    the factor 0.1 + 1.8 m. Thus Posterize and Solarize grow weaker with the magnitude, and at
    magnitude 5 the four factors are 1, which changes nothing.
    """
    level = magnitude / 10
    factor = level * 1.8 + 0.1
    return {
        "Posterize": int(level * 4),
        "Solarize": int(level * 256),
        "SolarizeAdd": int(level * 110),
        "Contrast": factor,
        "Brightness": factor,
        "Color": factor,
        "Sharpness": factor,
        "Rotate": level * 30,
        "ShearX": level * 0.3,
        "ShearY": level * 0.3,
        "TranslateX": level * translate_pixels,
        "TranslateY": level * translate_pixels,
        "Cutout": int(level * cutout_pixels),
    }


def apply(
    image: jax.Array,
    op: jax.Array,
    *,
    sign: jax.Array,
    center: tuple[jax.Array, jax.Array],
    arguments: dict[str, float],
) -> jax.Array:
    """Applies one operation of `OPS` to one image; maps over batches with different ones.

    Args:
      image: uint8 [H, W, C].
      op: integer scalar, the position in `OPS`.
      sign: 1.0 or -1.0, of the argument of a geometric operation.
      center: row and column, of Cutout.
      arguments: of the operations, as from `op_arguments`.

    Returns:
      uint8 [H, W, C].
    """
    image = color.lookup(image, _tables(image, arguments)[jnp.minimum(op, 8)])

    degenerate = jnp.where(op == OPS.index("Color"), color.grey(image), color.smooth(image))
    factor = jnp.where(op == OPS.index("Color"), arguments["Color"], arguments["Sharpness"])
    is_blend = (op == OPS.index("Color")) | (op == OPS.index("Sharpness"))
    image = jnp.where(is_blend, color.blend(degenerate, image, factor), image)

    return cutout(
        affine(image, _matrix(op, sign, image.shape, arguments)),
        center,
        jnp.where(op == OPS.index("Cutout"), arguments["Cutout"], 0),
    )


def affine(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Takes each pixel from the nearest one of an affine map of its position.

    Pixel (row, column) of the result is pixel (round(d column + e row + f),
    round(a column + b row + c)) of `image`, counted from 0 at the centre of the first pixel, as
    in TensorFlow, or `FILL` where that lies outside. (PIL counts from the corner of the first
    pixel: its c is c + (1 - a - b) / 2, its f is f + (1 - d - e) / 2.)

    Args:
      image: [H, W, C].
      matrix: float32 [[a, b, c], [d, e, f]].

    Returns:
      [H, W, C] of the dtype of `image`.
    """
    height, width, channels = image.shape
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    source_column, source_row = (
        jnp.floor(line[0] * columns + line[1] * rows + line[2] + 0.5).astype(jnp.int32)
        for line in matrix
    )
    inside = (
        (0 <= source_column) & (source_column < width) & (0 <= source_row) & (source_row < height)
    )
    flat = jnp.where(inside, source_row * width + source_column, 0)
    return jnp.where(inside[..., None], image.reshape(-1, channels)[flat], FILL)


def cutout(
    image: jax.Array, center: tuple[jax.Array, jax.Array], half: jax.typing.ArrayLike
) -> jax.Array:
    """Fills rows [center[0] - half, center[0] + half), and columns likewise, with `FILL`."""
    rows, columns = (
        (c - half <= jnp.arange(size)) & (jnp.arange(size) < c + half)
        for c, size in zip(center, image.shape[:2], strict=True)
    )
    return jnp.where((rows[:, None] & columns)[..., None], FILL, image).astype(image.dtype)


def _tables(image: jax.Array, arguments: dict[str, float]) -> jax.Array:
    """uint8 [9, C, 256]: the tables of the first eight operations, and one that changes nothing."""
    tables = (
        color.autocontrast_table(image),
        color.equalize_table(image),
        color.invert_table(),
        color.posterize_table(arguments["Posterize"]),
        color.solarize_table(arguments["Solarize"]),
        color.solarize_add_table(arguments["SolarizeAdd"]),
        color.contrast_table(image, arguments["Contrast"]),
        color.brightness_table(arguments["Brightness"]),
        color.values(),
    )
    return jnp.stack([jnp.broadcast_to(table, (image.shape[-1], 256)) for table in tables])


def _matrix(
    op: jax.Array, sign: jax.Array, shape: tuple[int, ...], arguments: dict[str, float]
) -> jax.Array:
    """float32 [2, 3] for `affine`: the operation's, or the identity if it is not geometric.

    Rotations are about the image's centre, shears about the centre of its first pixel.
    """
    angle = math.radians(arguments["Rotate"])
    cos, sin = math.cos(angle), math.sin(angle) * sign
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    rows = {
        "Rotate": (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y),
        "ShearX": (1, sign * arguments["ShearX"], 0, 0, 1, 0),
        "ShearY": (1, 0, 0, sign * arguments["ShearY"], 1, 0),
        "TranslateX": (1, 0, sign * arguments["TranslateX"], 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, sign * arguments["TranslateY"]),
    }
    identity = jnp.array([1, 0, 0, 0, 1, 0], jnp.float32)
    matrices = [
        jnp.stack([jnp.float32(value) for value in rows[name]]) if name in rows else identity
        for name in OPS
    ]
    return jnp.stack(matrices)[op].reshape(2, 3)
