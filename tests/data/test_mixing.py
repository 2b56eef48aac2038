"""Mixing against its laws in closed form, pixel by pixel, and its independence of devices."""

import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import data
from nfnets_jax.data import mixing

KEY = jax.random.key(3)


def _batch(count, shape=(6, 8, 2), first=0):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    targets = np.eye(count, dtype=np.float32)
    return images, targets, np.arange(first, first + count, dtype=np.uint32)


def _flags(count, shape):
    """Images of which one of each pair is 0 and the other 1, and their targets, likewise."""
    flags = (np.arange(count) % 2).astype(np.uint8)
    images = np.broadcast_to(flags[:, None, None, None], (count, *shape, 1))
    return images, np.eye(2, dtype=np.float32)[flags], np.arange(count, dtype=np.uint32)


def _own_weight(targets):
    return np.asarray(targets)[np.arange(len(targets)), np.arange(len(targets)) % 2]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_mixup_ratios_have_the_moments_of_the_beta_distribution(alpha):
    count = 20_000
    _, targets = data.mix(KEY, *_flags(count, (1, 1)), mixup_alpha=alpha, cutmix=False)
    ratio = _own_weight(targets).astype(np.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(ratio.mean() - 1 / 2) < 4 * math.sqrt(variance / count)
    # The square of a centred Beta(a, a) has mean V and, from its kurtosis
    # 3 - 6 / (2a + 3), variance V**2 (2 - 6 / (2a + 3)).
    error = variance * math.sqrt((2 - 6 / (2 * alpha + 3)) / count)
    assert abs(((ratio - 1 / 2) ** 2).mean() - variance) < 4 * error
    assert abs(np.corrcoef(ratio[::2], ratio[1::2])[0, 1]) < 4 / math.sqrt(count / 2)


def test_mixup_is_one_weighted_sum_with_the_neighbour():
    images, targets, index = _batch(8)
    out, mixed = data.mix(KEY, images, targets, index, mixup_alpha=1.0, cutmix=False)
    out, mixed = np.asarray(out), np.asarray(mixed)
    assert out.dtype == mixed.dtype == np.float32
    for i in range(8):
        ratio = mixed[i, i]
        assert 0.01 < ratio < 0.99
        np.testing.assert_allclose(mixed[i, i ^ 1], 1 - ratio, rtol=1e-6)
        assert np.count_nonzero(mixed[i]) == 2
        expected = ratio * images[i].astype(np.float64) + (1 - ratio) * images[i ^ 1]
        np.testing.assert_allclose(out[i], expected, atol=1e-4)
    np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)


def test_cutmix_pastes_a_rectangle_and_the_target_has_the_exact_share_of_pixels():
    images, targets, index = _batch(64, (6, 8, 2))
    out, mixed = data.mix(KEY, images, targets, index, mixup_alpha=0, cutmix=True)
    out, mixed = np.asarray(out), np.asarray(mixed)
    assert out.dtype == np.float32
    np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)
    kept_counts = set()
    for i in range(64):
        own, pasted = (out[i] == images[i]).all(-1), (out[i] == images[i ^ 1]).all(-1)
        assert (own ^ pasted).all()  # random pixels: the two images agree nowhere
        assert pasted.sum() == pasted.any(1).sum() * pasted.any(0).sum()
        kept_counts.add(int(own.sum()))
        assert abs(48 * float(mixed[i, i]) - own.sum()) < 1e-5  # rounding of float32 only
    assert len(kept_counts) > 10


def _law_of_the_patch(height, width):
    """Probability of each (top, bottom, left, right), by summing over centres and shares."""
    # The truncated sides change where sqrt(1 - share) crosses k / height or k / width.
    edges = sorted({k / size for size in (height, width) for k in range(size + 1)})
    law = Counter()
    for low, high in zip(edges, edges[1:], strict=False):
        ratio, probability = (low + high) / 2, high**2 - low**2  # 1 - share is uniform
        half_height, half_width = int(ratio * height) // 2, int(ratio * width) // 2
        for row in range(height):
            for column in range(width):
                box = (max(row - half_height, 0), min(row + half_height, height),
                       max(column - half_width, 0), min(column + half_width, width))
                law[box] += probability / (height * width)
    return law


def test_patches_have_a_uniform_share_and_a_uniform_centre():
    height, width, count = 5, 7, 20_000
    keys = jax.random.split(KEY, count)
    boxes = jax.jit(jax.vmap(lambda key: jnp.stack(mixing.cutmix_patch(key, height, width))))(keys)
    seen = Counter(map(tuple, np.asarray(boxes).tolist()))
    law = _law_of_the_patch(height, width)
    assert math.isclose(sum(law.values()), 1) and set(seen) <= set(law)
    likely = [box for box, probability in law.items() if count * probability >= 10]
    expected = count * np.array([law[box] for box in likely])
    chi_squared = ((np.array([seen[box] for box in likely]) - expected) ** 2 / expected).sum()
    assert chi_squared < len(likely) + 4 * math.sqrt(2 * len(likely))
    assert expected.sum() > 0.9 * count


def test_on_large_images_cutmix_keeps_the_share_of_the_continuous_law():
    # A side l = sqrt(v), v uniform, centred uniformly loses l**2 / 4 at the borders, so that the
    # patch's mean area is the mean of (l - l**2 / 4)**2, which is 1/2 - 1/5 + 1/48.
    count, side = 20_000, 4096
    boxes = jax.vmap(lambda key: jnp.stack(mixing.cutmix_patch(key, side, side)))(
        jax.random.split(KEY, count))
    top, bottom, left, right = np.asarray(boxes, np.float64).T
    share = (bottom - top) * (right - left) / side**2
    assert abs(share.mean() - 77 / 240) < 4 * share.std() / math.sqrt(count)
    inside = (top > 0) & (bottom < side) & (left > 0) & (right < side)
    assert inside.any()
    np.testing.assert_array_equal((bottom - top)[inside], (right - left)[inside])


def test_with_both_the_pairs_take_mixup_and_cutmix_in_turn():
    count = 16
    images, targets, index = _batch(count, (12, 12, 3), first=96)
    both, both_targets = data.mix(KEY, images, targets, index, mixup_alpha=0.2, cutmix=True)
    mixup = data.mix(KEY, images, targets, index, mixup_alpha=0.2, cutmix=False)
    cutmix = data.mix(KEY, images, targets, index, mixup_alpha=0, cutmix=True)
    for i in range(count):
        expected = mixup if i // 2 % 2 == 0 else cutmix
        np.testing.assert_array_equal(both[i], expected[0][i])
        np.testing.assert_array_equal(both_targets[i], expected[1][i])


def test_even_shards_are_mixed_as_the_whole_batch_is():
    images, targets, index = _batch(12, first=10)
    run = jax.jit(lambda *batch: data.mix(KEY, *batch, mixup_alpha=0.2, cutmix=True))
    whole = run(images, targets, index)
    for part in (slice(0, 2), slice(2, 8), slice(8, 12)):
        for one, all_ in zip(run(images[part], targets[part], index[part]), whole, strict=True):
            np.testing.assert_array_equal(one, all_[part])
    again = run(images, targets, index + 12)
    assert all((np.asarray(a) != b).any() for a, b in zip(again, whole, strict=True))


def test_smoothed_targets_still_sum_to_1():
    images, _, index = _batch(32)
    targets = np.random.default_rng(1).dirichlet(np.ones(5), 32).astype(np.float32)
    _, mixed = data.mix(KEY, images, targets, index, mixup_alpha=0.2, cutmix=True)
    np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)


def test_without_mixup_and_cutmix_nothing_changes():
    images, targets, index = _batch(3)
    out, mixed = data.mix(KEY, images, targets, index, mixup_alpha=0.0, cutmix=False)
    assert out is images and mixed is targets


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match="a batch of 3 images.*even number"):
        data.mix(KEY, *_batch(3), mixup_alpha=0.2, cutmix=False)
    with pytest.raises(ValueError, match="mixup_alpha=-0.2"):
        data.mix(KEY, *_batch(2), mixup_alpha=-0.2, cutmix=True)
