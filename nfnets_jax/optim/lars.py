"""LARS, layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888), as BYOL uses it."""

import jax
import jax.numpy as jnp
import optax

from nfnets_jax.optim.sgd import decay_mask


def lars(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum,
    weight_decay,
    trust_coefficient=1e-3,
    excluded_multiplier=1.0,
) -> optax.GradientTransformation:
    """SGD with momentum in which each weight tensor takes steps in proportion to its norm.

    For a weight tensor w with gradient g

        g' = g + weight_decay w;  u = trust_coefficient ||w|| / ||g'|| g'  (u = g' if a norm is 0)
        m <- momentum m + u;      w <- w - learning_rate m

    Biases, and the scales, offsets and gains of norms and of weight standardization (False in
    `decay_mask`) are excluded from decay and from the scaling: u = excluded_multiplier g.

    Source: the released code of BYOL (arXiv 2006.07733). `optax.lars` multiplies by the learning
    rate before the momentum instead of after it, which is another optimizer where the rate
    changes; the parts are optax's. All scalars may be traced.

    Args:
      learning_rate: a scalar or a schedule.
      momentum: of the sum of past steps.
      weight_decay: the L2 coefficient.
      trust_coefficient: length of a step at learning rate 1 over the norm of the tensor.
      excluded_multiplier: of the excluded parameters' gradients; 1 in the released code.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=decay_mask),
        optax.masked(
            optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), decay_mask),
        optax.masked(scale_by(excluded_multiplier), _excluded_mask),
        optax.trace(momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def scale_by(factor) -> optax.GradientTransformation:
    """Multiplies updates by a factor, which may be traced."""
    return optax.stateless(lambda updates, _: jax.tree.map(
        lambda u: u * jnp.asarray(factor, u.dtype), updates))


def _excluded_mask(params) -> dict:
    return jax.tree.map(lambda included: not included, decay_mask(params))
