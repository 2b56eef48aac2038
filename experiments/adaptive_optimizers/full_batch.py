"""ADAM with beta1 = 0.9 and 0.99, NAG and RMSProp on autoencoders, all examples in every step.

Variants
    digits                  five hidden layers of 128 units, 256 of the 8x8 digits
    mnist                   three hidden layers of 1000 units, MNIST at 22x22 pixels: the figure of
                            the paper (recalled; the length of the runs is our choice). Not run.
    mnist,LAYERSxWIDTH      another network, such as mnist,5x300. Not run.

    python -m nfnets_jax.sweep --config=experiments/adaptive_optimizers/full_batch.py:digits \\
        --workdir=runs/full_batch
    python -m experiments.adaptive_optimizers.table --workdir=runs/full_batch

Expect: README.md has the table.
"""

from experiments.adaptive_optimizers import autoencoders, methods
from nfnets_jax import sweeps


def get_config(variant: str = "digits"):
    """The config of the runs."""
    layers, width = _sizes(variant)
    if variant == "digits":
        return autoencoders.digits(layers, width, num_examples=256, num_steps=6000)
    return autoencoders.mnist(layers, width)


def get_sweep(variant: str = "digits"):
    """The runs: optimizer and step size by seed."""
    if variant != "digits":
        return sweeps.product(methods.recalled_grids(), {methods.SEED: range(3)})
    adam = [(methods.adam(0.8), (2e-3,)), (methods.adam(0.9), (5e-4, 1e-3, 2e-3)),
            (methods.adam(0.95), (2e-3,)), (methods.adam(0.99), (1e-3, 2e-3, 5e-3))]
    nag = [(methods.nag(0.9), (5e-3, 1e-2)), (methods.nag(0.99), (1e-3, 2e-3))]
    rmsprop = [(methods.rmsprop(beta2), (1e-4, 3e-4)) for beta2 in (0.9, 0.99)]
    return sweeps.product(methods.grid(*adam, *nag, *rmsprop), {methods.SEED: (1, 2)})


def _sizes(variant: str) -> tuple[int, int]:
    """Hidden layers and their width."""
    if variant in ("digits", "mnist"):
        return (5, 128) if variant == "digits" else (3, 1000)
    dataset, _, sizes = variant.partition(",")
    layers, _, width = sizes.partition("x")
    if dataset != "mnist" or not (layers.isdigit() and width.isdigit() and int(layers) % 2):
        raise ValueError(f"{variant!r}: use digits, mnist or mnist,LAYERSxWIDTH with an odd number "
                         "of layers, such as mnist,5x300")
    return int(layers), int(width)
