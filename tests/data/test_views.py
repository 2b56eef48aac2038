"""Views of self-supervised learning against PIL, SciPy, matplotlib and the laws they follow."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import colors
from PIL import Image
from scipy import ndimage

from nfnets_jax import data
from nfnets_jax.data import images as host_images
from nfnets_jax.data import views

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 24, 24, 3), dtype=np.uint8)
INDEX = np.arange(12, dtype=np.uint32)
KEY = jax.random.key(0)
OFF = views.ViewSpec(
    crop_min_area=1.0, flip_probability=0.0, jitter_probability=0.0, grayscale_probability=0.0)
make_view = jax.jit(views.make_view, static_argnames=("spec", "image_size"))


def planes_of(images):
    return [images[..., c].astype(np.float32) for c in range(3)]


@pytest.mark.parametrize("out_size", [7, 24, 40])
@pytest.mark.parametrize("box", [(0, 0, 24, 24), (3, 5, 11, 19), (10, 0, 2, 24), (23, 23, 1, 1)])
def test_crop_is_pil_s_bicubic_resize_of_a_box(box, out_size):
    left, top, width, height = box
    image = RNG.uniform(size=(24, 24)).astype(np.float32)
    box = (left, top, left + width, top + height)
    expected = np.asarray(Image.fromarray(image, "F").resize(
        (out_size, out_size), Image.Resampling.BICUBIC, box=box))
    rows, columns = (
        views.resize_matrix(jnp.array([float(start)]), jnp.array([float(length)]), 24, out_size)
        for start, length in ((top, height), (left, width)))
    result = views.apply_matrices(image[None, :, None], rows, columns)[0, :, 0]
    np.testing.assert_allclose(result, expected, atol=2e-5)
    np.testing.assert_allclose(rows.sum(-1), 1.0, atol=1e-5)


def test_law_of_the_crop():
    """On a large image: area share uniform, log aspect uniform, positions uniform."""
    count, size = 20_000, 1000
    u = dict(zip(("area", "aspect", "left", "top"), RNG.uniform(size=(4, count)), strict=True))
    left, top, width, height = map(np.asarray, views.crop_box(u, size, size, 0.08, 0.5))
    assert (left >= 0).all() and (left + width <= size).all() and (top + height <= size).all()
    area, ratio = width * height / size**2, np.log(width / height)
    half = math.log(4 / 3)
    for values, low, high in ((area, 0.08, 0.5), (ratio, -half, half)):
        error = (high - low) / math.sqrt(12 * count)
        assert abs(values.mean() - (low + high) / 2) < 4 * error + 2e-3
        assert values.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.02)
    place = left / (size - width)
    assert abs(place.mean() - 0.5) < 4 / math.sqrt(12 * count)


def test_host_and_device_draw_the_same_law_and_cut_off_at_the_image():
    rng = np.random.default_rng(3)
    count = 4000
    host = np.array([host_images.area_crop(rng, 40, 90, 0.08) for _ in range(count)])
    u = dict(zip(("area", "aspect", "left", "top"), rng.uniform(size=(4, count)), strict=True))
    left, top, width, height = map(np.asarray, views.crop_box(u, 40, 90, 0.08, 1.0))
    device = np.stack([top, left, height, width], -1)
    assert (host[:, 0] + host[:, 2] <= 40).all() and (host[:, 1] + host[:, 3] <= 90).all()
    for column in range(4):
        a, b = host[:, column], device[:, column]
        error = math.sqrt((a.var() + b.var()) / count)
        assert abs(a.mean() - b.mean()) < 4 * error
    assert (host[:, 2] == 40).mean() > 0.1  # high crops of a wide image are cut off


def test_blur_is_a_gaussian_filter_with_zeros_outside():
    image = RNG.uniform(size=(24, 24))
    for sigma, radius in ((0.7, 3), (2.0, 5)):
        matrix = np.asarray(views.blur_matrix(jnp.array([sigma]), 24, radius))
        expected = ndimage.gaussian_filter(
            image, sigma, mode="constant", radius=radius)
        result = views.apply_matrices(jnp.float32(image)[None, :, None], matrix, matrix)[0, :, 0]
        np.testing.assert_allclose(result, expected, atol=1e-5)
        np.testing.assert_allclose(matrix[0, 12].sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(views.blur_matrix(jnp.array([1e-3]), 24, 3)[0], np.eye(24))


def test_saturation_and_hue_are_those_of_hsv():
    rgb = RNG.uniform(size=(50, 50, 3))
    rgb[0] = rgb[0, :, :1]  # greys
    rgb[1, :, 1] = rgb[1, :, 0]  # two equal channels
    hsv = colors.rgb_to_hsv(rgb)
    for factor in (0.0, 0.8, 1.2, 5.0):
        changed = hsv.copy()
        changed[..., 1] = np.clip(hsv[..., 1] * factor, 0, 1)
        result = np.stack(views.adjust_saturation(planes_of(rgb), jnp.float32(factor)), -1)
        np.testing.assert_allclose(result, colors.hsv_to_rgb(changed), atol=2e-5)
    for shift in (-0.1, 0.03, 0.5, 1.0):
        changed = hsv.copy()
        changed[..., 0] = (hsv[..., 0] + shift) % 1.0
        result = np.stack(views.adjust_hue(planes_of(rgb), jnp.float32(shift)), -1)
        np.testing.assert_allclose(result, colors.hsv_to_rgb(changed), atol=5e-5)


def reference_jitter(image, u, spec):
    """One image in float64, one operation after the other."""
    x = image.astype(float)
    names = ("brightness", "contrast", "saturation", "hue")
    for i in np.argsort([u[f"place_{i}"] for i in range(4)]):
        change = getattr(spec, names[i]) * (2 * u[names[i]] - 1)
        if names[i] == "brightness":
            x = x + change
        elif names[i] == "contrast":
            mean = x.mean((0, 1))
            x = mean + (1 + change) * (x - mean)
        else:
            hsv = colors.rgb_to_hsv(x)
            if names[i] == "saturation":
                hsv[..., 1] = np.clip(hsv[..., 1] * (1 + change), 0, 1)
            else:
                hsv[..., 0] = (hsv[..., 0] + change) % 1
            x = colors.hsv_to_rgb(hsv)
        x = np.clip(x, 0, 1)
    return x


def test_jitter_applies_the_four_operations_in_a_random_order():
    spec = OFF._replace(jitter_probability=1.0)
    images = RNG.uniform(0.1, 0.9, size=(12, 6, 6, 3)).astype(np.float32)
    result = make_view(KEY, images, INDEX, spec)
    orders = set()
    for i in range(12):
        u = np.asarray(jax.random.uniform(jax.random.fold_in(KEY, i), (len(views._DRAWS),)))
        u = dict(zip(views._DRAWS, u.astype(float), strict=True))
        orders.add(tuple(np.argsort([u[f"place_{k}"] for k in range(4)])))
        np.testing.assert_allclose(result[i], reference_jitter(images[i], u, spec), atol=2e-4)
    assert len(orders) > 6


def test_nothing_is_done_with_probability_zero():
    np.testing.assert_allclose(make_view(KEY, IMAGES, INDEX, OFF), IMAGES / 255.0, atol=1e-6)
    np.testing.assert_allclose(
        make_view(KEY, IMAGES, INDEX, OFF._replace(jitter_probability=1.0, brightness=0.0,
                                                   contrast=0.0, saturation=0.0, hue=0.0)),
        IMAGES / 255.0, atol=1e-6)


def test_operations_come_at_their_rates():
    count = 4000
    images = np.broadcast_to(RNG.uniform(0.2, 0.8, (1, 4, 4, 3)).astype(np.float32),
                             (count, 4, 4, 3))
    index = np.arange(count)
    changed = {
        "flip": OFF._replace(flip_probability=0.5),
        "jitter": OFF._replace(jitter_probability=0.8),
        "gray": OFF._replace(grayscale_probability=0.2),
        "solarize": OFF._replace(solarize_probability=0.2),
        "blur": OFF._replace(blur_probability=0.1, blur_kernel_fraction=0.6, blur_sigma_min=1.0),
    }
    rates = dict(flip=0.5, jitter=0.8, gray=0.2, solarize=0.2, blur=0.1)
    for name, spec in changed.items():
        result = np.asarray(make_view(KEY, images, index, spec))
        rate = np.mean(np.abs(result - images).max((1, 2, 3)) > 1e-4)
        error = math.sqrt(rates[name] * (1 - rates[name]) / count)
        assert abs(rate - rates[name]) < 4 * error, name


def test_flip_gray_and_solarize_are_exact():
    x = IMAGES / 255.0
    flipped = make_view(KEY, IMAGES, INDEX, OFF._replace(flip_probability=1.0))
    np.testing.assert_allclose(flipped, x[:, :, ::-1], atol=1e-6)
    gray = make_view(KEY, IMAGES, INDEX, OFF._replace(grayscale_probability=1.0))
    luma = x @ np.array([0.2989, 0.5870, 0.1140])
    np.testing.assert_allclose(gray, np.repeat(luma[..., None], 3, -1), atol=1e-6)
    white = make_view(KEY, np.full_like(IMAGES, 255), INDEX, OFF._replace(
        grayscale_probability=1.0))
    np.testing.assert_allclose(white, 0.9999, atol=1e-6)
    solarized = make_view(KEY, IMAGES, INDEX, OFF._replace(solarize_probability=1.0))
    np.testing.assert_allclose(solarized, np.where(x < 0.5, x, 1 - x), atol=1e-6)
    assert solarized.max() <= 0.5


def test_published_views():
    """View 1 always blurs and never solarizes; view 2 rarely blurs and solarizes a fifth."""
    assert views.VIEW_1 == views.ViewSpec(blur_probability=1.0)
    stripes = np.zeros((200, 24, 24, 3), np.uint8)
    stripes[:, :, ::2] = 255
    index = np.arange(200)
    kept = dict(crop_min_area=1.0, jitter_probability=0.0, grayscale_probability=0.0,
                blur_sigma_min=1.0)
    first = np.asarray(make_view(KEY, stripes, index, views.VIEW_1._replace(**kept)))
    second = np.asarray(make_view(KEY, stripes, index, views.VIEW_2._replace(**kept)))
    contrast = [np.abs(np.diff(view[:, 12, :, 0], axis=1)).mean(1) for view in (first, second)]
    assert (contrast[0] < 0.9).all() and (contrast[1] < 0.9).mean() < 0.4
    dark = second.max((1, 2, 3)) < 0.6  # only the solarized stripes are
    assert 0.1 < dark.mean() < 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_depends_on_the_index_and_not_on_the_batch(channels):
    images = IMAGES[..., :channels]
    whole = make_view(KEY, images, INDEX, views.VIEW_2, image_size=16)
    order = RNG.permutation(12)
    np.testing.assert_allclose(
        make_view(KEY, images[order], INDEX[order], views.VIEW_2, image_size=16), whole[order],
        atol=1e-6)
    halves = [make_view(KEY, images[part], INDEX[part], views.VIEW_2, image_size=16)
              for part in (slice(0, 6), slice(6, 12))]
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=1e-6)
    assert whole.shape == (12, 16, 16, channels) and whole.dtype == jnp.float32
    other = make_view(jax.random.key(1), images, INDEX, views.VIEW_2, image_size=16)
    assert np.abs(other - whole).max((1, 2, 3)).min() > 0.05


def test_host_views_restart_exactly_and_are_shared_among_processes():
    arguments = dict(split="train", image_size=8, batch_size=16, seed=3, random_resized_crop=True,
                     num_views=2, crop_law="area", num_threads=2)
    stream = data.train_batches("digits", **arguments)
    batches = [next(stream) for _ in range(3)]
    again = next(data.train_batches("digits", start_step=2, **arguments))
    np.testing.assert_array_equal(again["image"], batches[2]["image"])
    assert batches[0]["image"].shape == (16, 2, 8, 8, 1)
    assert (batches[0]["image"][:, 0] != batches[0]["image"][:, 1]).any((1, 2, 3)).mean() > 0.8
    parts = [next(data.train_batches("digits", process_index=i, process_count=2, **arguments))
             for i in range(2)]
    np.testing.assert_array_equal(
        np.concatenate([part["image"] for part in parts]), batches[0]["image"])
    with pytest.raises(ValueError, match="num_views=2 needs random_resized_crop=True"):
        data.train_batches("digits", **{**arguments, "random_resized_crop": False})
    with pytest.raises(ValueError, match="crop_law='wide' is unknown"):
        data.train_batches("digits", **{**arguments, "crop_law": "wide"})
