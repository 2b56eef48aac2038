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
    own = OPTIMIZERS[name]
    numbers = {key: hyper[key] for key in own if not isinstance(own[key], bool)}
    switches = {key: value for key, value in own.items() if isinstance(value, bool)} | switches
    return regularized(
        _FACTORIES[name](learning_rate, **numbers, **switches),
        weight_decay=hyper["weight_decay"], agc_clipping=hyper.get("agc_clipping"),
        agc_eps=agc_eps)


def optimizer_of(fields: Mapping[str, Any]) -> Callable[..., optax.GradientTransformation]:
    """`(learning_rate, hyper) -> optimizer` of the checked fields `optimizer` of a config."""
    switches = {key: fields[key] for key, default in OPTIMIZERS[fields["name"]].items()
                if isinstance(default, bool)}
    if "agc_eps" in fields:
        switches["agc_eps"] = fields["agc_eps"]
    return functools.partial(create_optimizer, name=fields["name"], **switches)
