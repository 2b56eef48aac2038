"""An optimizer by the name that a config gives it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from nfnets_jax.optim import adaptive
from nfnets_jax.optim.sgd import regularized

# What each can be told beside its learning rate and its regularisation, and the defaults.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "nag": {"momentum": 0.9},
    "rmsprop": {"beta2": 0.9, "xi": 1e-8},
    "adam": {"beta1": 0.9, "beta2": 0.999, "xi": 1e-8, "bias_terms": True},
}
_FACTORIES = {"sgd": optax.sgd, "nag": adaptive.nag, "rmsprop": adaptive.rmsprop_xi,
              "adam": adaptive.adam_xi}


def create_optimizer(
    learning_rate: optax.ScalarOrSchedule,
    hyper: Mapping[str, jax.Array | float],
    *,
    name: str = "sgd",
    agc_eps: float = 1e-3,
    **switches: bool,
) -> optax.GradientTransformation:
    """The optimizer `name`, with weight decay as an L2 term of the gradient as in `optim.sgd`.

    Args:
      learning_rate: a scalar or a schedule.
      hyper: weight_decay, the numbers of `OPTIMIZERS[name]` and, where gradients are clipped,
        agc_clipping; may be traced. Other entries are not read.
      name: a key of `OPTIMIZERS`.
      agc_eps: of adaptive gradient clipping.
      **switches: those of `OPTIMIZERS[name]`, nesterov or bias_terms.
    """
    switches = _switches(name) | switches
    numbers = {key: hyper[key] for key in OPTIMIZERS[name] if key not in switches}
    return regularized(
        _FACTORIES[name](learning_rate, **numbers, **switches),
        weight_decay=hyper["weight_decay"], agc_clipping=hyper.get("agc_clipping"),
        agc_eps=agc_eps)


def optimizer_of(fields: Mapping[str, Any]) -> Callable[..., optax.GradientTransformation]:
    """`(learning_rate, hyper) -> optimizer` of the checked fields `optimizer` of a config."""
    switches = {key: fields[key] for key in _switches(fields["name"])}
    clipping = {key: fields[key] for key in ("agc_eps",) if key in fields}
    return functools.partial(create_optimizer, name=fields["name"], **clipping, **switches)


def _switches(name: str) -> dict[str, bool]:
    return {key: default for key, default in OPTIMIZERS[name].items()
            if isinstance(default, bool)}
