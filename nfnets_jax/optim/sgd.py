"""Stochastic gradient descent with momentum, Nesterov's form, and L2 regularisation."""

import jax
import optax

from nfnets_jax.optim.adaptive_grad_clip import adaptive_grad_clip


def decay_mask(params) -> dict:
    """True for the parameters that weight decay applies to.

    Excluded are biases, normalization scales and offsets, and every gain: those of weight
    standardization and the `skip_gain` of a residual branch, as in the authors' released code
    for arXiv 2101.08692.

    Args:
      params: a Haiku parameter tree, `{module: {name: array}}`.

    Returns:
      The same tree with a Python bool in place of each array.
    """

    def is_decayed(path, _):
        name = path[-1].key
        return name not in ("scale", "offset", "b") and "gain" not in name and "bias" not in name

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum,
    weight_decay,
    nesterov: bool = True,
    agc_clipping=None,
    agc_eps: float = 1e-3,
) -> optax.GradientTransformation:
    """SGD whose weight decay is an L2 term added to the gradient, before the momentum.

    `g <- g + weight_decay * w; m <- momentum * m + g;` and the update is `-learning_rate * m`,
    or with Nesterov's form `-learning_rate * (g + momentum * m)`. With `agc_clipping` the gradient
    is first clipped by `adaptive_grad_clip`. All scalars may be traced.
    """
    return regularized(optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
                       weight_decay=weight_decay, agc_clipping=agc_clipping, agc_eps=agc_eps)


def regularized(
    inner: optax.GradientTransformation, *, weight_decay, agc_clipping=None, agc_eps: float = 1e-3
) -> optax.GradientTransformation:
    """An optimizer that is given clipped gradients (`sgd`) and, added to them, an L2 term."""
    clip = [] if agc_clipping is None else [adaptive_grad_clip(agc_clipping, agc_eps)]
    return optax.chain(*clip, optax.add_decayed_weights(weight_decay, mask=decay_mask), inner)
