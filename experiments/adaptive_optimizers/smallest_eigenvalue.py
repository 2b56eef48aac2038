"""The smallest eigenvalue of the Hessian while NAG, RMSProp and ADAM train, all examples a step.

Variants
    digits    one hidden layer of 100 units, 200 of the 8x8 digits
    mnist     one hidden layer of 300 units, MNIST at 22x22 pixels (recalled; the step sizes and
              the length of the runs are our choice). Not run.

    python -m nfnets_jax.sweep --config=experiments/adaptive_optimizers/smallest_eigenvalue.py \\
        --workdir=runs/eigenvalue
    python -m experiments.adaptive_optimizers.table --workdir=runs/eigenvalue

The smallest Ritz value of 150 steps of Lanczos is a bound from above. These runs are in float32,
whose rounding is seen in eigenvalues near 0; the claims of the study train in float64.
"""

from experiments.adaptive_optimizers import autoencoders, methods
from nfnets_jax import sweeps

NUM_PRODUCTS = 150


def get_config(variant: str = "digits"):
    """The config of the runs."""
    if variant not in ("digits", "mnist"):
        raise ValueError(f"{variant!r}: use digits or mnist")
    if variant == "digits":
        config = autoencoders.digits(1, 100, num_examples=200, num_steps=900)
        config.evaluate_every = config.analysis.every = 150
    else:
        config = autoencoders.mnist(1, 300)
    config.analysis.num_products = NUM_PRODUCTS
    return config


def get_sweep(variant: str = "digits"):
    """The runs: an optimizer with one step size each."""
    del variant
    grids = [(methods.nag(0.9), (5e-3,)), (methods.rmsprop(0.9), (3e-4,)),
             (methods.adam(0.9), (1e-3,)), (methods.adam(0.99), (1e-3,))]
    return sweeps.product(methods.grid(*grids), {methods.SEED: (0,)})
