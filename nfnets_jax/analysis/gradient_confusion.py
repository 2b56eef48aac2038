"""Gradient confusion (arXiv 1904.06963): how much the gradients of examples oppose each other.

The bound eta of the paper is max(0, -min <g_i, g_j>) over pairs; what its figures show is the
minimum of the cosines of 100 pairs of minibatches. A minimum falls with the number of pairs:
compare only those of equally many.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.analysis.gram import as_partial
from nfnets_jax.analysis.haiku_layers import Losses
from nfnets_jax.analysis.per_example import at_least_float32
from nfnets_jax.nets.conv import for_loops

SAMPLINGS = ("independent", "disjoint")


class Confusion(NamedTuple):
    """Statistics of the cosines of pairs of gradients.

    Attributes:
      min_cos, p05, median, mean, std: of the cosines; p05 is the 5th percentile.
      frac_negative: share of the cosines below 0.
      eta_raw: max(0, -smallest inner product); scales with the square of the loss.
      n_pairs: number of cosines.
      batch_size: examples of each gradient.
      mode: 'per_example' (all pairs of examples) or 'minibatch'.
      sampling: 'independent' or 'disjoint', see `minibatch_confusion`.
      num_zero: gradients that are 0, and whose cosines are 0 by definition.
      effective_sample_size: (sum |g|)^2 / sum |g|^2 over the gradients: how many of them matter.
      cosines: float [n_pairs].
    """

    min_cos: float
    p05: float
    median: float
    mean: float
    std: float
    frac_negative: float
    eta_raw: float
    n_pairs: int
    batch_size: int
    mode: str
    sampling: str
    num_zero: int
    effective_sample_size: float
    cosines: np.ndarray


def per_example_confusion(gram: np.ndarray) -> Confusion:
    """Statistics over all pairs of different examples.

    Args:
      gram: [N, N], of `analysis.gram`.

    Raises:
      ValueError: if N is 1.
    """
    gram = np.asarray(gram)
    if len(gram) < 2:
        raise ValueError(f"N={len(gram)} gradients have no pair; use at least 2 examples")
    pairs = np.triu_indices(len(gram), 1)
    return _statistics(cosines(gram)[pairs], gram[pairs], np.diagonal(gram), 1,
                       "per_example", "disjoint")


def minibatch_confusion(
    losses: Losses, params: Any, batch: Any, key: jax.Array, *,
    batch_size: int, num_pairs: int = 100, sampling: str = "independent",
) -> Confusion:
    """Statistics over random pairs of minibatches, each with the gradient of its mean loss.

    The paper draws 100 pairs with the batch size of training. Whether two batches of a pair may
    share examples it does not say. On N examples with a mean gradient of 0, disjoint batches have a
    mean cosine of -B / (N - B) for no other reason than that; independent ones of 0.

    Args:
      losses: `(params, minibatch) -> [B]`, where norms may use the statistics of the minibatch. See
        `gram` about functions that hold arrays.
      params: tree of float arrays.
      batch: tree of arrays [N, ...] to draw from, without replacement within a minibatch.
      key: of the draws.
      batch_size: B.
      num_pairs: of minibatches.
      sampling: 'independent', or 'disjoint' for pairs without a common example.

    Raises:
      ValueError: if there are too few examples, no pairs, or the sampling is unknown.
    """
    count = len(jax.tree.leaves(batch)[0])
    _check_draw(count, batch_size, num_pairs, sampling)
    products, squares = jax.tree.map(np.asarray, _measure_pairs(
        as_partial(losses), params, batch, key,
        batch_size=batch_size, num_pairs=num_pairs, sampling=sampling))
    return of_pairs(products, squares, batch_size, sampling)


def of_pairs(products: np.ndarray, squares: np.ndarray, batch_size: int,
             sampling: str) -> Confusion:
    """Statistics of the inner products [K] and squared norms [K, 2] of pairs of minibatches."""
    products = products.astype(np.float64)
    norms = np.sqrt(squares.astype(np.float64))
    cosine = _divide(products, norms[:, 0] * norms[:, 1])
    return _statistics(cosine, products, squares, batch_size, "minibatch", sampling)


def _check_draw(count, batch_size, num_pairs, sampling):
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling={sampling!r} is unknown; allowed: {', '.join(SAMPLINGS)}")
    if num_pairs < 1:
        raise ValueError(f"num_pairs={num_pairs}: there must be at least one pair")
    most = count // 2 if sampling == "disjoint" else count
    if not 1 <= batch_size <= most:
        raise ValueError(f"batch_size={batch_size} is not within 1 and {most}, which is what "
                         f"{count} examples allow with sampling={sampling!r}")


@functools.partial(jax.jit, static_argnames=("batch_size", "num_pairs", "sampling"))
def _measure_pairs(losses, params, batch, key, *, batch_size, num_pairs, sampling):
    """Inner products [K] and squared norms [K, 2]; two gradients live at a time."""
    count = len(jax.tree.leaves(batch)[0])

    def draw(key):
        if sampling == "disjoint":
            return jax.random.permutation(key, count)[:2 * batch_size].reshape(2, -1)
        return jnp.stack([jax.random.permutation(k, count)[:batch_size]
                          for k in jax.random.split(key)])

    def gradient(indices):
        minibatch = jax.tree.map(lambda x: jnp.asarray(x)[indices], batch)
        return jax.grad(lambda p: jnp.mean(losses(p, minibatch)))(params)

    def measure(key):
        pair = jax.tree.leaves(jax.lax.map(gradient, draw(key)))
        return (sum(_dot(g[0], g[1]) for g in pair),
                jnp.stack([sum(_dot(g[i], g[i]) for g in pair) for i in range(2)]))

    with for_loops():
        return jax.lax.map(measure, jax.random.split(key, num_pairs))


def _dot(x, y):
    return jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST,
                    preferred_element_type=at_least_float32(x.dtype))


def cosines(gram: np.ndarray) -> np.ndarray:
    """G_ij / sqrt(G_ii G_jj) as float64 [N, N]; 0 where a gradient is 0."""
    gram = np.asarray(gram, np.float64)
    norms = np.sqrt(np.diagonal(gram))
    return _divide(gram, norms[:, None] * norms)


def _divide(products, lengths):
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def _statistics(cosine, products, squares, batch_size, mode, sampling) -> Confusion:
    return Confusion(
        min_cos=float(np.min(cosine)),
        p05=float(np.quantile(cosine, 0.05)),
        median=float(np.median(cosine)),
        mean=float(np.mean(cosine)),
        std=float(np.std(cosine)),
        frac_negative=float(np.mean(cosine < 0)),
        eta_raw=max(0.0, -float(np.min(products))),
        n_pairs=len(cosine),
        batch_size=batch_size,
        mode=mode,
        sampling=sampling,
        num_zero=int(np.sum(squares == 0)),
        effective_sample_size=effective_sample_size(squares),
        cosines=cosine,
    )


def effective_sample_size(squares: np.ndarray) -> float:
    """(sum |g|)^2 / sum |g|^2 of squared norms |g|^2: N if all are equal, 1 if one rules; or 0."""
    squares = np.asarray(squares, np.float64)
    total = np.sum(squares)
    return float(np.sum(np.sqrt(squares)) ** 2 / total) if total > 0 else 0.0


def gradient_diversity(gram: np.ndarray) -> float:
    """tr G / 1'G1 (Yin et al. 2018, recalled): 1 / N if all are equal, 1 if orthogonal."""
    gram = np.asarray(gram, np.float64)
    total = np.sum(gram)
    return float(np.trace(gram) / total) if total > 0 else float("inf")


def coherence(gram: np.ndarray) -> float:
    """1'G1 / tr G, m-coherence (Chatterjee and Zielinski 2020, recalled).

    N if all gradients are equal, 1 if they are orthogonal, 0 if their sum is 0, or all are.
    """
    gram = np.asarray(gram, np.float64)
    trace = np.trace(gram)
    return float(np.sum(gram) / trace) if trace > 0 else 0.0


def stiffness(gram: np.ndarray, labels: np.ndarray, of_sign: bool = False) -> np.ndarray:
    """Mean cosine between the gradients of two classes (Fort et al. 2019, recalled).

    Args:
      gram: [N, N].
      labels: int [N], from 0 on.
      of_sign: whether the mean is that of the sign of the inner product.

    Returns:
      float64 [C, C], over pairs of different examples; NaN where there are none.
    """
    values = np.sign(gram) if of_sign else cosines(gram)
    classes = np.eye(np.max(labels) + 1)[np.asarray(labels)]
    pairs = classes.T @ (1.0 - np.eye(len(values))) @ classes
    sums = classes.T @ (values * (1.0 - np.eye(len(values)))) @ classes
    return np.divide(sums, pairs, out=np.full_like(sums, np.nan), where=pairs > 0)
