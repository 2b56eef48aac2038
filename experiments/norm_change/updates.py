"""The same shock, if teachers keep their payoffs, lose them, or all agents decide at once.

    frozen         teachers show what they earned in this generation; the library's default
    zero           a teacher who was replaced earlier in the pass shows 0; the release
    synchronous    all agents decide at once, by what was

The three are different processes: their times differ by up to a factor of three, so that a time
means little without the name of its update. Set-up as in `shock.py`; our choice.

Expect: README.md has the times. Three quarters of a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/norm_change/updates.py --workdir=runs/updates
    python -m nfnets_jax.report norm_change --workdir=runs/updates
"""

from experiments.norm_change import shock
from nfnets_jax import sweeps

UPDATES = (
    {"update": "random_sequential", "teacher_payoff": "frozen"},
    {"update": "random_sequential", "teacher_payoff": "zero"},
    {"update": "synchronous", "teacher_payoff": "frozen"},
)


def get_config():
    """The config of the runs."""
    return shock.get_config()


def get_sweep():
    """The runs: update by need for coordination."""
    return sweeps.product(UPDATES, {shock.C: shock.NEEDS})
