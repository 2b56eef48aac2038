"""Does a smaller learning rate help, if the number of steps grows as much? An MLP on 8x8 digits.

Checks theorems 5 and 6 of arXiv 1706.02379, as recalled: the law to which stochastic rounding leads
    does not depend on the learning rate, which only sets the clock, so that weights flip equally
    often; BinaryConnect's loss falls. The problem is that of `digits.py` with 64 units, at constant
    learning rates of 0.03 to 0.001 and 712 to 21,360 steps, three seeds each. At constant learning
    rates losses fluctuate to the end: what counts is the mean of the second half of a run's curve,
    of about 20 evaluations.
Expect: README.md has the losses. About a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/quantized/digits_learning_rate.py \\
        --workdir=runs/quantized_rates
"""

from experiments.quantized import digits, methods
from nfnets_jax import sweeps

STEPS = {0.03: 712, 0.01: 2136, 0.003: 7120, 0.001: 21360}


def get_config():
    """The config of the runs."""
    config = digits.get_config(width=64)
    config.schedule.name, config.schedule.final_fraction = "constant", 1.0
    config.schedule.drops = None
    config.num_epochs = None
    config.num_steps = STEPS[0.01]
    return config


def get_sweep():
    """The runs: method by learning rate with its number of steps, by seed."""
    return sweeps.product(
        {methods.METHOD: ("stochastic", "binary_connect")},
        sweeps.zipped({"optimizer.learning_rate": STEPS, "num_steps": STEPS.values(),
                       "evaluate_every": [steps // 20 for steps in STEPS.values()]}),
        {"seed": range(3)})
