"""Decoding, the law of the random crop, and the evaluation crop."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from nfnets_jax.data import images

from .pictures import encode, photograph


def _pil(data, mode="RGB"):
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


@pytest.fixture
def picture():
    return photograph(np.random.default_rng(0), 120, 160)


def test_png_is_exact_and_jpeg_agrees_with_pillow(picture):
    np.testing.assert_array_equal(images.decode(encode(picture, "PNG"), 3), picture)
    for options in ({"quality": 95}, {"progressive": True}, {"subsampling": 0}):
        data = encode(picture, "JPEG", **options)
        difference = images.decode(data, 3).astype(int) - _pil(data)
        assert np.abs(difference).max() <= 2, options


def test_cmyk_files_like_imagenets_have_the_colours_that_pillow_gives(picture):
    out = io.BytesIO()
    Image.fromarray(picture).convert("CMYK").save(out, "JPEG", quality=95)
    decoded = images.decode(out.getvalue(), 3)
    np.testing.assert_array_equal(decoded, _pil(out.getvalue()))
    assert np.abs(decoded.astype(int) - picture).mean() < 3


def test_grey_files_become_three_equal_channels(picture):
    data = encode(np.asarray(Image.fromarray(picture).convert("L")), "JPEG", quality=95)
    decoded = images.decode(data, 3)
    np.testing.assert_array_equal(decoded, np.repeat(decoded[..., :1], 3, axis=-1))
    assert np.abs(decoded[..., 0].astype(int) - _pil(data, "L")).max() <= 1


@pytest.mark.parametrize("mode", ["P", "RGBA", "L"])
def test_png_modes_become_rgb(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG")
    np.testing.assert_array_equal(
        images.decode(out.getvalue(), 3), np.asarray(image.convert("RGB"))
    )


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="9 bytes starting b'not an i' are not an image"):
        images.decode(b"not an im", 3)


def test_a_lower_resolution_is_large_enough_and_the_same_picture(picture):
    data = encode(picture, "JPEG", quality=95)
    small = images.decode(data, 3, min_height=50, min_width=60)
    assert small.shape[0] >= 50 and small.shape[1] >= 60 and small.shape[0] < 120
    expected = np.asarray(Image.fromarray(picture).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - expected).mean() < 2


def _crops(height, width, count=20_000):
    rng = np.random.default_rng(0)
    return np.array([images.random_crop(rng, height, width, 224) for _ in range(count)])


@pytest.mark.parametrize("shape", [(500, 500), (375, 500), (500, 333)])
def test_random_crops_follow_the_law_of_the_papers_pipeline(shape):
    """Against numerical integration over the aspect ratio a, uniform in [3/4, 4/3].

    Given a, the height h is uniform on [sqrt(0.08 HW / a), min(sqrt(HW / a), H, W / a)], and
    crops of a h^2 < 0.1 HW are refused.
    """
    height, width = shape
    top, left, h, w = _crops(height, width).T
    assert (top >= 0).all() and (top + h <= height).all()
    assert (left >= 0).all() and (left + w <= width).all()

    area = height * width
    a = np.linspace(3 / 4, 4 / 3, 2001)[:, None]
    low = np.sqrt(0.08 * area / a)
    high = np.minimum(np.minimum(np.sqrt(area / a), height), width / a)
    sides = low + (high - low) * np.linspace(0, 1, 2001)
    fraction = a * sides**2 / area
    weight = (fraction >= 0.1).astype(float)
    weight /= weight.sum()

    for name, values, law in (
        ("area", h * w / area, fraction),
        ("area squared", (h * w / area) ** 2, fraction**2),
        ("aspect", w / h, a + 0 * sides),
        ("aspect squared", (w / h) ** 2, a**2 + 0 * sides),
        ("height", h, sides),
    ):
        error = values.std() / math.sqrt(len(values))
        # Rounding to pixels moves the mean of a side by far less than a tenth of a pixel.
        slack = 2e-3 * law.mean() / math.sqrt(12)
        assert abs(values.mean() - (weight * law).sum()) < 4 * error + slack, name

    # Positions are uniform: centred on average, whatever the size of the crop.
    free = (height - h) > 0
    place = (top[free] + 0.5) / (height - h[free] + 1)
    assert abs(place.mean() - 0.5) < 4 * math.sqrt(1 / 12 / free.sum())
    assert abs(place.var() - 1 / 12) < 0.003


def test_where_no_crop_fits_the_central_one_is_taken():
    assert images.random_crop(np.random.default_rng(0), 2, 400, 224) == (
        images.center_crop(2, 400, 224)
    )


def test_training_image_is_the_crop_at_full_resolution_resized(picture):
    """Decoding at a lower resolution must not move the crop."""
    ramp = np.stack(np.broadcast_arrays(*np.ogrid[0:240, 0:240], 0), -1).astype(np.uint8)
    data = encode(ramp, "JPEG", quality=100, subsampling=0)
    for seed in range(20):
        top, left, h, w = images.random_crop(np.random.default_rng(seed), 240, 240, 24)
        image = images.load_crops(data, 24, 3, [(top, left, h, w)])[0].astype(float)
        centres = (np.arange(24) + 0.5) / 24
        inner = slice(2, -2)
        np.testing.assert_allclose(
            image[..., 0].mean(1)[inner], (top + h * centres - 0.5)[inner], atol=1.5
        )
        np.testing.assert_allclose(
            image[..., 1].mean(0)[inner], (left + w * centres - 0.5)[inner], atol=1.5
        )


def test_arrays_and_png_are_cropped_alike(picture):
    crops = [
        images.load_crops(source, 32, 3, [(5, 3, 40, 30), (0, 0, *images.shape_of(source))])
        for source in (picture, encode(picture, "PNG"))
    ]
    np.testing.assert_array_equal(*crops)


@pytest.mark.parametrize(
    ("shape", "image_size", "expected"),
    [
        ((256, 256), 224, (16, 16, 224, 224)),
        ((375, 500), 224, (24, 86, 328, 328)),
        ((500, 333), 192, (108, 24, 285, 285)),
        ((64, 64), 64, (11, 11, 42, 42)),
    ],
)
def test_evaluation_crop(shape, image_size, expected):
    """Worked out by hand from Brock et al.: side = min(H, W) S / (S + 32), rounded down."""
    assert images.center_crop(*shape, image_size) == expected


@pytest.mark.parametrize("shape", [(120, 160), (160, 121), (40, 40)])
def test_evaluation_image_is_pillows(shape):
    data = encode(photograph(np.random.default_rng(2), *shape), "PNG")
    full = Image.open(io.BytesIO(data))
    side = int(min(shape) * 64 / (64 + 32))
    left, top = -(-(shape[1] - side) // 2), -(-(shape[0] - side) // 2)
    expected = full.crop((left, top, left + side, top + side)).resize(
        (64, 64), Image.Resampling.BICUBIC
    )
    image = images.load_for_evaluation(data, 64, 3).astype(int)
    # `resize(box=...)` sees the pixels outside the box at its border only where they exist.
    np.testing.assert_allclose(image[3:-3, 3:-3], np.asarray(expected)[3:-3, 3:-3], atol=1)
