"""Even or odd digits, networks of two depths and two widths: where width shows and depth does not.

The set-up is our choice, and is that of teacher.py but for the data, scikit-learn's 1,437 digits
for training in two classes, without replacement. A softmax over the ten digits shows neither width
nor depth above the noise of the seeds.
Expect: README.md has what was measured. About a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/gradient_confusion/digits_parity.py \\
        --workdir=runs/confusion_digits
    python -m nfnets_jax.report gradient_confusion --workdir=runs/confusion_digits
"""

from experiments.gradient_confusion import teacher
from nfnets_jax import sweeps
from nfnets_jax.config import default_config

WIDTHS = (16, 128)
DEPTHS = (4, 10)


def get_config():
    """The config of the runs, of the smallest network."""
    config = default_config("classification")

    config.network.update({"name": "mlp", "widths": (16,) * 4, "first_init": "lecun",
                           "classifier_init": "he"})
    config.dataset.name = "digits_parity"
    config.scalar_logit = True
    config.batch_size = 32
    config.evaluation_batch_size = 360
    config.label_smoothing = 0.0

    config.num_steps = 800
    config.optimizer.momentum = 0.0
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "piecewise"
    config.schedule.drops = (0.4, 0.8)
    config.schedule.warmup_epochs = 0.0

    config.analysis.measures = ("gradient_confusion",)
    return config


def get_sweep():
    """The runs: network by learning rate by seed."""
    return sweeps.product(
        {"network.widths": [(width,) * depth for depth in DEPTHS for width in WIDTHS]},
        {"optimizer.learning_rate": teacher.RATES}, {"seed": range(8)})
