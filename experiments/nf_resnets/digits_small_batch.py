"""Batches of 128 down to 2 digits with and without batch normalization, on a laptop.

Reproduces the question of arXiv 2101.08692's small-batch table (small_batch.py) on scikit-learn's
    8x8 digits; a study of our own. 60 epochs; the learning rate follows the batch, 0.4 at 128.
Expect: README.md has what `make claims STUDY=nf_resnets` measured. Minutes at batch 2, seconds at
    128, on two CPU cores.
Variants: NETWORK,BATCH.

    python -m nfnets_jax.train \\
        --config=experiments/nf_resnets/digits_small_batch.py:nf_resnet_digits,4 \\
        --workdir=runs/digits_nf_batch4
"""

from experiments.digits import nf_resnet


def get_config(variant: str = "nf_resnet_digits,4"):
    """The config of the run; `variant` is NETWORK,BATCH."""
    network, _, batch_size = variant.partition(",")
    if not batch_size.isdigit():
        raise ValueError(f"{variant!r}: use NETWORK,BATCH, for example nf_resnet_digits,8")
    config = nf_resnet.get_config(network)

    config.batch_size = int(batch_size)
    config.num_epochs = 60.0
    config.schedule.warmup_epochs = 5.0
    config.optimizer.learning_rate = 0.4 * int(batch_size) / 128

    config.log_every = max(10, 1437 // int(batch_size))
    config.evaluate_every = 4 * config.log_every
    config.checkpoint_every = 4 * config.log_every
    return config
