"""Small networks that learn a teacher's classes, over depth, width, and with batch norm or skips.

The laptop's version of figures 2, 3 and 4 of arXiv 1904.06963; the set-up is our choice: 1,024
random vectors of 32 dimensions in two classes (`tasks/teacher_student.py`), fully connected ReLU
networks with one output and the logistic loss, He's initialisation, 800 steps of SGD with batch 32,
the learning rate divided by 10 at 40% and at 80% of them and tuned for each network by the training
loss, eight seeds. Kept of the paper's protocol: no momentum, no weight decay, 100 pairs of batches
of the size of training.
Variants: width, 10 hidden layers of 8 to 128 units; depth, 2 to 16 hidden layers of 16 units;
    norm_and_skip, 10 blocks of two matrices of 16 units with neither, either and both, and 20 with
    both. Blocks are norm, ReLU and matrix, twice.
Expect: README.md has what was measured. About a minute each on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/gradient_confusion/teacher.py:width \\
        --workdir=runs/confusion_teacher_width
    python -m nfnets_jax.report gradient_confusion --workdir=runs/confusion_teacher_width
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

WIDTHS = (8, 16, 32, 64, 128)
DEPTHS = (2, 6, 10, 16)
# Block, use_skip, number of blocks.
NORM_AND_SKIP = (("plain", False, 10), ("plain", True, 10), ("bn", False, 10), ("bn", True, 10),
                 ("bn", True, 20))
RATES = (0.3, 0.1, 0.03)


def get_config(variant: str = "width"):
    """The config of the runs, of the first network."""
    config = default_config("teacher_student")

    config.network.update(_networks(variant)[0])
    config.num_steps = 800
    config.batch_size = 32
    config.schedule.name = "piecewise"
    config.schedule.final_fraction = 0.0
    config.schedule.drops = (0.4, 0.8)

    config.analysis.measures = ("gradient_confusion",)
    return config


def get_sweep(variant: str = "width"):
    """The runs: network by learning rate by seed."""
    return sweeps.product(
        [{f"network.{field}": value for field, value in network.items()}
         for network in _networks(variant)],
        {"optimizer.learning_rate": RATES}, {"seed": range(8)})


def _networks(variant: str) -> list[dict]:
    layers = {"width": [(width,) * 10 for width in WIDTHS],
              "depth": [(16,) * depth for depth in DEPTHS]}
    if variant in layers:
        return [{"name": "mlp", "widths": widths, "first_init": "lecun", "classifier_init": "he"}
                for widths in layers[variant]]
    if variant == "norm_and_skip":
        return [{"name": f"{block}_mlp", "use_skip": use_skip, "num_blocks": count, "width": 16}
                for block, use_skip, count in NORM_AND_SKIP]
    raise ValueError(f"{variant!r}: use width, depth or norm_and_skip")
