"""NAG, RMSProp and ADAM as arXiv 1807.06766 defines them (recalled), composed from optax.

They differ from what optax has under these names in where xi stands: optax adds eps to a debiased
accumulator, or to an accumulator at every step; here xi is accumulated with the squares (RMSProp),
or is added to the root of an accumulator that is not debiased (ADAM). Elementwise, for t = 1, 2, ..
and all sums starting from 0:

    NAG      v = mu v + g;                                    x <- x - alpha (g + mu v)
    RMSProp  v = beta2 v + (1 - beta2) (g^2 + xi);            x <- x - alpha g / sqrt(v)
    ADAM     m = beta1 m + (1 - beta1) g
             v = beta2 v + (1 - beta2) g^2;                   x <- x - alpha_t m / (sqrt(v) + xi)

All scalars may be traced.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def nag(learning_rate: optax.ScalarOrSchedule, *, momentum) -> optax.GradientTransformation:
    """Nesterov's accelerated gradient, which is optax's `sgd` in its Nesterov form."""
    return optax.sgd(learning_rate, momentum=momentum, nesterov=True)


def rmsprop_xi(
    learning_rate: optax.ScalarOrSchedule, *, beta2, xi
) -> optax.GradientTransformation:
    """RMSProp with xi inside the accumulator, so that the root is of v + xi (1 - beta2^t).

    An accumulator of optax that starts at -xi, with xi added to it at every step, is exactly this.

    Args:
      learning_rate: alpha, a scalar or a schedule.
      beta2: decay of the mean square.
      xi: added to each squared gradient. With 0, a coordinate whose gradients have all been 0 is
        left alone (the pseudo-inverse of the root), where optax's `rmsprop` returns NaN.
    """
    inner = optax.scale_by_rms(beta2, eps=xi, initial_scale=-xi, eps_in_sqrt=True)

    def update(updates, state, params=None):
        updates, state = inner.update(updates, state, params)
        return _without_zeros(updates, state.nu, xi), state

    return optax.chain(optax.GradientTransformation(inner.init, update),
                       optax.scale_by_learning_rate(learning_rate))


def adam_xi(
    learning_rate: optax.ScalarOrSchedule, *, beta1, beta2, xi, bias_terms: bool = True
) -> optax.GradientTransformation:
    """ADAM with xi outside the root of the accumulator, before any correction of its bias.

    With the bias terms alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t), the form of Kingma and Ba
    (2015, arXiv 1412.6980, end of section 2) and of TensorFlow; without them alpha_t = alpha.

    Args:
      learning_rate: alpha, a scalar or a schedule.
      beta1: decay of the mean gradient.
      beta2: decay of the mean square.
      xi: added to the root. With 0, a coordinate whose gradients have all been 0 is left alone.
      bias_terms: whether the step size has them.
    """

    def update(updates, state, params=None):
        # optax divides by sqrt(v) / root + eps, and has the bias terms in any case.
        root = jnp.sqrt(1.0 - beta2 ** (state.count + 1))
        updates, state = optax.scale_by_adam(beta1, beta2, eps=xi / root).update(
            updates, state, params)
        updates = _without_zeros(updates, state.nu, xi)
        if not bias_terms:
            factor = (1.0 - beta1**state.count) / root
            updates = jax.tree.map(lambda u: u * factor.astype(u.dtype), updates)
        return updates, state

    return optax.chain(optax.GradientTransformation(optax.scale_by_adam().init, update),
                       optax.scale_by_learning_rate(learning_rate))


def with_step_size(
    inner: optax.GradientTransformation, step_size: Callable[[jax.Array, jax.Array], jax.Array]
) -> optax.GradientTransformation:
    """Multiplies the updates of an optimizer by a step size that depends on the gradient.

    Args:
      inner: with learning rate 1.
      step_size: `(squared norm of the gradient, t) -> alpha_t`, t = 1, 2, ..
    """

    def init(params):
        return jnp.zeros((), jnp.int32), inner.init(params)

    def update(updates, state, params=None):
        count, inner_state = state
        count = optax.safe_increment(count)
        factor = step_size(optax.tree.norm(updates, squared=True), count)
        updates, inner_state = inner.update(updates, inner_state, params)
        return jax.tree.map(lambda u: u * factor, updates), (count, inner_state)

    return optax.GradientTransformation(init, update)


def _without_zeros(updates, nu, xi):
    """0 where the denominator is 0; a NaN stays one."""
    return jax.tree.map(lambda u, v: jnp.where(v + xi == 0, jnp.zeros_like(u), u), updates, nu)
