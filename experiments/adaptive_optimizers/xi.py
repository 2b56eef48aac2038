"""What xi does to ADAM and RMSProp: one hidden layer, all examples in every step.

Variants
    digits    128 units, 256 of the 8x8 digits
    mnist     1000 units, MNIST at 22x22 pixels (recalled; the values of xi and the length of the
              runs are our choice). Not run.

    python -m nfnets_jax.sweep --config=experiments/adaptive_optimizers/xi.py:digits \\
        --workdir=runs/xi
    python -m experiments.adaptive_optimizers.table --workdir=runs/xi

Expect: README.md has the table.
"""

from experiments.adaptive_optimizers import autoencoders, methods
from nfnets_jax import sweeps

XIS = (1e-8, 1e-4, 1e-2, 1e-1)


def get_config(variant: str = "digits"):
    """The config of the runs."""
    if variant not in ("digits", "mnist"):
        raise ValueError(f"{variant!r}: use digits or mnist")
    if variant == "mnist":
        return autoencoders.mnist(1, 1000)
    return autoencoders.digits(1, 128, num_examples=256, num_steps=4000)


def get_sweep(variant: str = "digits"):
    """The runs: optimizer, step size and xi by seed."""
    adam, rmsprop = (((1e-3, 3e-3), (1e-4, 3e-4)) if variant == "digits"
                     else ((3e-4, 1e-3), (3e-5, 1e-4)))
    grids = [(methods.adam(0.9, xi), adam) for xi in XIS]
    grids += [(methods.rmsprop(0.9, xi), rmsprop) for xi in XIS]
    return sweeps.product(methods.grid(*grids), {methods.SEED: (1, 2)})
