"""Augmentation against a plain loop, its law, and its independence of batch and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import data

KEY = jax.random.key(7)


def _images(count, size=6, channels=2):
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (count, size, size, channels), dtype=np.uint8)


def _all_views(image, padding):
    """Every result that the recipe allows, by offset and mirror, in plain numpy."""
    size = len(image)
    padded = np.zeros((size + 2 * padding, size + 2 * padding, image.shape[-1]), image.dtype)
    padded[padding : padding + size, padding : padding + size] = image
    views = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            view = padded[top : top + size, left : left + size]
            views[top, left, False] = view
            views[top, left, True] = view[:, ::-1]
    return views


@pytest.mark.parametrize(("padding", "flip"), [(1, False), (2, True), (0, True)])
def test_every_view_is_one_of_the_recipe_and_all_are_equally_likely(padding, flip):
    count = 3600
    image = _images(1)[0]
    index = jnp.arange(count, dtype=jnp.uint32)
    out = np.asarray(
        data.augment(
            KEY, jnp.broadcast_to(image, (count, *image.shape)), index, crop_padding=padding,
            flip=flip,
        )
    )
    assert out.dtype == np.uint8
    views = {
        case: view for case, view in _all_views(image, padding).items() if flip or not case[2]
    }
    seen = np.array([(out == view).all((1, 2, 3)).sum() for view in views.values()])
    assert seen.sum() == count  # each result is exactly one of the views
    expected = count / len(views)
    chi_squared = ((seen - expected) ** 2 / expected).sum()
    degrees = len(views) - 1
    assert chi_squared < degrees + 4 * np.sqrt(2 * degrees)


def test_a_view_depends_on_the_index_and_not_on_the_place_in_the_batch():
    images, index = _images(32), np.arange(100, 132, dtype=np.uint32)
    augment = jax.jit(lambda x, i: data.augment(KEY, x, i, crop_padding=2, flip=True))
    whole = np.asarray(augment(images, index))
    order = np.random.default_rng(1).permutation(32)
    np.testing.assert_array_equal(augment(images[order], index[order]), whole[order])
    for part in (slice(0, 8), slice(8, 32)):
        np.testing.assert_array_equal(augment(images[part], index[part]), whole[part])
    assert (np.asarray(augment(images, index + 1)) != whole).any()


def test_another_key_gives_another_view():
    images, index = _images(32), jnp.arange(32)
    one, other = (
        data.augment(jax.random.key(seed), images, index, crop_padding=2, flip=True)
        for seed in (0, 1)
    )
    assert (one != other).any((1, 2, 3)).mean() > 0.8


def test_no_padding_and_no_flip_leave_the_images():
    images = _images(4)
    out = data.augment(KEY, images, jnp.arange(4), crop_padding=0, flip=False)
    np.testing.assert_array_equal(out, images)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="crop_padding=-1"):
        data.augment(KEY, _images(1), jnp.arange(1), crop_padding=-1, flip=False)


def test_normalized_training_images_have_mean_0_and_std_1(data_dir):
    info = data.info("digits")
    batch = next(data.eval_batches(
        "digits", split="train", image_size=8, batch_size=1437, data_dir=data_dir
    ))
    out = np.asarray(data.normalize(batch["image"], info.mean, info.std), np.float64)
    assert abs(out.mean()) < 1e-5 and abs(out.std() - 1) < 1e-5


def test_normalize_is_per_channel():
    images = np.array([[[[0, 100, 255]]]], np.uint8)
    out = data.normalize(images, (0.0, 50.0, 255.0), (1.0, 25.0, 3.0))
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, [[[[0.0, 2.0, 0.0]]]])
