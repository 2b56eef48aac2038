"""Variance-preserving activations: gamma * act(z) has unit variance when z ~ N(0, 1).

Brock et al. 2021 (arXiv 2101.08692, section 4): gamma = Var_{z~N(0,1)}[act(z)]^-1/2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.naming import nearest

Activation = Callable[[jax.Array], jax.Array]


def _identity(x: jax.Array) -> jax.Array:
    return x


def _gelu_erf(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


class _Scaled(NamedTuple):
    function: Activation
    gamma: float


# The gammas are those of the authors' released code, which are estimates from a random sample
# (about 0.06% above the exact values), so that released weights give the released outputs.
_TABLE = {
    "celu": _Scaled(jax.nn.celu, 1.270926833152771),
    "elu": _Scaled(jax.nn.elu, 1.2716004848480225),
    "gelu": _Scaled(jax.nn.gelu, 1.7015043497085571),
    "gelu_erf": _Scaled(_gelu_erf, 1.7015043497085571),
    "glu": _Scaled(jax.nn.glu, 1.8484294414520264),
    "identity": _Scaled(_identity, 1.0),
    "leaky_relu": _Scaled(jax.nn.leaky_relu, 1.70590341091156),
    "log_sigmoid": _Scaled(jax.nn.log_sigmoid, 1.9193484783172607),
    "log_softmax": _Scaled(jax.nn.log_softmax, 1.0002083778381348),
    "relu": _Scaled(jax.nn.relu, 1.7139588594436646),
    "relu6": _Scaled(jax.nn.relu6, 1.7131484746932983),
    "selu": _Scaled(jax.nn.selu, 1.0008515119552612),
    "sigmoid": _Scaled(jax.nn.sigmoid, 4.803835391998291),
    "silu": _Scaled(jax.nn.silu, 1.7881293296813965),
    "soft_sign": _Scaled(jax.nn.soft_sign, 2.338853120803833),
    "softplus": _Scaled(jax.nn.softplus, 1.9203323125839233),
    "tanh": _Scaled(jnp.tanh, 1.5939117670059204),
}


def activation_names() -> list[str]:
    """Returns the sorted names of the activations."""
    return sorted(_TABLE)


def _lookup(name: str) -> _Scaled:
    if name not in _TABLE:
        raise ValueError(f"activation={name!r} is unknown; nearest: {nearest(name, _TABLE)}")
    return _TABLE[name]


def activation(name: str, scaled: bool = True) -> Activation:
    """Returns gamma * act, or plain act, as a function of an array that keeps its dtype.

    Args:
      name: one of `activation_names()`. 'gelu' is the tanh approximation, 'gelu_erf' the exact
        function with the same gamma, as in timm; 'glu' halves the channels.
      scaled: whether the function is multiplied by its gamma.

    Raises:
      ValueError: if the name is unknown.
    """
    function, factor = _lookup(name)
    if not scaled or factor == 1.0:
        return function
    return lambda x: function(x) * factor


def gamma(name: str) -> float:
    """Returns the released gamma of an activation (see `activation` for the names)."""
    return _lookup(name).gamma


def moments_by_quadrature(function: str | Activation) -> tuple[float, float]:
    """Returns E[act(z)] and E[act(z)^2] for z ~ N(0, 1).

    Gauss-Legendre quadrature of order 12 on panels of width 1/4 over [-12, 12], so that kinks
    at multiples of 1/4 cost no accuracy; about 1e-7, the rounding of the float32 activation.

    Args:
      function: an activation's name, or an elementwise function of a float32 array. For 'glu',
        z1 * sigmoid(z2), the expectation is over both independent inputs.

    Raises:
      ValueError: for 'log_softmax', whose moments depend on the number of channels.
    """
    if function == "log_softmax":
        raise ValueError("log_softmax acts on all channels at once: it has no scalar moments")
    if function == "glu":
        return 0.0, moments_by_quadrature("sigmoid")[1]
    if isinstance(function, str):
        function = activation(function, scaled=False)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.arange(-12.0, 12.0, 0.25)
    z = edges[:, None] + 0.125 * (nodes + 1.0)
    measure = 0.125 * weights * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    values = np.asarray(function(jnp.asarray(z, jnp.float32)), np.float64)
    return float(np.sum(measure * values)), float(np.sum(measure * values**2))


def gamma_by_quadrature(function: str | Activation) -> float:
    """Returns the exact gamma = Var[act(z)]^-1/2, e.g. to add an activation of one's own.

    Takes the arguments of, and raises as, `moments_by_quadrature`.
    """
    mean, second_moment = moments_by_quadrature(function)
    return (second_moment - mean**2) ** -0.5
