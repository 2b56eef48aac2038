"""Wide-ResNets of 16, 100 and 1,000 layers and width 2 on CIFAR-10: the depth study of SkipInit.

Reproduces: tables 1 and 2 of arXiv 2002.10444 as they were recalled, not read: at each depth, for
    batch norm, SkipInit with scalars that start as 1/sqrt(d), as 0 and as 1, and the sum divided by
    sqrt(2), the best learning rate of a grid of powers of 2, seven seeds, the mean of the best
    five; the runs are those of wide_resnet.py. Chosen: the ends of the grid, 2^-7 and 2^1
    (`--extend=3` widens it where the best rate is at an end), and the rows no norm and FixUp.
Published accuracy: empty, the tables could not be read.
Variants: depths with a + between them; by default 16+100+1000, 1,323 runs.
Time: not run by us at this size; --dry_run estimates what it takes on a machine. Without batch
    norm the blocks of a stage are compiled as one; a batch-normalized network of 1,000 layers is
    compiled block by block, once for all its runs. CIFAR-10 has to be prepared first.

    python -m nfnets_jax.sweep --config=experiments/skipinit/wide_resnet_depth.py:16 --extend=3 \\
        --best_k=5 --workdir=runs/wide_resnet_depth
    python -m experiments.skipinit.table --workdir=runs/wide_resnet_depth --best_k=5

The laptop's version is digits_depth.py.
"""

from experiments.skipinit import methods, wide_resnet
from nfnets_jax import sweeps

DEPTHS = (16, 100, 1000)


def get_config(variant: str = "16+100+1000"):
    """The config of the runs, of the first depth; `variant` lists the depths."""
    config = wide_resnet.get_config(f"skipinit_wrn_{_parse(variant)[0]}_2")
    config.evaluate_every = 0
    return config


def get_sweep(variant: str = "16+100+1000"):
    """The runs: depth by kind of block by learning rate by seed."""
    return [{**run, **_own_fields(run[methods.NAME])}
            for depth in _parse(variant) for run in sweeps.product(
                methods.rows(methods.METHODS, f"wrn_{depth}_2", num_blocks=(depth - 4) // 2),
                {"optimizer.learning_rate": sweeps.powers(2, -7, 1)},
                {"seed": range(7)})]


def _own_fields(network: str) -> dict:
    """What the kinds of block do not share."""
    is_bn, is_fixup = network.startswith("bn_"), network.startswith("fixup_")
    return {"network.weight_init": None if is_fixup else "he",
            "network.scan_blocks": None if is_bn else True}


def _parse(variant: str) -> list[int]:
    depths = variant.split("+")
    if not set(depths) <= set(map(str, DEPTHS)):
        raise ValueError(f"{variant!r}: use {'+'.join(map(str, DEPTHS))} or some of these depths")
    return [int(depth) for depth in depths]
