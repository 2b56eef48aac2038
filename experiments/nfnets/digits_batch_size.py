"""Batches of 16 to 1024 digits, with and without adaptive gradient clipping, on a laptop.

Reproduces the question of arXiv 2102.06171, figure 2a (batch_size.py): up to which batch a network
    without normalization can follow the linear scaling of the learning rate. On scikit-learn's 8x8
    digits; a study of our own. 100 epochs, learning rate 0.4 for each 128 images, clipping at 0.04.
Expect: README.md has what `make claims STUDY=nfnets` measured, on two CPU cores.
Variants: NETWORK,BATCH or NETWORK,BATCH,agc.

    python -m nfnets_jax.train \\
        --config=experiments/nfnets/digits_batch_size.py:nf_resnet_digits,1024,agc \\
        --workdir=runs/digits_batch1024_agc
"""

from experiments.digits import nf_resnet


def get_config(variant: str = "nf_resnet_digits,1024,agc"):
    """The config of the run; `variant` is NETWORK,BATCH or NETWORK,BATCH,agc."""
    network, batch_size, *options = (*variant.split(","), "")[:max(2, variant.count(",") + 1)]
    if not batch_size.isdigit() or options not in ([], ["agc"]):
        raise ValueError(f"{variant!r}: use NETWORK,BATCH or NETWORK,BATCH,agc")
    config = nf_resnet.get_config(network)

    config.batch_size = int(batch_size)
    config.num_epochs = 100.0
    config.optimizer.learning_rate = 0.4 * int(batch_size) / 128
    if options:
        config.optimizer.agc_clipping = 0.04

    steps_per_epoch = max(1, 1437 // int(batch_size))
    config.log_every = 2 * steps_per_epoch
    config.evaluate_every = config.checkpoint_every = 10 * steps_per_epoch
    return config
