"""The accuracy that is left to a rounded quadratic, for grids of 1/2 to 1/32.

Checks theorem 1 and corollary 1 of arXiv 1706.02379, as recalled: the excess loss of stochastic
    rounding has a floor of the order of the grid's distance, that of BinaryConnect with stochastic
    rounding has none. With rounding to the nearest, BinaryConnect's weights in full precision end
    at thresholds, and there is one of the order of the distance's square. The problem is ours: 100
    dimensions, minimizers spread over (-0.8, 0.8), noise N(0, 1), the box [-1, 1], learning rate
    1 / (t + 1), 20,000 steps. The excess loss is `loss_of_mean`, that of the mean iterate.
Expect: README.md has the losses. Half a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/quantized/quadratic.py --workdir=runs/quadratic
    python -m nfnets_jax.report sweep --workdir=runs/quadratic --select_on=loss_of_mean
"""

from experiments.quantized import wells
from nfnets_jax import sweeps
from nfnets_jax.config import default_config

DELTAS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)


def get_config():
    """The config of the runs."""
    config = default_config("quantized_walk")

    config.function = "quadratic"
    config.num_dimensions = 100
    config.curvature = 1.0
    config.minimizer, config.minimizer_spread = 0.0, 0.8
    config.noise_std = 1.0
    config.start = 0.0
    config.num_walks = 5
    config.num_steps = 20_000
    config.optimizer.learning_rate = 1.0
    config.optimizer.decay = "inverse"
    config.quantization.lower, config.quantization.upper = -1.0, 1.0
    return config


def get_sweep():
    """The runs: method by distance of the grid; SGD knows no grid."""
    rounded = [method for method in wells.METHODS
               if method["quantization.method"] in ("stochastic", "binary_connect")]
    return (sweeps.product(rounded, {"quantization.delta": DELTAS})
            + [{"quantization.method": "none"}])
