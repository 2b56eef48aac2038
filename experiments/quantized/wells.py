"""Stochastic rounding and BinaryConnect on a function with three wells: does annealing work?

Reproduces: figure 2 of arXiv 1706.02379, whose text could not be read. Recalled: the function, the
    start w = 4, the distance 0.5 of the grid's points, 10^6 iterations, the learning rates 1 to
    0.001. Chosen: gradients with noise N(0, 2^2), without which stochastic rounding ends in the
    two points 4.5 and 5 at once, the bounds -5 and 10, 100 walks of 40,000 steps instead of one,
    of which the second half counts.
Variants: walks; one, a single walk of 10^6 steps, of which all count.
Expect: README.md has the losses. Half a minute on two CPU cores; `one` takes minutes.

    python -m nfnets_jax.sweep --config=experiments/quantized/wells.py --workdir=runs/wells
    python -m experiments.quantized.report walks --workdir=runs/wells --output=wells.png
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

RATES = (1.0, 0.1, 0.01, 0.001)
METHODS = (
    {"quantization.method": "stochastic"},
    {"quantization.method": "binary_connect", "quantization.rounding": "deterministic"},
    {"quantization.method": "binary_connect", "quantization.rounding": "stochastic"},
    {"quantization.method": "deterministic"},
    {"quantization.method": "none"},
)


def get_config(variant: str = "walks"):
    """The config of the runs; `variant` is walks or one."""
    if variant not in ("walks", "one"):
        raise ValueError(f"{variant!r}: use walks or one")
    config = default_config("quantized_walk")

    config.function = "wells"
    config.start = 4.0
    config.noise_std = 2.0
    config.quantization.delta = 0.5
    config.quantization.lower, config.quantization.upper = -5.0, 10.0

    config.num_walks, config.num_steps, config.num_discarded = (
        (100, 40_000, 20_000) if variant == "walks" else (1, 10**6, 0))
    return config


def get_sweep():
    """The runs: method by learning rate."""
    return sweeps.product(METHODS, {"optimizer.learning_rate": RATES})
