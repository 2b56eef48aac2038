"""What a batch of embeddings says of a representation, and whether it has collapsed.

Nothing in the loss of BYOL forbids an encoder that maps every image to the same point. A small
loss does not tell learning from collapse, nor does a k-NN probe, which lives off the smallest
differences; the spread of the normalized embeddings does.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

# Above this mean cosine of different images a run is called collapsed. The mean cosine is the
# squared length of the mean embedding, so the spread is then under a tenth of the largest one.
COLLAPSED_COSINE = 0.99
# Below this spread the features have collapsed, though the projections may not have.
COLLAPSED_FEATURE_STD = 0.1


def l2_normalize(x: jax.Array) -> jax.Array:
    """x / |x| for each row, in float32; a row of zeros stays."""
    x = x.astype(jnp.float32)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, 1e-12))


def relative_std(x: jax.Array) -> jax.Array:
    """Standard deviation of each dimension of the normalized rows, averaged, times sqrt(d).

    1 for directions without a preference, 0 where all are the same (the measure of SimSiam, arXiv
    2011.10566, which compares it with 1 / sqrt(d)).

    Args:
      x: [N, d].
    """
    return jnp.mean(jnp.std(l2_normalize(x), axis=0)) * jnp.sqrt(1.0 * x.shape[-1])


def mean_cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean cosine of row i of a [N, d] with row i of b [N, d]."""
    return jnp.mean(jnp.sum(l2_normalize(a) * l2_normalize(b), axis=-1))


def mean_cosine_of_pairs(x: jax.Array) -> jax.Array:
    """Mean cosine of two different rows of x [N, d], over all pairs."""
    x = l2_normalize(x)
    total = jnp.sum(jnp.square(jnp.sum(x, axis=0))) - jnp.sum(jnp.square(x))
    return total / (len(x) * (len(x) - 1))


def effective_rank(x: jax.Array) -> jax.Array:
    """exp of the entropy of the singular values of the centred rows (RankMe, arXiv 2210.02885).

    The singular values themselves, not their squares, are made to sum to 1. Rows that are all the
    same have rank 1.

    Args:
      x: [N, d].
    """
    x = x.astype(jnp.float32)
    centered = x - jnp.mean(x, axis=0)
    values = jnp.linalg.svd(centered, compute_uv=False)
    # What rounding leaves of rows that are the same is no direction; NaN stays.
    values = jnp.where(values <= 1e-6 * jnp.linalg.norm(x), 0.0, values)
    p = values / jnp.maximum(jnp.sum(values), 1e-30)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p)))


def alignment(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean squared distance of normalized positive pairs (arXiv 2005.10242); rows are pairs."""
    return jnp.mean(jnp.sum(jnp.square(l2_normalize(a) - l2_normalize(b)), axis=-1))


def uniformity(x: jax.Array, t: float = 2.0) -> jax.Array:
    """log of the mean of exp(-t |xi - xj|^2) over pairs of different rows (arXiv 2005.10242).

    Args:
      x: [N, d]; rows are normalized.
      t: as there.
    """
    x = l2_normalize(x)
    # In full float32, which is not the default of every device.
    cosines = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
    kernel = jnp.exp(-t * jnp.maximum(2.0 - 2.0 * cosines, 0.0))
    different = 1.0 - jnp.eye(len(x))
    return jnp.log(jnp.sum(kernel * different) / jnp.sum(different))


@jax.jit
def tree_distance(a: Any, b: Any) -> jax.Array:
    """|a - b| / |a| of two trees of parameters."""
    def squared(tree):
        return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree))

    return jnp.sqrt(squared(jax.tree.map(jnp.subtract, a, b)) / squared(a))


@jax.jit
def describe(
    features: jax.Array, projections: jax.Array,
    other_features: jax.Array, other_projections: jax.Array,
) -> dict[str, jax.Array]:
    """Everything above for both views of a batch: features [N, F] and projections [N, D]."""
    return {
        "feature_std": relative_std(features),
        "projection_std": relative_std(projections),
        "positive_cosine": mean_cosine(projections, other_projections),
        "negative_cosine": mean_cosine_of_pairs(projections),
        "feature_rank": effective_rank(features),
        "projection_rank": effective_rank(projections),
        "feature_alignment": alignment(features, other_features),
        "alignment": alignment(projections, other_projections),
        "uniformity": uniformity(projections),
    }


def verdict(measured: Mapping[str, float]) -> str | None:
    """Says in a sentence that a run has collapsed, or returns None.

    Args:
      measured: negative_cosine, projection_std and feature_std, as `describe` names them.
    """
    cosine, projections, features = (
        measured[name] for name in ("negative_cosine", "projection_std", "feature_std"))
    if cosine > COLLAPSED_COSINE:
        return (f"COLLAPSED: different images have projections of cosine {cosine:.4f}, spread "
                f"{projections:.2g} of 1")
    if features < COLLAPSED_FEATURE_STD:
        return (f"PARTLY COLLAPSED: the encoder's features have a spread of {features:.2g} of 1, "
                f"the projections {projections:.2g}")
    return None
