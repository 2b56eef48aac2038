"""Sketches of per-example gradients: a few numbers for each that keep inner products on average.

CountSketch (Charikar, Chen and Farach-Colton 2002) adds each coordinate, with a random sign, to one
of k buckets. E <Sx, Sy> = <x, y>, with a variance of (|x|^2 |y|^2 + <x, y>^2 - 2 sum_i x_i^2 y_i^2)
/ k.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.analysis import gram as gram_lib
from nfnets_jax.analysis import per_example
from nfnets_jax.analysis.gradient_confusion import cosines
from nfnets_jax.analysis.haiku_layers import Losses, find_layers

_BLOCK_ELEMENTS = 2**26


def sketch_gradients(
    losses: Losses, params: Any, batch: Any, key: jax.Array, size: int, *,
    block_size: int | None = None,
) -> jax.Array:
    """CountSketches of the gradients of all examples, for networks that `gram` takes too long for.

    Args:
      losses, params, batch: as for `gram`.
      key: of the buckets and signs.
      size: k, buckets. If there are as many as parameters, each has its own: nothing is lost.
      block_size: examples that are differentiated at a time; None chooses.

    Returns:
      [N, k], whose products S S^T estimate the Gram matrix.
    """
    losses = gram_lib.as_partial(losses)
    layers = find_layers(losses, params, batch)
    count = len(jax.tree.leaves(batch)[0])
    # The gradients of a block, their signed copy and its transpose are in memory.
    dimensions = sum(x.size for x in jax.tree.leaves(params))
    block_size = min(count, block_size or max(1, _BLOCK_ELEMENTS // (3 * dimensions)))
    blocks = []
    for start in range(0, count, block_size):
        begin = min(start, count - block_size)
        block = jax.tree.map(lambda x, i=begin: x[i:i + block_size], batch)
        sketches = _sketch_block(losses, params, block, key, layers=layers, size=size)
        blocks.append(sketches[start - begin:])
    return jnp.concatenate(blocks)


@functools.partial(jax.jit, static_argnames=("layers", "size"))
def _sketch_block(losses, params, block, key, *, layers, size):
    return count_sketch(per_example.gradients(losses, params, block, layers), key, size)


def count_sketch(vectors: jax.Array, key: jax.Array, size: int) -> jax.Array:
    """Sketches of vectors [N, P] with the same buckets and signs: [N, size]."""
    dimensions = vectors.shape[1]
    key_buckets, key_signs = jax.random.split(key)
    buckets = jnp.arange(dimensions)
    if size < dimensions:
        buckets = jax.random.randint(key_buckets, (dimensions,), 0, size)
    signs = jax.random.rademacher(key_signs, (dimensions,), vectors.dtype)
    return jax.ops.segment_sum((vectors * signs).T, buckets, size).T


def inner_product_deviation(products: jax.Array, size: int) -> jax.Array:
    """Upper bound of the standard deviation of sketched inner products.

    Args:
      products: G [N, N], exact or estimated.
      size: k, of the sketch.

    Returns:
      sqrt((G_ii G_jj + G_ij^2) / k), [N, N].
    """
    squares = jnp.diagonal(products)
    return jnp.sqrt((squares[:, None] * squares + jnp.square(products)) / size)


def cosine_deviation(cosine: jax.Array, size: int) -> jax.Array:
    """Standard deviation of a sketched cosine, (1 - cos^2) / sqrt(k), to first order in it."""
    return (1.0 - jnp.square(cosine)) / size**0.5


def lowest_pairs(
    losses: Losses, params: Any, batch: Any, sketches: jax.Array, count: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of examples with the lowest sketched cosines, and their exact ones.

    The minimum of estimates is biased low; these cosines are not estimates. The true minimum is
    among them if its own error is smaller than the gap to the last of these pairs.

    Args:
      losses, params, batch: of which the sketches were made.
      sketches: [N, k].
      count: pairs, at most all.

    Returns:
      pairs: int [count, 2], the lowest exact cosine first.
      cosines: float64 [count].
    """
    estimates = cosines(jnp.matmul(sketches, sketches.T, precision=jax.lax.Precision.HIGHEST))
    first, second = np.triu_indices(len(sketches), 1)
    lowest = np.argsort(estimates[first, second], kind="stable")[:count]
    pairs = np.stack([first[lowest], second[lowest]], 1)
    examples, places = np.unique(pairs, return_inverse=True)
    chosen = jax.tree.map(lambda x: x[examples], batch)
    places = places.reshape(pairs.shape)
    exact = cosines(gram_lib.gram(losses, params, chosen))[places[:, 0], places[:, 1]]
    order = np.argsort(exact, kind="stable")
    return pairs[order], exact[order]
