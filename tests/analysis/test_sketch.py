import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.analysis import sketch


def losses(params, batch):
    """The gradients are the examples themselves, in two leaves."""
    return batch["a"] @ params["a"] + jnp.sum(batch["b"] * params["b"], (1, 2))


def problem(count):
    rng = np.random.default_rng(0)
    batch = dict(a=rng.normal(size=(count, 40)).astype(np.float32),
                 b=rng.normal(size=(count, 12, 5)).astype(np.float32))
    vectors = np.concatenate([batch["a"], batch["b"].reshape(count, -1)], 1).astype(np.float64)
    return dict(a=jnp.zeros(40), b=jnp.zeros((12, 5))), batch, vectors


def test_inner_products_are_right_on_average_and_as_scattered_as_stated():
    x = np.random.default_rng(0).normal(size=(3, 60)).astype(np.float32)
    x[2] += x[0]
    size, repeats = 16, 1000
    sketches = jax.jit(jax.vmap(lambda key: sketch.count_sketch(jnp.asarray(x), key, size)))(
        jax.random.split(jax.random.key(0), repeats))
    products = np.asarray(sketches @ sketches.transpose(0, 2, 1), np.float64)
    x = x.astype(np.float64)
    gram = x @ x.T
    variance = np.square(np.asarray(sketch.inner_product_deviation(gram, size)))
    # The bound, less the coordinates that two vectors share.
    exact = variance - 2 * np.square(x) @ np.square(x).T / size
    error = np.sqrt(exact / repeats)
    assert np.all(np.abs(np.mean(products, 0) - gram) < 4 * error)
    np.testing.assert_allclose(np.var(products, 0) / exact, 1.0, atol=0.25)
    norms = np.sqrt(np.einsum("nii->ni", products))
    cosine = products[:, 0, 2] / (norms[:, 0] * norms[:, 2])
    expected = sketch.cosine_deviation(gram[0, 2] / np.sqrt(gram[0, 0] * gram[2, 2]), size)
    np.testing.assert_allclose(np.std(cosine), expected, rtol=0.2)


def test_nothing_is_lost_with_a_bucket_for_each_parameter():
    params, batch, vectors = problem(7)
    sketches = sketch.sketch_gradients(losses, params, batch, jax.random.key(0), 100, block_size=3)
    assert sketches.shape == (7, 100)
    np.testing.assert_allclose(sketches @ sketches.T, vectors @ vectors.T, rtol=1e-4, atol=1e-4)


def test_lowest_pairs_are_exact():
    params, batch, vectors = problem(12)
    for leaf, shift in (("a", 0.2), ("b", -0.1)):  # one pair is opposite
        batch[leaf][5] = -batch[leaf][9] + shift
    vectors[5] = np.concatenate([batch["a"][5], batch["b"][5].reshape(-1)])
    sketches = sketch.sketch_gradients(losses, params, batch, jax.random.key(0), 32)
    pairs, cosines = sketch.lowest_pairs(losses, params, batch, sketches, count=8)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines, np.sum(unit[pairs[:, 0]] * unit[pairs[:, 1]], 1), atol=1e-6)
    assert pairs.shape == (8, 2) and tuple(pairs[0]) == (5, 9)
    assert np.all(np.diff(cosines) >= 0)
