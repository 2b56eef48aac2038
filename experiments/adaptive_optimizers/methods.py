"""The optimizers that the study compares, as fields of a config, and the grids of step sizes.

beta2 = 0.999 for ADAM, xi = 1e-10 for RMSProp and 1e-8 for ADAM throughout (recalled).
"""

from collections.abc import Mapping
from typing import Any

from nfnets_jax import sweeps

NAME, RATE, SEED = "optimizer.name", "optimizer.learning_rate", "seed"
MOMENTUM, BETA1, BETA2, XI = (f"optimizer.{key}" for key in ("momentum", "beta1", "beta2", "xi"))


def nag(momentum: float) -> dict[str, Any]:
    """NAG with the momentum mu."""
    return {NAME: "nag", MOMENTUM: momentum}


def rmsprop(beta2: float, xi: float = 1e-10) -> dict[str, Any]:
    """RMSProp."""
    return {NAME: "rmsprop", BETA2: beta2, XI: xi}


def adam(beta1: float, xi: float = 1e-8) -> dict[str, Any]:
    """ADAM with the bias terms."""
    return {NAME: "adam", BETA1: beta1, BETA2: 0.999, XI: xi}


def grid(*grids: tuple[dict[str, Any], tuple[float, ...]]) -> list[dict[str, Any]]:
    """The runs of some optimizers, each with its own step sizes."""
    return [run for method, rates in grids for run in sweeps.product([method], {RATE: rates})]


def recalled_grids() -> list[dict[str, Any]]:
    """The protocol of the paper as it was recalled: five step sizes for each optimizer.

    Where the best one is at an edge the grid is to be extended: `sweep --extend`.
    """
    return grid(
        *((nag(momentum), (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)) for momentum in (0.9, 0.99)),
        *((method, (3e-4, 1e-4, 3e-5, 1e-5, 3e-6)) for method in (
            rmsprop(0.9), rmsprop(0.99), adam(0.9), adam(0.99))))


def label(run: Mapping[str, Any]) -> str:
    """What a run's optimizer is called in tables and figures."""
    name = run[NAME]
    if name == "nag":
        return f"NAG {run[MOMENTUM]:g}"
    return f"ADAM {run[BETA1]:g}" if name == "adam" else f"RMSProp {run[BETA2]:g}"
