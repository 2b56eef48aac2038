"""Large batches and stochastic rounding: an MLP with binary weights on 8x8 digits.

arXiv 1706.02379 is recalled to find that stochastic rounding gains from large batches at an equal
    number of epochs, that BinaryConnect does not, and that fewer weights change. With digits an
    equal number of epochs leaves large batches too few steps; at an equal number of steps the loss
    falls with the batch, and as many weights change. The problem is that of `digits.py` with 64
    units, five seeds.
Variants: steps, stochastic rounding with 3,560 steps of batches of 16, 64 and 256; epochs,
    stochastic rounding and BinaryConnect with 40 epochs of batches of 8 to 256.
Expect: README.md has the errors. About half a minute on two CPU cores, a minute for epochs.

    python -m nfnets_jax.sweep --config=experiments/quantized/digits_batch_size.py:steps \\
        --workdir=runs/quantized_batches
"""

from experiments.quantized import digits, methods
from nfnets_jax import sweeps


def get_config(variant: str = "steps"):
    """The config of the runs; `variant` is steps or epochs."""
    config = digits.get_config(width=64)
    if _check(variant) == "epochs":
        config.num_epochs = 40.0
    else:
        config.num_epochs = None
        config.num_steps = 3560
    config.quantization.method = "stochastic"
    return config


def get_sweep(variant: str = "steps"):
    """The runs: batch size, and for `epochs` method, by seed."""
    if _check(variant) == "steps":
        return sweeps.product({methods.BATCH: (16, 64, 256)}, {"seed": digits.SEEDS})
    return sweeps.product(
        {methods.METHOD: ("stochastic", "binary_connect")},
        {methods.BATCH: (8, 16, 32, 128, 256)}, {"seed": digits.SEEDS})


def _check(variant: str) -> str:
    if variant not in ("steps", "epochs"):
        raise ValueError(f"{variant!r}: use steps or epochs")
    return variant
