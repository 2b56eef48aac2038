"""RandAugment against PIL, its law, and its independence of the batch's layout."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from nfnets_jax import data
from nfnets_jax.data.randaugment import OPS, apply, op_arguments

KEY = jax.random.key(5)
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def _image(height=24, width=31, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@functools.partial(jax.jit, static_argnames=("op", "magnitude", "translate_pixels"))
def _apply(image, op, magnitude, sign=1.0, center=(0, 0), translate_pixels=10.0):
    return apply(
        image, OPS.index(op), sign=jnp.float32(sign), center=center,
        arguments=op_arguments(magnitude, translate_pixels, 6.0))


def _geometric_matrix(op, magnitude, sign, shape):
    """In positions counted from the centre of the first pixel."""
    m = sign * magnitude / 10
    if op == "Rotate":
        cos, sin = math.cos(math.radians(30 * m)), math.sin(math.radians(30 * m))
        y, x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
        return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y
    return {
        "ShearX": (1, 0.3 * m, 0, 0, 1, 0), "ShearY": (1, 0, 0, 0.3 * m, 1, 0),
        "TranslateX": (1, 0, 10 * m, 0, 1, 0), "TranslateY": (1, 0, 0, 0, 1, 10 * m)}[op]


def _pil(image, op, magnitude, sign=1):
    """The operation by PIL; of the factors and thresholds, the numbers at each magnitude."""
    picture = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
    if op in GEOMETRIC:
        a, b, c, d, e, f = _geometric_matrix(op, magnitude, sign, image.shape)
        out = picture.transform(
            picture.size, Image.Transform.AFFINE,
            (a, b, c + (1 - a - b) / 2, d, e, f + (1 - d - e) / 2),
            Image.Resampling.NEAREST, fillcolor=(128,) * 3 if image.shape[-1] == 3 else 128)
    elif op in ("Color", "Contrast", "Brightness", "Sharpness"):
        factor = {5: 1.0, 7: 1.36, 10: 1.9, 15: 2.8}[magnitude]
        out = getattr(ImageEnhance, op)(picture).enhance(factor)
    elif op == "Posterize":
        out = ImageOps.posterize(picture, {5: 2, 7: 2, 10: 4, 15: 6}[magnitude])
    elif op == "Solarize":
        out = ImageOps.solarize(picture, {5: 128, 7: 179, 10: 256, 15: 384}[magnitude])
    elif op == "SolarizeAdd":
        addition = {5: 55, 7: 77, 10: 110, 15: 165}[magnitude]
        out = np.where(image < 128, np.minimum(image.astype(int) + addition, 255), image)
    else:
        out = getattr(ImageOps, op.lower())(picture)
    return np.asarray(out).reshape(image.shape).astype(int)


def _is_close_to_a_tie(op, magnitude, sign, shape):
    """Where the nearest pixel depends on rounding: PIL counts in 2**-16 of a pixel."""
    a, b, c, d, e, f = _geometric_matrix(op, magnitude, sign, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    fractions = [(v - 0.5) % 1 for v in (a * x + b * y + c, d * x + e * y + f)]
    return np.any([np.minimum(v, 1 - v) < 2e-3 for v in fractions], axis=0)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("op", [op for op in OPS if op != "Cutout"])
def test_every_operation_is_pil_s_at_the_magnitudes_of_the_nfnets(op, channels):
    image = _image(channels=channels)
    for magnitude in (5, 10, 15):
        for sign in (1, -1) if op in GEOMETRIC else (1,):
            off = np.abs(np.asarray(_apply(image, op, magnitude, sign), int)
                         - _pil(image, op, magnitude, sign))
            if op in GEOMETRIC:
                tie = _is_close_to_a_tie(op, magnitude, sign, image.shape)
                assert tie.mean() < 0.2 and off[~tie].max() == 0
            else:
                # One level where float32 rounds otherwise; see test_color.
                assert off.max() <= 1 and (off > 0).mean() < 0.02


def test_rotation_is_counterclockwise_about_the_centre_and_translation_takes_from_the_right():
    image = np.full((5, 5, 1), 10, np.uint8)
    image[2, 4], image[2, 2] = 255, 99
    turned = np.asarray(_apply(image, "Rotate", 30))[..., 0]  # 90 degrees
    assert turned[0, 2] == 255 and turned[2, 2] == 99 and (turned == 10).sum() == 23
    moved = np.asarray(_apply(image, "TranslateX", 2))[..., 0]  # 2 pixels
    assert moved[2, 2] == 255 and moved[2, 0] == 99 and (moved[:, 3:] == 128).all()


def test_cutout_fills_a_square_of_twice_its_pixels_cut_at_the_border():
    image = _image(20, 30) // 2  # no pixel is 128
    for center, rows, columns in (
        ((10, 15), (7, 13), (12, 18)), ((0, 29), (0, 3), (26, 30)), ((19, 1), (16, 20), (0, 4))):
        expected = image.copy()
        expected[slice(*rows), slice(*columns)] = 128
        np.testing.assert_array_equal(_apply(image, "Cutout", 5, center=center), expected)


def test_arguments_at_magnitudes():
    at = {m: op_arguments(m) for m in (0, 5, 10, 15, 30)}
    expected = {
        "Posterize": (0, 2, 4, 6, 12), "Solarize": (0, 128, 256, 384, 768),
        "SolarizeAdd": (0, 55, 110, 165, 330), "Cutout": (0, 20, 40, 60, 120),
        "Rotate": (0, 15, 30, 45, 90), "ShearX": (0, 0.15, 0.3, 0.45, 0.9),
        "ShearY": (0, 0.15, 0.3, 0.45, 0.9), "TranslateX": (0, 50, 100, 150, 300),
        "TranslateY": (0, 50, 100, 150, 300)}
    expected |= dict.fromkeys(
        ("Color", "Contrast", "Brightness", "Sharpness"), (0.1, 1.0, 1.9, 2.8, 5.5))
    assert set(at[5]) == set(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose([at[m][name] for m in at], numbers, err_msg=name)


def test_operations_signs_and_centres_are_uniform():
    count, image = 4800, _image(9, 11) // 2 + 70
    out = np.asarray(data.randaugment(
        KEY, jnp.broadcast_to(image, (count, *image.shape)), jnp.arange(count), num_layers=1,
        magnitude=7, translate_pixels=3.0, cutout_pixels=3.0))
    # At magnitude 7 every operation gives another image; translations are of 2.1 pixels.
    cases = {}
    for op in OPS[:-1]:
        for sign in (1, -1) if op in GEOMETRIC else (1,):
            cases[op, sign] = np.asarray(_apply(image, op, 7, sign, translate_pixels=3.0))
    assert len({case.tobytes() for case in cases.values()}) == 20
    is_case = np.array([(out == case).all((1, 2, 3)) for case in cases.values()])
    assert (is_case.sum(0) <= 1).all()
    seen = dict(zip(cases, is_case.sum(1).tolist(), strict=True))
    rest = out[~is_case.any(0)]
    filled = (rest == 128).all(-1)
    assert (filled | (rest == image).all(-1)).all() and filled.any((1, 2)).all()  # Cutout
    per_op = [sum(n for (name, _), n in seen.items() if name == op)
              for op in OPS[:-1]] + [len(rest)]
    expected = count / 16
    assert ((np.array(per_op) - expected) ** 2 / expected).sum() < 15 + 4 * math.sqrt(30)
    for op in GEOMETRIC:
        plus, minus = seen[op, 1], seen[op, -1]
        assert abs(plus - minus) < 4 * math.sqrt(plus + minus)
    # int(2.1) = 2: rows [c - 2, c + 2) for c uniform in 0 .. 8 have 9 different ranges.
    ranges, counts = np.unique(filled.any(2), axis=0, return_counts=True)
    assert len(ranges) == 9
    assert ((counts - len(rest) / 9) ** 2 / (len(rest) / 9)).sum() < 8 + 4 * math.sqrt(16)


@pytest.mark.parametrize("channels", [3, 1])
def test_an_image_depends_on_its_index_and_not_on_the_batch(channels):
    images = np.stack([_image(12, 17, channels, seed) for seed in range(16)])
    index = np.arange(100, 116, dtype=np.uint32)
    run = jax.jit(functools.partial(data.randaugment, KEY, num_layers=3, magnitude=9))
    whole = np.asarray(run(images, index))
    order = np.random.default_rng(1).permutation(16)
    np.testing.assert_array_equal(run(images[order], index[order]), whole[order])
    for part in (slice(0, 1), slice(1, 16)):
        np.testing.assert_array_equal(run(images[part], index[part]), whole[part])
    assert (np.asarray(run(images, index + 1)) != whole).any((1, 2, 3)).sum() > 8


def test_layers_follow_each_other():
    count, image = 64, _image(9, 11)
    batch, index = np.broadcast_to(image, (count, *image.shape)), np.arange(count)
    one, two = (np.asarray(data.randaugment(KEY, batch, index, num_layers=n, magnitude=7))
                for n in (1, 2))
    # The second layer draws anew: what it makes of the first is one of the 16 operations, here
    # counted where it is Invert.
    inverted = (two == 255 - one).all((1, 2, 3)).sum()
    assert 0 < inverted < 16


def test_no_layer_leaves_bytes_and_truncates_floats():
    images = _image()[None]
    index = jnp.arange(1)
    run = functools.partial(data.randaugment, KEY, num_layers=0, magnitude=5)
    np.testing.assert_array_equal(run(images, index), images)
    floats = np.array([-3.0, 0.9, 254.99, 300.0], np.float32).reshape(1, 2, 2, 1)
    out = run(floats, index)
    assert out.dtype == jnp.uint8 and np.ravel(out).tolist() == [0, 0, 254, 255]


def test_what_cannot_be_augmented_is_refused():
    images, index = _image()[None], jnp.arange(1)
    with pytest.raises(ValueError, match="magnitude=-1"):
        data.randaugment(KEY, images, index, num_layers=1, magnitude=-1)
    with pytest.raises(ValueError, match="num_layers=-2"):
        data.randaugment(KEY, images, index, num_layers=-2, magnitude=1)
    with pytest.raises(ValueError, match="3 channels or 1"):
        data.randaugment(KEY, images[..., :2], index, num_layers=1, magnitude=1)
