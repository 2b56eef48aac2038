"""Gradient, Hessian products, extremal eigenvalues and spectral density of a loss over examples.

F(params) is the mean of `losses(params, batch)`, float [N], over all examples. They come as
`Batches`, of which one at a time is in memory:

    def product(vector):
        return hessian_product(losses, params, batches, vector)

    ritz = lanczos(product, params, key, num_products=100)
    ritz.values[0], ritz.values[-1]         # about lambda_min and lambda_max

Put it into one `jax.jit` of (params, batches, key). Within `training.mesh.map_over_devices` pass
axis_name='data' and shard `Batches` along axis 1; means are then over the examples of all devices.
For data that do not fit on the device see `mean_over_chunks` and `converged_extremes`.

The Lanczos iterations are matfree's and ARPACK's. Of a network with ReLUs this is the Hessian where
it exists. With statistics of the batch in its norms, a network has other losses for other
`Batches`, which must then have no filling. Numbers have the dtype of the parameters: an eigenvalue
near 0 needs float64 to be seen, at about 1e-7 lambda_max in float32.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matfree import decomp, stochtrace
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from nfnets_jax.nets import conv

Losses = Callable[[Any, Any], jax.Array]
Product = Callable[[Any], Any]

_SUBSPACE = 20  # ARPACK's Lanczos vectors between restarts
_FALLBACK = 150  # and where restarts do not converge


class Batches(NamedTuple):
    """Examples in batches of one size.

    Attributes:
      examples: tree of arrays [batches, N, ...].
      mask: float32 [batches, N], 0 for what only fills up the last batch.
    """

    examples: Any
    mask: Any


def split(examples: Any, batch_size: int) -> Batches:
    """Divides examples, a tree of NumPy arrays [N, ...], into batches; the first one fills up."""
    count = len(jax.tree.leaves(examples)[0])
    places = np.arange(-(-count // batch_size) * batch_size).reshape(-1, batch_size)
    is_example = places < count
    chosen = np.where(is_example, places, 0)
    return Batches(jax.tree.map(lambda x: x[chosen], examples), is_example.astype(np.float32))


def gradient(losses: Losses, params: Any, batches: Batches, axis_name: str | None = None):
    """F and its gradient.

    Args:
      losses: see the module.
      params: tree of floating-point arrays.
      batches: all examples.
      axis_name: over which devices have different examples, if any.

    Returns:
      (scalar, tree like params).
    """
    return _mean(lambda batch, mask: jax.value_and_grad(_sum(losses, batch, mask))(params),
                 batches, axis_name)


def hessian_product(losses: Losses, params: Any, batches: Batches, vector: Any,
                    axis_name: str | None = None) -> Any:
    """The Hessian of F times a vector, at the price of two or three gradients.

    It is the gradient of <grad F, vector>: of the orders of differentiation this is the one that
    the convolutions of this library have in loops (`nets.conv.for_loops`).

    Args:
      losses, params, batches, axis_name: as for `gradient`.
      vector: tree like params.
    """
    def product(batch, mask):
        grad = jax.grad(_sum(losses, batch, mask))
        return jax.grad(lambda p: _inner(grad(p), vector))(params)

    return _mean(product, batches, axis_name)


def _sum(losses, batch, mask):
    return lambda params: jnp.sum(mask * losses(params, batch))


def _inner(a, b):
    return sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))


def _mean(function, batches, axis_name):
    """Adds up the trees `function(batch, mask)` and divides by the number of examples."""
    def add(total, batch):
        with conv.for_loops():
            return jax.tree.map(jnp.add, total, function(*batch)), None

    like = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], batches))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    total, _ = jax.lax.scan(add, zeros, batches)
    count = jnp.sum(batches.mask)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return jax.tree.map(lambda x: x / count.astype(x.dtype), total)


def mean_over_chunks(function: Callable[[Batches], Any], chunks: Iterable[Batches]) -> Any:
    """The mean over a data set that is read chunk by chunk, for gradients and products.

    Args:
      function: compiled, `batches -> tree` of means over the examples of a chunk.
      chunks: each passes through the device in turn.
    """
    total, count = None, 0.0
    for batches in chunks:
        examples = float(np.sum(batches.mask))
        part = jax.tree.map(lambda x, n=examples: n * x, function(batches))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
        count += examples
    return jax.tree.map(lambda x: x / count, total)


class Ritz(NamedTuple):
    """What k Lanczos iterations know of the spectrum of H.

    Attributes:
      values: [k], ascending. All of them lie between lambda_min and lambda_max.
      weights: [k], squared components of the start vector, of sum 1: the mean of f(values) with
        these weights is that of f(lambda) under the start vector's measure, exactly for
        polynomials f of degree 2 k - 1.
      residuals: [k], ||H v - value v|| of each unit Ritz vector v, but for rounding; there is an
        eigenvalue within this distance.
      vectors: tree like the parameters with a leading axis of 2, the unit Ritz vectors of the
        first and the last value.
    """

    values: jax.Array
    weights: jax.Array
    residuals: jax.Array
    vectors: Any


def lanczos(product: Product, like: Any, key: jax.Array, num_products: int) -> Ritz:
    """Lanczos iterations with full reorthogonalisation, from a random start vector; to be traced.

    It holds `num_products` vectors two or three times. Beside the products it takes
    8 num_products^2 operations for each parameter, which XLA is slow at on CPUs: they are below a
    tenth where a product is one over many more examples than `num_products`
    (`python -m benchmarks.analysis`).

    Args:
      product: `tree -> tree`, multiplies by a symmetric matrix.
      like: tree with the shapes and the dtype of the vectors.
      key: of the start vector, uniform on the sphere.
      num_products: k, at most the number of parameters.

    Raises:
      ValueError: for a larger k.
    """
    flat, unravel = ravel_pytree(like)
    if not 1 <= num_products <= flat.size:
        raise ValueError(f"num_products={num_products}: must be from 1 to {flat.size}, the number "
                         "of parameters")
    start = jax.random.normal(key, flat.shape, flat.dtype)
    tridiagonalize = decomp.tridiag_sym(num_products, materialize=False, custom_vjp=False)
    # In the default precision of accelerators the basis would lose its orthogonality.
    with jax.default_matmul_precision("highest"):
        basis, (diagonal, off_diagonal), rest, _ = tridiagonalize(
            lambda vector: ravel_pytree(product(unravel(vector)))[0], start)
    # The start vector's space may end early: matfree then goes on with rounding errors, or 0 / 0.
    # What is put there is apart from the rest, has no weight, and lies between lambda_min and
    # lambda_max.
    smallest = 10 * jnp.finfo(flat.dtype).eps * jnp.nanmax(jnp.abs(diagonal))
    ended = jnp.cumsum(~(off_diagonal > smallest)) > 0
    off_diagonal = jnp.where(ended, 0, off_diagonal)
    ended = jnp.insert(ended, 0, False)
    diagonal = jnp.where(ended, diagonal[0], diagonal)
    rest = jnp.where(ended[-1], 0, jnp.linalg.norm(rest))
    values, vectors = jnp.linalg.eigh(
        jnp.diag(diagonal) + jnp.diag(off_diagonal, 1) + jnp.diag(off_diagonal, -1))
    extremes = vectors[:, jnp.array([0, -1])].T @ jnp.where(ended[:, None], 0, basis)
    return Ritz(values, jnp.square(vectors[0]), rest * jnp.abs(vectors[-1]),
                jax.vmap(unravel)(extremes))


def density(values: np.ndarray, weights: np.ndarray, width: float | None = None,
            num_points: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """The spectral density by stochastic Lanczos quadrature, smoothed with a Gaussian.

    Args:
      values, weights: of `Ritz`, [k], or [starts, k] for the mean over several start vectors.
      width: standard deviation of the Gaussian; default (our choice) a hundredth of the range.
      num_points: of the grid, which extends 5 widths beyond the values.

    Returns:
      Eigenvalues and density [num_points], float64, of integral 1.
    """
    values, weights = np.atleast_2d(values).astype(float), np.atleast_2d(weights).astype(float)
    low, high = values.min(), values.max()
    width = width or (high - low) / 100 or 1.0
    points = np.linspace(low - 5 * width, high + 5 * width, num_points)
    bells = np.exp(-np.square((points[:, None] - values.reshape(-1)) / width) / 2)
    return points, bells @ weights.reshape(-1) / (len(values) * width * np.sqrt(2 * np.pi))


def trace(product: Product, like: Any, key: jax.Array,
          num_products: int) -> tuple[jax.Array, jax.Array]:
    """Hutchinson's estimate of the trace from random signs, and its standard error; to be traced.

    Args:
      product, like: as for `lanczos`.
      key: of the signs.
      num_products: how many vectors of signs, at least 2.
    """
    signs = stochtrace.sampler_signs(like, num=num_products)(key)
    integrand = stochtrace.monte_carlo_trace()
    estimates = jax.lax.map(lambda vector: integrand(product, vector), signs)
    return jnp.mean(estimates), jnp.std(estimates, ddof=1) / num_products**0.5


class Extremes(NamedTuple):
    """The ends of a spectrum; arrays are of NumPy.

    Attributes:
      values: [2], lambda_min and lambda_max.
      residuals: [2], ||H v - value v|| of the unit vectors that belong to them.
      converged: [2], whether the tolerance was reached.
      num_products: how many products it took.
    """

    values: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    num_products: int


def converged_extremes(product: Product, like: Any, key: jax.Array, *, tolerance: float = 1e-5,
                       max_restarts: int = 100) -> Extremes:
    """Both ends of the spectrum as precisely as asked for, by ARPACK on the host.

    ARPACK's tolerance is relative to the eigenvalue, which never converges for one near 0. So the
    end of larger magnitude comes first, and the other one as the largest of H - lambda, both within
    tolerance * the larger magnitude, or twice that. What does not converge is the result of 150
    iterations without a restart (`converged` is False).

    Args:
      product: compiled, `tree -> tree`; may read data from the host.
      like, key: as for `lanczos`; at least 3 parameters.
      tolerance: see above; in float32 not below 1e-6.
      max_restarts: of 20 iterations.
    """
    flat, unravel = ravel_pytree(like)
    start = np.asarray(jax.random.normal(key, flat.shape, flat.dtype))
    num_products = 0

    def multiply(vector):
        nonlocal num_products
        num_products += 1
        return np.asarray(ravel_pytree(product(unravel(jnp.asarray(vector))))[0])

    def largest(shift):
        operator = LinearOperator(2 * start.shape, dtype=start.dtype,
                                  matvec=lambda x: multiply(x.ravel()) - shift * x.ravel())

        def search(**limits):
            value, vector = eigsh(operator, 1, which="LM", v0=start, **limits)
            return value[0], vector[:, 0]

        try:
            value, vector = search(
                tol=tolerance, maxiter=max_restarts, ncv=min(_SUBSPACE, start.size))
            converged = True
        except ArpackNoConvergence:
            value, vector = search(tol=np.inf, maxiter=1, ncv=min(_FALLBACK, start.size))
            converged = False
        value += shift
        return value, np.linalg.norm(multiply(vector) - value * vector), converged

    first = largest(start.dtype.type(0))
    ends = sorted([first, largest(first[0])])
    return Extremes(*map(np.array, zip(*ends, strict=True)), num_products)
