"""Runs of one temperature T = eps / (B (1 - m)): the same whatever the batch size B.

arXiv 2006.15081 (recalled) takes SGD for a stochastic differential equation whose noise is T. Where
    that is a good description, a run of E epochs depends on T and E alone: curves of different
    batch sizes fall onto one another. They part where the learning rate comes near to the critical
    one, at large T and at large B. Set-up: digits.py with noisy labels, which keep the noise alive.
Variants: sgd, T = 2^-8 to 2^-4; momentum, 0.9 and eps = T B (1 - m), at T = 2^-7.
Expect: README.md has what was measured. Half a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/digits_temperature.py \\
        --workdir=runs/temperature
    python -m nfnets_jax.report sweep --workdir=runs/temperature

The learning rates of a batch size are not a grid to choose from here: compare the training losses
of equal temperatures, which the page of the report draws against T. The collapse does not depend on
the schedule; the losses do: --config.schedule.first_drop=after, or --config.schedule.name=constant
--config.schedule.final_fraction=1.
"""

from experiments.sgd_noise import digits
from nfnets_jax import sweeps

BATCH_SIZES = (8, 32, 64, 256)


def get_config(optimizer: str = "sgd"):
    """The config of the runs; `optimizer` is sgd or momentum."""
    return digits.get_config("noisy,momentum" if _has_momentum(optimizer) else "noisy")


def get_sweep(optimizer: str = "sgd"):
    """The runs: batch size by temperature by seed."""
    if _has_momentum(optimizer):
        rates = [(batch, 2.0**-7 * batch / 10) for batch in BATCH_SIZES]  # 1 - m is a tenth
    else:
        rates = [(batch, 2.0**k * batch) for batch in BATCH_SIZES for k in range(-8, -3)]
    return sweeps.product(
        [{"batch_size": batch, "optimizer.learning_rate": rate} for batch, rate in rates],
        {"seed": range(10)})


def _has_momentum(optimizer: str) -> bool:
    if optimizer not in ("sgd", "momentum"):
        raise ValueError(f"{optimizer!r}: use sgd or momentum")
    return optimizer == "momentum"
