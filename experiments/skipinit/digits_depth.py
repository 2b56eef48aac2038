"""Residual networks of 6, 48 and 250 blocks, with and without norms, on 8x8 digits.

The laptop's version of the depth study of arXiv 2002.10444: for every depth and kind of block its
own best learning rate. Recalled: batch 128, a grid of powers of 2, a plateau at the start of the
schedule. Chosen: everything else, and so data, network and length: 1,400 of scikit-learn's digits
for training and 397 for testing, so divided that most writers are on both sides; pixels less their
mean and over their standard deviation; residual MLPs of width 64 with two He-initialised matrices
in a block; 400 steps of SGD with momentum 0.9 at a constant learning rate, no decay.
Variants: numbers of blocks with a + between them; by default 6+48, six learning rates for six kinds
    of block, with two seeds, but eight where the sum is divided by sqrt(2), as those scatter; from
    250 blocks on it is one seed.
Expect: README.md has what was measured. A quarter of an hour on two busy CPU cores for 6+48.

    python -m nfnets_jax.sweep --config=experiments/skipinit/digits_depth.py --workdir=runs/depth
    python -m experiments.skipinit.table --workdir=runs/depth
"""

from experiments.skipinit import methods
from nfnets_jax import sweeps
from nfnets_jax.config import default_config

METHODS = ("bn", "skipinit_inverse", "skipinit", "skipinit_one", "sqrt2", "fixup")
# Of each 180 digits, in scikit-learn's order, the last 40 are for testing.
BLOCKS = [("train", start) for start in range(0, 1437, 180)] + [("test", 0), ("test", 180)]
TRAIN = "+".join(f"{split}[{start}:{start + 140}]" for split, start in BLOCKS)
TEST = "+".join(
    f"{split}[{start + 140}:{min(start + 180, 1437)}]" for split, start in BLOCKS)
RATES = tuple(2.0**-k for k in (1, 3, 5, 7, 9, 12))


def get_config(variant: str = "6+48"):
    """The config of the runs, of the smallest depth; `variant` lists the depths."""
    config = default_config("classification")

    config.network.name = "skipinit_mlp"
    config.network.num_blocks = min(_parse(variant))
    config.network.width = 64

    config.dataset.name = "digits"
    config.dataset.train_split = TRAIN
    config.dataset.evaluation_split = TEST
    config.batch_size = 128
    config.evaluation_batch_size = 700
    config.label_smoothing = 0.0

    config.num_steps = 400
    config.optimizer.learning_rate = 2.0**-5
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "constant"
    config.schedule.warmup_epochs = 0.0
    config.schedule.final_fraction = 1.0
    return config


def get_sweep(variant: str = "6+48"):
    """The runs: depth by kind of block by learning rate by seed."""
    return [run for depth in _parse(variant) for method in METHODS for run in sweeps.product(
        methods.rows((method,), "mlp", depth),
        {"network.num_blocks": (depth,)},
        {"optimizer.learning_rate": RATES},
        {"seed": range(1 if depth >= 250 else 8 if method == "sqrt2" else 2)})]


def _parse(variant: str) -> list[int]:
    depths = variant.split("+")
    if not all(depth.isdecimal() and int(depth) > 0 for depth in depths):
        raise ValueError(f"{variant!r}: use numbers of blocks such as 6+48 or 250")
    return [int(depth) for depth in depths]
