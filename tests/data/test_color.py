"""Each operation on colours against PIL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from nfnets_jax.data import color

FACTORS = (0.0, 0.1, 0.55, 1.0, 1.9, 2.8)


def _images():
    """Colour and grey, noise and a narrow range of values, H != W, and one of a single colour."""
    rng = np.random.default_rng(0)
    for channels in (3, 1):
        yield rng.integers(0, 256, (37, 53, channels), dtype=np.uint8)
        yield rng.integers(90, 141, (64, 48, channels), dtype=np.uint8)
        yield (255 * rng.beta(0.3, 2, (50, 41, channels))).astype(np.uint8)
        yield np.full((5, 9, channels), 77, np.uint8)


def _pil(image):
    return Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])


def _array(picture, like):
    return np.asarray(picture).reshape(like.shape)


def _levels_off(ours, picture, image):
    assert ours.dtype == jnp.uint8
    return np.abs(np.asarray(ours, int) - _array(picture, image))


@pytest.mark.parametrize(
    ("ours", "pil"),
    [(color.invert, ImageOps.invert), (color.equalize, ImageOps.equalize)]
    + [(lambda x, b=b: color.posterize(x, b), lambda x, b=b: ImageOps.posterize(x, b))
       for b in (1, 2, 4, 6, 8)]
    + [(lambda x, t=t: color.solarize(x, t), lambda x, t=t: ImageOps.solarize(x, t))
       for t in (0, 128, 255, 256, 384)])
def test_lookups_are_those_of_pil(ours, pil):
    ours = jax.jit(ours)
    for image in _images():
        assert _levels_off(ours(image), pil(_pil(image)), image).max() == 0


def test_autocontrast_is_pil_s_but_for_its_rounding_of_exact_results():
    for image in _images():
        off = _levels_off(color.autocontrast(image), ImageOps.autocontrast(_pil(image)), image)
        low, high = image.min((0, 1)).astype(int), image.max((0, 1)).astype(int)
        exact = (image - low) * 255 % np.maximum(high - low, 1) == 0
        # There float64 may fall short of the integer, and PIL truncates.
        assert off[~exact].max(initial=0) == 0 and off.max() <= 1
    narrow = np.array([[[100], [150], [102]]], np.uint8)
    assert np.asarray(color.autocontrast(narrow)).ravel().tolist() == [0, 255, 10]


@pytest.mark.parametrize(
    ("ours", "pil"),
    [(color.brightness, ImageEnhance.Brightness), (color.contrast, ImageEnhance.Contrast),
     (color.color, ImageEnhance.Color), (color.sharpness, ImageEnhance.Sharpness)])
def test_enhancements_are_those_of_pil(ours, pil):
    for image in _images():
        for factor in FACTORS:
            off = _levels_off(
                jax.jit(ours)(image, factor), pil(_pil(image)).enhance(factor), image)
            # Equal, but where the float32 sum is an integer up to rounding, then truncated.
            assert off.max() <= 1 and (off > 0).mean() < 0.02
        np.testing.assert_array_equal(ours(image, 1.0), image)


def test_grey_and_smooth_are_those_of_pil():
    for image in _images():
        np.testing.assert_array_equal(
            np.asarray(color.grey(image))[..., 0], np.asarray(_pil(image).convert("L")))
        smooth = _pil(image).filter(ImageFilter.SMOOTH)
        np.testing.assert_array_equal(color.smooth(image), _array(smooth, image))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 1), (2, 2, 3), (4, 1, 1)])
def test_an_image_without_an_interior_is_not_smoothed(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(color.smooth(image), image)


def test_solarize_add_lightens_what_is_dark():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    x = np.arange(256)
    for addition in (0, 55, 165):
        expected = np.where(x < 128, np.minimum(x + addition, 255), x)
        np.testing.assert_array_equal(np.ravel(color.solarize_add(image, addition)), expected)


@pytest.mark.parametrize("count", [color._histogram_by_counting, color._histogram_by_product])
def test_both_histograms_count_every_value(count):
    for image in _images():
        expected = [np.bincount(c.ravel(), minlength=256) for c in np.moveaxis(image, -1, 0)]
        np.testing.assert_array_equal(count(jnp.asarray(image)), expected)
