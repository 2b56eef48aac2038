"""The optimizers of the study on autoencoders, with batches of 100.

Variants
    digits             five hidden layers of 256 units, 1437 of the 8x8 digits, 3000 steps
    digits,WIDTH       narrower or wider ones, 6000 steps
    mnist              five hidden layers of 1000 units, MNIST at 22x22 pixels: the figure of the
                       paper (recalled; the length of the runs is our choice). Not run.
    mnist,LAYERS       1, 3 or 9 hidden layers: its appendix (recalled). Not run.

    python -m nfnets_jax.sweep --config=experiments/adaptive_optimizers/mini_batch.py:digits \\
        --workdir=runs/mini_batch
    python -m experiments.adaptive_optimizers.table --workdir=runs/mini_batch

Expect: README.md has the tables.
"""

from experiments.adaptive_optimizers import autoencoders, methods
from nfnets_jax import sweeps


def get_config(variant: str = "digits"):
    """The config of the runs."""
    dataset, size = _parse(variant)
    if dataset == "mnist":
        return autoencoders.mnist(size, 1000, batch_size=100)
    return autoencoders.digits(5, size, num_examples=1437, batch_size=100,
                               num_steps=3000 if variant == "digits" else 6000)


def get_sweep(variant: str = "digits"):
    """The runs: optimizer and step size by seed; of ADAM alone on the digits."""
    dataset, _ = _parse(variant)
    if dataset == "mnist":
        return sweeps.product(methods.recalled_grids(), {methods.SEED: range(3)})
    rates = (2.5e-4, 5e-4, 1e-3, 2e-3)
    return sweeps.product(methods.grid((methods.adam(0.9), rates), (methods.adam(0.99), rates)),
                          {methods.SEED: (1, 2)})


def _parse(variant: str) -> tuple[str, int]:
    """The data set, and the width for the digits or the number of hidden layers for MNIST."""
    dataset, _, size = variant.partition(",")
    if variant in ("digits", "mnist"):
        return dataset, 256 if dataset == "digits" else 5
    if not size.isdigit() or not (dataset == "digits" or dataset == "mnist" and int(size) % 2):
        raise ValueError(f"{variant!r}: use digits, digits,WIDTH, mnist or mnist,LAYERS with an "
                         "odd number of layers, such as mnist,9")
    return dataset, int(size)
