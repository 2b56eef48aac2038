import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.analysis.embeddings import (
    alignment,
    describe,
    effective_rank,
    l2_normalize,
    mean_cosine,
    mean_cosine_of_pairs,
    relative_std,
    tree_distance,
    uniformity,
    verdict,
)


def gaussian(*shape, seed=0, offset=0.0):
    return (np.random.default_rng(seed).normal(size=shape) + offset).astype(np.float32)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_normalized_vectors_have_length_one_and_short_ones_stay_finite():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [3e-7, 4e-7]], np.float16)
    # The third is 1/2 of the shortest that becomes 1; float16 rounds it.
    expected = [[0.6, 0.8], [0.0, 0.0], 1e6 * np.float32(x[2])]
    normalized = l2_normalize(x)
    assert normalized.dtype == jnp.float32
    np.testing.assert_allclose(normalized, expected, rtol=1e-6)
    gradient = jax.grad(lambda v: l2_normalize(v).sum())(jnp.zeros(3))
    np.testing.assert_allclose(gradient, 1e6, rtol=1e-6)


def test_spread_is_the_biased_std_over_examples():
    # Two opposite directions in each dimension: std 1 / sqrt(d) of all, spread 1.
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.array([[5], [1], [2], [3]])
    assert relative_std(corners) == pytest.approx(1.0, abs=1e-6)
    # Half of them at e_1, half at e_2: std 1/2 in 2 of 8 dimensions.
    axes = np.eye(8)[[0, 0, 1, 1]]
    assert relative_std(axes) == pytest.approx(np.sqrt(8) * 2 * 0.5 / 8, abs=1e-6)
    assert relative_std(np.full((10, 7), 0.3)) < 1e-6
    # A spread of 1e-5 around a common direction is measured, not rounded away.
    near = gaussian(500, 50) * 1e-5 + np.eye(50)[0]
    tangent = unit(near).std(axis=0).mean() * np.sqrt(50)
    assert relative_std(near) == pytest.approx(tangent, rel=0.01)


def test_variances_sum_to_one_minus_the_squared_mean():
    z = gaussian(40, 12, offset=0.7)
    normalized = np.asarray(l2_normalize(z))
    mean = normalized.mean(axis=0)
    assert normalized.var(axis=0).sum() == pytest.approx(1.0 - mean @ mean, abs=1e-6)
    # So the spread is at most its root, which isotropic variances would reach.
    assert relative_std(z) < np.sqrt(1.0 - mean @ mean)
    assert relative_std(z) == pytest.approx(unit(z).std(axis=0).mean() * np.sqrt(12), rel=1e-5)


def test_cosines_are_those_of_a_double_loop():
    a, b = gaussian(9, 5, offset=0.5), gaussian(9, 5, seed=1, offset=0.5)
    ua, ub = unit(a), unit(b)
    positive = np.mean([ua[i] @ ub[i] for i in range(9)])
    pairs = [ua[i] @ ua[j] for i in range(9) for j in range(9) if i != j]
    assert mean_cosine_of_pairs(a) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mean_cosine(a, b) == pytest.approx(positive, abs=1e-6)
    # A row of zeros has cosine 0 with all others: 2 of 6 ordered pairs are left.
    with_zeros = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert mean_cosine_of_pairs(with_zeros) == pytest.approx(1 / 3)
    assert mean_cosine_of_pairs(np.array([[1.0, 1.0], [-1.0, -1.0]])) == pytest.approx(-1.0)


def test_effective_rank_of_what_has_a_known_rank():
    # N orthonormal rows lose one dimension to centring, c classes of equal counts likewise.
    basis, _ = np.linalg.qr(gaussian(20, 20))
    assert effective_rank(basis[:12]) == pytest.approx(11.0, rel=1e-4)
    assert effective_rank(np.eye(6)[np.arange(60) % 6]) == pytest.approx(5.0, rel=1e-4)
    # Singular values 3 and 1 (and not their squares): exp(H(3/4, 1/4)).
    expected = np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    cross = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]])
    for x in (cross, 1e-4 * cross, cross + 50.0):
        assert effective_rank(x) == pytest.approx(expected, rel=1e-3)


def test_effective_rank_of_gaussian_samples():
    # Of 256 samples in 32 dimensions; with squared singular values it is 30.1.
    assert effective_rank(gaussian(256, 32)) == pytest.approx(31.5, abs=0.15)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_constant_rows_have_rank_one(value):
    assert jax.jit(effective_rank)(np.full((33, 7), value)) == pytest.approx(1.0, abs=1e-3)
    # Rows that rounding alone makes differ.
    rounded = np.float32(value) * (1 + np.float32(6e-8) * (np.arange(231).reshape(33, 7) % 2))
    assert effective_rank(rounded) == pytest.approx(1.0, abs=1e-3)


def test_effective_rank_does_not_hide_nan():
    assert np.isnan(effective_rank(np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 3.0]])))


def test_alignment_and_uniformity_are_those_of_a_double_loop():
    a, b = gaussian(8, 4), gaussian(8, 4, seed=1)
    ua, ub = unit(a), unit(b)
    assert alignment(a, b) == pytest.approx(np.mean(((ua - ub) ** 2).sum(axis=1)), rel=1e-5)
    assert alignment(a, b) == pytest.approx(2.0 - 2.0 * float(mean_cosine(a, b)), rel=1e-5)
    assert alignment(a, 7.0 * a) < 1e-12
    assert alignment(a, -a) == pytest.approx(4.0)
    for t in (2.0, 0.5):
        potentials = [np.exp(-t * np.sum((ua[i] - ua[j]) ** 2))
                      for i in range(8) for j in range(8) if i != j]
        assert uniformity(a, t) == pytest.approx(np.log(np.mean(potentials)), rel=1e-5)


def test_uniformity_of_extremes():
    assert uniformity(np.ones((5, 300))) == pytest.approx(0.0, abs=1e-5)
    # All pairs orthogonal: |zi - zj|^2 = 2. With the diagonal it would be -2.7.
    assert uniformity(np.eye(10)) == pytest.approx(-4.0, abs=1e-5)


def test_tree_distance_is_relative_to_the_first():
    a = {"w": jnp.array([[3.0, 0.0]]), "b": jnp.array([4.0])}
    b = {"w": jnp.array([[3.0, 12.0]]), "b": jnp.array([4.0])}
    assert tree_distance(a, b) == pytest.approx(12 / 5)
    assert tree_distance(b, a) == pytest.approx(12 / 13)


def test_description_says_which_embedding_each_number_is_of():
    y1, y2 = gaussian(32, 10, offset=1.0), gaussian(32, 10, seed=1, offset=1.0)
    z1, z2 = gaussian(32, 6, seed=2), gaussian(32, 6, seed=3)
    described = jax.jit(describe)(y1, z1, y2, z2)
    expected = dict(
        feature_std=relative_std(y1), projection_std=relative_std(z1),
        positive_cosine=mean_cosine(z1, z2), negative_cosine=mean_cosine_of_pairs(z1),
        feature_rank=effective_rank(y1), projection_rank=effective_rank(z1),
        feature_alignment=alignment(y1, y2), alignment=alignment(z1, z2),
        uniformity=uniformity(z1))
    assert described.keys() == expected.keys()
    for name, value in expected.items():
        assert described[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


def test_verdict_on_embeddings_of_each_kind():
    spread, narrow = gaussian(256, 16), gaussian(256, 16) * 1e-3 + 1.0
    described = {name: {key: float(value) for key, value in describe(y, z, y, z).items()}
                 for name, y, z in (("healthy", spread, spread), ("collapsed", narrow, narrow),
                                    ("partly", narrow, spread))}
    assert verdict(described["healthy"]) is None
    assert verdict(described["collapsed"]).startswith("COLLAPSED: ")
    assert verdict(described["partly"]).startswith("PARTLY COLLAPSED: ")


def test_verdict_names_the_numbers_and_keeps_to_its_thresholds():
    measured = dict(projection_std=0.0123, feature_std=0.0456, negative_cosine=0.9987)
    said = verdict(measured)
    assert all(number in said for number in ("0.9987", "0.012"))
    assert said.startswith("COLLAPSED: ")
    assert not verdict(measured | dict(negative_cosine=0.99)).startswith("COLLAPSED: ")
    partly = dict(projection_std=0.83, feature_std=0.017, negative_cosine=0.3)
    assert all(number in verdict(partly) for number in ("0.83", "0.017"))
    assert verdict(partly | dict(feature_std=0.1)) is None
    assert verdict(dict.fromkeys(measured, float("nan"))) is None
