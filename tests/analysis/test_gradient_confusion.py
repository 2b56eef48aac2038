import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.analysis import gradient_confusion as confusion
from nfnets_jax.analysis.gram import gram


def gram_of(vectors):
    vectors = np.asarray(vectors, np.float64)
    return vectors @ vectors.T


def linear_losses(w, batch):
    """<w, x> for each x: the examples are their own gradients."""
    return batch @ w


def test_statistics_of_known_cosines():
    vectors = [[2, 0], [0, 3], [-1, 0], [0, 0]]
    found = confusion.per_example_confusion(gram_of(vectors))
    # Pairs in order: 0, -1, 0 with the zero, 0, 0, 0.
    np.testing.assert_array_equal(found.cosines, [0, -1, 0, 0, 0, 0])
    assert (found.min_cos, found.median, found.n_pairs, found.num_zero) == (-1.0, 0.0, 6, 1)
    assert found.p05 == pytest.approx(-0.75) and found.mean == pytest.approx(-1 / 6)
    assert found.std == pytest.approx(np.sqrt(1 / 6 - 1 / 36))
    assert found.frac_negative == pytest.approx(1 / 6)
    assert found.eta_raw == 2.0
    assert found.effective_sample_size == pytest.approx(6**2 / 14)
    assert (found.batch_size, found.mode, found.sampling) == (1, "per_example", "disjoint")


def test_one_gradient_has_no_pair():
    with pytest.raises(ValueError, match="N=1 gradients have no pair"):
        confusion.per_example_confusion(np.ones((1, 1)))


def test_all_zeros_are_counted():
    found = confusion.per_example_confusion(np.zeros((3, 3)))
    assert (found.min_cos, found.eta_raw, found.num_zero) == (0.0, 0.0, 3)
    assert found.effective_sample_size == 0.0
    assert confusion.coherence(np.zeros((3, 3))) == 0.0
    assert confusion.gradient_diversity(np.zeros((3, 3))) == np.inf


def test_scale_order_and_duplicates():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4))
    found = confusion.per_example_confusion(gram_of(vectors))
    scaled = confusion.per_example_confusion(gram_of(-3.0 * vectors[::-1]))
    np.testing.assert_allclose(sorted(scaled.cosines), sorted(found.cosines), rtol=1e-12)
    assert scaled.eta_raw == pytest.approx(9.0 * found.eta_raw)
    doubled = confusion.per_example_confusion(gram_of(np.concatenate([vectors, vectors])))
    assert np.sum(doubled.cosines > 1 - 1e-12) == 6
    assert doubled.min_cos == pytest.approx(found.min_cos)


def test_simplex_has_the_smallest_mean_cosine():
    """Of N unit vectors the mean cosine is at least -1 / (N - 1), which a simplex attains."""
    n = 7
    found = confusion.per_example_confusion(gram_of(np.eye(n) - 1 / n))
    np.testing.assert_allclose(found.cosines, -1 / (n - 1), rtol=1e-12)
    assert confusion.coherence(gram_of(np.eye(n) - 1 / n)) == pytest.approx(0.0, abs=1e-12)


def test_a_stationary_point_has_confusion():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 5))
    vectors -= np.mean(vectors, 0)
    products = gram_of(vectors)
    trace = np.trace(products)
    assert np.sum(products) - trace == pytest.approx(-trace)
    assert confusion.per_example_confusion(products).eta_raw >= trace / (8 * 7)


def test_linear_models_have_the_cosines_of_their_inputs():
    """cos(g_i, g_j) = sign(zeta_i zeta_j) cos(x_i, x_j) whatever the residuals zeta."""
    rng = np.random.default_rng(0)
    x, target, w = rng.normal(size=(9, 4)), rng.normal(size=9), rng.normal(size=4)

    def losses(w, batch):
        return 0.5 * (batch[0] @ w - batch[1]) ** 2

    with jax.enable_x64(True):
        actual = confusion.cosines(gram(losses, w, (x, target)))
        orthogonal = confusion.per_example_confusion(
            gram(losses, jnp.asarray(w), (np.eye(4), target[:4])))
    signs = np.sign(x @ w - target)
    np.testing.assert_allclose(
        actual, signs[:, None] * signs * confusion.cosines(x @ x.T), atol=1e-12)
    assert (orthogonal.min_cos, orthogonal.eta_raw) == (0.0, 0.0)


def test_orthogonal_linear_networks():
    """Of v W_3 W_2 W_1 x, v constant and |v|^2 = 1 / 6: G_ij = r_i r_j <x_i, x_j> / 2."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(7, 5)), rng.normal(size=7)
    matrices = [np.linalg.qr(rng.normal(size=(5, 5)))[0] for _ in range(3)]
    output = np.linalg.qr(rng.normal(size=(5, 1)))[0][:, 0] / np.sqrt(6)

    def predict(matrices, x):
        for matrix in matrices:
            x = x @ matrix.T
        return x @ output

    def losses(matrices, batch):
        return 0.5 * (predict(matrices, batch[0]) - batch[1]) ** 2

    residual = predict(matrices, x) - target
    with jax.enable_x64(True):
        actual = gram(losses, matrices, (x, target))
    np.testing.assert_allclose(
        actual, 0.5 * residual[:, None] * residual * (x @ x.T), rtol=0, atol=1e-12)


def test_uniform_softmax():
    """At equal logits of one direction, classes have the cosine -1 / (C - 1), or 1 with themselves.

    Diversity and coherence are those of a sum that is 0 over the classes; the stiffness of a class
    with itself leaves the example itself out.
    """
    labels = np.arange(6) % 3
    products = gram_of(np.eye(3)[labels] - 1 / 3)
    expected = np.where(labels[:, None] == labels, 1.0, -0.5)
    np.testing.assert_allclose(confusion.cosines(products), expected, atol=1e-12)
    np.testing.assert_allclose(confusion.stiffness(products, labels),
                               1.5 * np.eye(3) - 0.5, atol=1e-12)
    np.testing.assert_array_equal(confusion.stiffness(products, labels, of_sign=True),
                                  2 * np.eye(3) - 1)
    assert np.isnan(confusion.stiffness(products[:3, :3], labels[:3])[0, 0])


def test_diversity_and_coherence():
    equal, orthogonal = np.ones((5, 5)), np.eye(5)
    assert confusion.gradient_diversity(equal) == pytest.approx(1 / 5)
    assert confusion.coherence(equal) == pytest.approx(5)
    assert confusion.gradient_diversity(orthogonal) == confusion.coherence(orthogonal) == 1
    assert confusion.effective_sample_size(np.array([4.0, 4.0, 4.0])) == pytest.approx(3)
    assert confusion.effective_sample_size(np.array([4.0, 0.0, 0.0])) == pytest.approx(1)


@pytest.fixture(scope="module")
def centred():
    x = np.random.default_rng(0).normal(size=(60, 200)).astype(np.float32)
    return x - np.mean(x, 0)


def measure(x, **arguments):
    found = confusion.minibatch_confusion(
        linear_losses, jnp.zeros(x.shape[1]), x, jax.random.key(0), num_pairs=400, **arguments)
    return found, found.std / 20


def test_disjoint_batches_oppose_each_other(centred):
    """Where the gradients' sum is 0 the mean cosine is -B / (N - B), of independent ones 0."""
    found, error = measure(centred, batch_size=20, sampling="disjoint")
    assert found.mean == pytest.approx(-20 / 40, abs=4 * error) and error < 0.005
    found, error = measure(centred, batch_size=20)
    assert found.mean == pytest.approx(0.0, abs=4 * error) and error < 0.02
    assert (found.n_pairs, found.batch_size, found.mode) == (400, 20, "minibatch")


def test_batches_are_drawn_without_replacement(centred):
    # A batch of all examples has the gradient 0, and so has every pair of them.
    found, _ = measure(1.0 + 0 * centred + np.eye(60, 200), batch_size=60)
    np.testing.assert_allclose(found.cosines, 1.0, rtol=1e-5)
    # Halves of all examples, disjoint, are opposite.
    found, _ = measure(centred, batch_size=30, sampling="disjoint")
    np.testing.assert_allclose(found.cosines, -1.0, rtol=1e-4)


def test_disjoint_batches_inherit_the_bound(centred):
    """<g_A, g_B> is a mean of inner products of examples."""
    found, _ = measure(centred, batch_size=20, sampling="disjoint")
    assert found.eta_raw <= confusion.per_example_confusion(centred @ centred.T).eta_raw


def test_draws_that_are_not_possible(centred):
    w = jnp.zeros(200)
    for arguments, message in (
            (dict(batch_size=31, sampling="disjoint"), "batch_size=31 is not within 1 and 30"),
            (dict(batch_size=61), "batch_size=61 is not within 1 and 60"),
            (dict(batch_size=4, num_pairs=0), "num_pairs=0"),
            (dict(batch_size=4, sampling="random"), "sampling='random' is unknown")):
        with pytest.raises(ValueError, match=message):
            confusion.minibatch_confusion(
                linear_losses, w, centred, jax.random.key(0), **arguments)
