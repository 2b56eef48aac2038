"""How noisy the gradients of minibatches are, and how large a batch therefore should be.

The gradient of one example has the mean G and the covariance Sigma, that of a minibatch of B
examples Sigma / B. tr(Sigma) / |G|^2 is the simple noise scale of arXiv 1812.06162 (recalled): the
batch size at which the noise of a step is as large as its signal. What SGD makes of the noise is in
`sgd_noise`, whose `temperature` multiplies Sigma.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax.nets import conv


class GradientNoise(NamedTuple):
    """Moments of the gradients of single examples; the first two are estimated without bias.

    Attributes:
      gradient_square: |G|^2; negative by chance where noise hides the gradient.
      covariance_trace: tr(Sigma).
      noise_scale: tr(Sigma) / |G|^2, a number of examples; as uncertain as |G|^2.
    """

    gradient_square: jax.Array
    covariance_trace: jax.Array
    noise_scale: jax.Array


def measure(losses: Callable[[Any, Any], jax.Array], params: Any, minibatches: Any,
            axis_name: str | None = None) -> GradientNoise:
    """From the gradients of K minibatches, of which two at a time are in memory; to be traced.

    Args:
      losses: `(params, batch) -> float [B]`, the loss of each example.
      params: tree of floating-point arrays.
      minibatches: tree of arrays [K, B, ...] of independent examples; B = 1 for single ones.
      axis_name: over which devices have different parts of each minibatch, if any.

    Raises:
      ValueError: for a single minibatch.
    """
    count, size = jax.tree.leaves(minibatches)[0].shape[:2]

    def gradient(minibatch):
        with conv.for_loops():
            grad = jax.grad(lambda p: jnp.mean(losses(p, minibatch)))(params)
        return grad if axis_name is None else jax.lax.pmean(grad, axis_name)

    def add(moments, inputs):
        # Welford's recursion, because squares of gradients may be far above their variance.
        mean, spread = moments
        number, minibatch = inputs
        change = jax.tree.map(jnp.subtract, gradient(minibatch), mean)
        mean = jax.tree.map(lambda m, c: m + c / number, mean, change)
        return (mean, spread + optax.tree.norm(change, squared=True) * (number - 1) / number), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    start = zeros, optax.tree.norm(zeros, squared=True)
    numbers = jnp.arange(1, count + 1, dtype=start[1].dtype)
    (mean, spread), _ = jax.lax.scan(add, start, (numbers, minibatches))
    if axis_name is not None:
        size *= jax.lax.axis_size(axis_name)
    return _estimate(optax.tree.norm(mean, squared=True), spread, count, size)


def of_gram(gram: jax.Array, batch_size: int = 1) -> GradientNoise:
    """From the inner products [K, K] of the gradients of K minibatches of this size."""
    count = len(gram)
    square = jnp.mean(gram)
    return _estimate(square, jnp.trace(gram) - count * square, count, batch_size)


def of_pairs(products: np.ndarray, batch_size: int, num_examples: int, sampling: str
             ) -> GradientNoise:
    """From pairs of minibatches, each drawn without replacement from N examples.

    G and Sigma are then those of the N examples (Sigma with 1 / N), and a minibatch has the
    covariance Sigma (N - B) / (B (N - 1)).

    Args:
      products: [pairs, 2, 2], the inner products of the gradients of each pair.
      batch_size: B.
      num_examples: N.
      sampling: 'independent', or 'disjoint' for pairs without a common example.
    """
    inner = np.mean(products[:, 0, 1])
    variance = np.mean(products[:, 0, 0] + products[:, 1, 1]) / 2 - inner
    others = num_examples - 1
    if sampling == "disjoint":
        # Two disjoint batches are correlated: their covariance is -Sigma / (N - 1).
        covariance_trace = variance * batch_size * others / num_examples
        gradient_square = inner + covariance_trace / others
    else:
        left = num_examples - batch_size
        covariance_trace = variance * batch_size * others / left if left else np.nan
        gradient_square = inner
    return GradientNoise(gradient_square, covariance_trace, covariance_trace / gradient_square)


def _estimate(square, spread, count, batch_size) -> GradientNoise:
    """`square` is that of the mean gradient, `spread` sums the squared distances to it."""
    if count < 2:
        raise ValueError(f"{count} minibatch has no variance; give two or more")
    variance = spread / (count - 1)
    gradient_square = square - variance / count
    covariance_trace = batch_size * variance
    return GradientNoise(gradient_square, covariance_trace, covariance_trace / gradient_square)
