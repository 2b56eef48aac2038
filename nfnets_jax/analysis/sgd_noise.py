"""Closed forms for SGD with noise on a quadratic, to check simulations and runs against.

Along an eigenvector of the Hessian with curvature h, and with gradient noise of variance c / B,
heavy ball (SGD where m = 0) is a linear recursion of x = (theta, v):

    v <- m v + h theta + noise;  theta <- theta - eps v       that is,  x <- A x + noise b
    E[x x'] <- A E[x x'] A' + c / B b b'

The picture is that of arXiv 2006.15081: as long as eps is far below the critical learning rate, a
run depends on eps, B and m through the temperature alone. Its body could not be read; the formulas
are derived from the recursion. All arguments may be arrays that broadcast, and may be traced.
"""

import jax
import jax.numpy as jnp


def temperature(learning_rate, momentum, batch_size):
    """eps / (B (1 - m)): how strong the noise of minibatches is in the limit of small steps."""
    return learning_rate / (batch_size * (1.0 - momentum))


def critical_learning_rate(curvature, momentum):
    """2 (1 + m) / h: the learning rate above which heavy ball diverges."""
    return 2.0 * (1.0 + momentum) / curvature


def stationary_variance(curvature, noise_variance, learning_rate, momentum, batch_size):
    """E[theta^2] after many steps at a constant learning rate below the critical one.

    eps c (1 + m) / (B h (1 - m) (2 (1 + m) - eps h)), where c is the gradient's variance over the
    examples.
    """
    return (learning_rate * noise_variance * (1.0 + momentum)
            / (batch_size * curvature * (1.0 - momentum)
               * (2.0 * (1.0 + momentum) - learning_rate * curvature)))


def diffusion_variance(curvature, noise_variance, temperature):
    """T c / (2 h): `stationary_variance` of the stochastic differential equation, for small eps."""
    return temperature * noise_variance / (2.0 * curvature)


def batch_mean_covariance(covariance, num_examples, batch_size):
    """Covariance of the mean of B of N examples drawn without replacement, F (N - B) / (B (N - 1)).

    Args:
      covariance: F, of one example drawn from the N (with 1 / N).
      num_examples: N, at least 2.
      batch_size: B, at most N.
    """
    return covariance * (num_examples - batch_size) / (batch_size * (num_examples - 1))


def heavy_ball(curvature, learning_rate, momentum) -> tuple[jax.Array, jax.Array]:
    """The matrix A [..., 2, 2] and the vector b [..., 2] of the recursion of x = (theta, v)."""
    h, eps, m = jnp.broadcast_arrays(curvature, learning_rate, momentum)
    matrix = jnp.stack([jnp.stack([1.0 - eps * h, -eps * m], axis=-1),
                        jnp.stack([h, m], axis=-1)], axis=-2)
    return matrix, jnp.stack([-eps, jnp.ones_like(eps)], axis=-1)
