"""What pretraining minimises, and how fast its target moves."""

import jax
import jax.numpy as jnp
import optax

from nfnets_jax.analysis.embeddings import l2_normalize


def byol_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """|p/|p| - z'/|z'||^2 = 2 - 2 cos(p, z'); no gradient reaches z' (arXiv 2006.07733).

    Args:
      predictions: [N, D].
      targets: [N, D].

    Returns:
      [N], between 0 and 4.
    """
    targets = jax.lax.stop_gradient(targets)
    return jnp.sum(jnp.square(l2_normalize(predictions) - l2_normalize(targets)), axis=-1)


def contrastive_loss(projections: jax.Array, temperature, axis_name: str | None = None):
    """SimCLR's loss: find the other view among all others (NT-Xent, arXiv 2002.05709).

    Args:
      projections: [2N, D], N of view 1 and then N of view 2.
      temperature: that cosines are divided by.
      axis_name: mapped axis over whose devices the other examples are collected.

    Returns:
      The mean over the device's own 2N anchors; among the candidates the anchor itself is missing.
    """
    z = l2_normalize(projections)
    everyone, first = z, 0
    if axis_name is not None:
        everyone = jax.lax.all_gather(z, axis_name, tiled=True)
        first = jax.lax.axis_index(axis_name) * len(z)
    rows = first + jnp.arange(len(z))
    partners = first + jnp.roll(jnp.arange(len(z)), len(z) // 2)
    logits = z @ everyone.T / temperature
    logits = jnp.where(jnp.arange(len(everyone)) == rows[:, None], -jnp.inf, logits)
    return optax.softmax_cross_entropy_with_integer_labels(logits, partners).mean()


def target_decay(step: jax.Array, total_steps: int, base, schedule: str = "cosine") -> jax.Array:
    """tau_k = 1 - (1 - base)(cos(pi k / K) + 1) / 2, or always `base` (arXiv 2006.07733).

    Args:
      step: k, from 0.
      total_steps: K.
      base: tau_0.
      schedule: 'cosine' or 'constant'.
    """
    if schedule == "constant":
        return jnp.asarray(base, jnp.float32)
    return 1.0 - (1.0 - base) * (jnp.cos(jnp.pi * step / total_steps) + 1.0) / 2.0
