"""Hessian products, Lanczos and ARPACK against dense Hessians and known spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

from nfnets_jax.analysis import curvature
from nfnets_jax.nets.conv import conv
from nfnets_jax.training.mesh import DATA, REPLICATED, make_mesh, map_over_devices

RNG = np.random.default_rng(0)
EXAMPLES = {"x": RNG.normal(size=(13, 5)), "y": RNG.normal(size=(13, 3))}
PARAMS = {"w": RNG.normal(size=(5, 6)), "b": RNG.normal(size=6), "v": RNG.normal(size=(6, 3))}


def losses(params, batch):
    outputs = jnp.tanh(batch["x"] @ params["w"] + params["b"]) @ params["v"]
    return jnp.sum(jnp.square(outputs - batch["y"]), -1)


def mean_loss(params):
    return jnp.mean(losses(params, EXAMPLES))


@pytest.fixture(scope="module")
def dense():
    """The Hessian [54, 54] in float64, of JAX's forward over reverse."""
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(PARAMS)
        return np.asarray(jax.jit(jax.hessian(lambda p: mean_loss(unravel(p))))(flat))


@pytest.fixture(scope="module")
def product():
    """Compiled, `vector -> H vector`, over batches of which the last one is ragged."""
    batches = curvature.split(EXAMPLES, 4)
    return jax.jit(lambda v: curvature.hessian_product(losses, PARAMS, batches, v))


def matrix_product(matrix):
    return lambda v: jnp.asarray(matrix) @ v


def test_batches_are_filled_up_with_the_first_example():
    batches = curvature.split({"i": np.arange(5)}, 3)
    np.testing.assert_array_equal(batches.examples["i"], [[0, 1, 2], [3, 4, 0]])
    np.testing.assert_array_equal(batches.mask, [[1, 1, 1], [1, 1, 0]])


def test_products_and_gradients_are_those_of_the_mean_over_all_examples(dense, product):
    vector = RNG.normal(size=len(dense))
    with jax.enable_x64(True):
        unravel = ravel_pytree(PARAMS)[1]
        flat, _ = ravel_pytree(product(unravel(vector)))
        np.testing.assert_allclose(flat, dense @ vector, rtol=1e-11, atol=1e-12)
        got, expected = jax.device_get(jax.jit(lambda params: (
            curvature.gradient(losses, params, curvature.split(EXAMPLES, 4)),
            jax.value_and_grad(mean_loss)(params)))(PARAMS))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), got, expected)

        chunked = jax.jit(lambda b: curvature.hessian_product(losses, PARAMS, b, unravel(vector)))
        chunks = (curvature.split(jax.tree.map(lambda x, s=s: x[s], EXAMPLES), 4)
                  for s in (slice(0, 8), slice(8, 13)))  # of 8 and of 5 examples
        flat, _ = ravel_pytree(curvature.mean_over_chunks(chunked, chunks))
        np.testing.assert_allclose(flat, dense @ vector, rtol=1e-11, atol=1e-12)


def test_lanczos_arpack_and_eigh_agree(dense, product):
    values = np.linalg.eigvalsh(dense)
    with jax.enable_x64(True):
        ritz = jax.jit(lambda key: curvature.lanczos(product, PARAMS, key, 54))(jax.random.key(0))
        np.testing.assert_allclose(ritz.values, values, atol=1e-8)
        found = curvature.converged_extremes(product, PARAMS, jax.random.key(1), tolerance=1e-10)
    assert found.converged.all() and found.num_products < 200
    np.testing.assert_allclose(found.values, values[[0, -1]], atol=1e-8)
    assert found.residuals.max() < 1e-8


def test_few_products_bound_the_spectrum_and_know_by_how_much(dense):
    values = np.linalg.eigvalsh(dense)
    with jax.enable_x64(True):
        like = jnp.zeros(54)
        few = jax.jit(lambda key: curvature.lanczos(matrix_product(dense), like, key, 6))
        ritz = few(jax.random.key(3))
        again = few(jax.random.key(3))
        start = np.asarray(jax.random.normal(jax.random.key(3), (54,), like.dtype))
    ritz, again = jax.device_get((ritz, again))
    jax.tree.map(np.testing.assert_array_equal, ritz, again)
    start = start / np.linalg.norm(start)
    ends = ritz.values[[0, -1]]
    assert values[0] < ends[0] < ends[1] < values[-1]
    for end, vector, residual in zip(
            ends, ritz.vectors, ritz.residuals[[0, -1]], strict=True):
        assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-12)
        assert np.linalg.norm(dense @ vector - end * vector) == pytest.approx(residual, rel=1e-9)
        assert np.min(np.abs(values - end)) <= residual
    # Gauss quadrature of the start vector's measure is exact up to degree 2 k - 1 = 11.
    for degree in (0, 1, 5, 11):
        moment = start @ np.linalg.matrix_power(dense, degree) @ start
        assert ritz.weights @ ritz.values**degree == pytest.approx(moment, rel=1e-9)


def test_spaces_that_end_early():
    diagonal = jax.jit(lambda d: curvature.lanczos(lambda v: d * v, d, jax.random.key(0), 5))
    for spectrum in ([2.0] * 8, [-1.0] * 3 + [4.0] * 5, [0.0] * 8, [0.0] * 6 + [1.0, 2.0]):
        ritz = diagonal(jnp.array(spectrum))
        np.testing.assert_allclose(np.sum(ritz.weights), 1, rtol=1e-6)
        for i in (0, -1):
            extreme = (min, max)[i](spectrum)
            assert ritz.values[i] == pytest.approx(extreme, abs=1e-6)
            assert ritz.residuals[i] < 1e-6
    with pytest.raises(ValueError, match="num_products=9: must be from 1 to 8, the number"):
        curvature.lanczos(lambda v: v, jnp.zeros(8), jax.random.key(0), 9)


def test_the_smallest_eigenvalue_is_found_beside_a_large_one():
    # ARPACK's own tolerance, relative to -0.01, is not reached on such a spectrum.
    spectrum = np.concatenate([[-0.01], np.linspace(-0.009, 1, 197), [60.0, 90.0]])
    with jax.enable_x64(True):
        diagonal = jax.jit(lambda v: jnp.asarray(spectrum) * v)
        like = jnp.zeros(len(spectrum))
        found = curvature.converged_extremes(diagonal, like, jax.random.key(0), tolerance=1e-7)
        mirrored = curvature.converged_extremes(
            lambda v: -diagonal(v), like, jax.random.key(0), tolerance=1e-7)
        rough = curvature.converged_extremes(
            diagonal, like, jax.random.key(0), tolerance=1e-14, max_restarts=1)
    np.testing.assert_allclose(found.values, [-0.01, 90], atol=1e-7 * 90)
    np.testing.assert_allclose(mirrored.values, [-90, 0.01], atol=1e-7 * 90)
    assert found.converged.all() and list(rough.converged) == [False, True]
    # Twice 20 and a residual; for lambda_min then 150 without a restart.
    assert abs(rough.num_products - (2 * 21 + 150)) < 20
    assert rough.values[0] == pytest.approx(-0.01, abs=1e-8) and rough.residuals[0] < 1e-3


def test_density_is_that_of_the_eigenvalues(dense):
    """On average over start vectors, whatever k."""
    with jax.enable_x64(True):
        many = jax.jit(lambda keys: jax.lax.map(
            lambda key: curvature.lanczos(matrix_product(dense), jnp.zeros(54), key, 10)[:2], keys))
        values, weights = jax.device_get(many(jax.random.split(jax.random.key(0), 400)))
    points, smooth = curvature.density(values, weights)
    step = points[1] - points[0]
    assert smooth.sum() * step == pytest.approx(1, abs=1e-5)
    eigenvalues = np.linalg.eigvalsh(dense)
    for power in (1, 2):
        expected = np.mean(eigenvalues**power)
        means = np.sum(weights * values**power, -1)
        error = means.std(ddof=1) / 20
        assert abs(means.mean() - expected) < 4 * error < 0.2 * expected
    width = np.ptp(values) / 100
    assert np.sum(smooth * points**2) * step == pytest.approx(
        np.mean(np.sum(weights * values**2, -1)) + width**2, rel=1e-4)
    points, smooth = curvature.density([3.0], [1.0], width=0.5, num_points=1001)
    np.testing.assert_allclose(smooth[500], 1 / (0.5 * np.sqrt(2 * np.pi)))
    assert points[0] == 0.5 and points[-1] == 5.5


def test_trace_is_exact_for_diagonals_and_within_its_error_otherwise(dense):
    with jax.enable_x64(True):
        diagonal, like = jnp.arange(54.0), jnp.zeros(54)
        estimate = jax.jit(lambda product, key: curvature.trace(product, like, key, 100),
                           static_argnums=0)
        exact, no_error = map(float, estimate(lambda v: diagonal * v, jax.random.key(0)))
        mean, error = map(float, estimate(matrix_product(dense), jax.random.key(0)))
    assert exact == 54 * 53 / 2 and no_error == 0
    assert abs(mean - np.trace(dense)) < 3 * error
    off_diagonal = dense - np.diag(np.diag(dense))  # the variance is 2 |off_diagonal|^2
    assert error == pytest.approx(np.linalg.norm(off_diagonal) * (2 / 100)**0.5, rel=0.3)


def test_convolutions_in_loops_have_the_hessian_of_jax():
    images = jnp.asarray(RNG.normal(size=(6, 5, 6, 2)), jnp.float32)
    kernels = {name: jnp.asarray(RNG.normal(size=shape) / 4, jnp.float32)
               for name, shape in (("first", (3, 3, 2, 4)), ("second", (3, 3, 4, 2)))}
    vector = jax.tree.map(lambda k: jnp.flip(k) + 1, kernels)

    def image_losses(kernels, images):
        hidden = jax.nn.relu(conv(images, kernels["first"]))
        return jnp.sum(jnp.square(conv(hidden, kernels["second"], stride=2) - 1), (1, 2, 3))

    grad = jax.grad(lambda kernels: jnp.mean(image_losses(kernels, images)))
    expected = jax.jit(lambda v: jax.jvp(grad, (kernels,), (v,))[1])(vector)
    got = jax.jit(lambda v: curvature.hessian_product(
        image_losses, kernels, curvature.split(images, 4), v))(vector)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)


def test_any_number_of_devices_finds_the_same():
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)
    batches = curvature.split(jax.tree.map(lambda x: x.astype(np.float32), EXAMPLES), 8)

    def measure(params, batches, key):
        def product(vector):
            return curvature.hessian_product(losses, params, batches, vector, axis_name=DATA)

        return curvature.lanczos(product, params, key, 3)[:3]

    found = []
    for count in (1, 2, 4):
        mesh = make_mesh(devices=jax.devices()[:count])
        program = map_over_devices(
            measure, mesh, (REPLICATED, P(None, DATA), REPLICATED), REPLICATED)
        found.append(jax.device_get(program(params, batches, jax.random.key(0))))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=2e-5, atol=2e-5)
