"""BinaryConnect with and without weight decay: VGG-BC on CIFAR-10.

Reproduces: the figure of arXiv 1706.02379's appendix on weight decay, recalled: 1e-5 is worse than
    0, because decay pulls w_r to 0, away from the signs that the network uses; `latent_distance` is
    the mean of |w_r - w_b|. Its numbers could not be read, nor which network it was; VGG-BC is
    chosen. On the weights of SR decay cannot act: their size is constant.
Time: not run by us at this size.

    python -m nfnets_jax.sweep --config=experiments/quantized/weight_decay.py --workdir=runs/decay
    python -m experiments.quantized.report table --workdir=runs/decay
"""

from experiments.quantized import cifar
from nfnets_jax import sweeps


def get_config():
    """The config of the runs."""
    config = cifar.get_config("vgg_bc")
    config.quantization.method = "binary_connect"
    config.evaluate_every = 10 * cifar.STEPS_PER_EPOCH
    return config


def get_sweep():
    """The runs: weight decay."""
    return sweeps.product({"optimizer.weight_decay": (0.0, 1e-5)})
