"""Learning-rate schedules, as factors of the base learning rate.

A schedule maps the step to a factor, usually in [0, 1]. The base learning rate is a traced
hyper-parameter of the run, so one compiled program serves every learning rate of a sweep.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax.naming import nearest

# Where the halving schedule first halves: at half of training, or a twentieth of it after that.
FIRST_DROPS = ("at_half", "after")


def constant(*, total_steps: int, warmup_steps: int, final_fraction: float) -> optax.Schedule:
    """1 after a linear warm-up from 0; `final_fraction` must be 1."""
    del total_steps
    if final_fraction != 1.0:
        raise ValueError(
            f"final_fraction={final_fraction} has no meaning for the constant schedule; set it to 1"
        )
    return _with_warmup(optax.constant_schedule(1.0), warmup_steps)


def cosine(*, total_steps: int, warmup_steps: int, final_fraction: float) -> optax.Schedule:
    """Half a cosine from 1 to `final_fraction` after a linear warm-up from 0.

    With 5 epochs of warm-up and `final_fraction=0` this is the schedule of the NF-ResNets
    (arXiv 2101.08692, the authors' released configuration).
    """
    decay = optax.cosine_decay_schedule(1.0, max(1, total_steps - warmup_steps), final_fraction)
    return _with_warmup(decay, warmup_steps)


def halving(
    *, total_steps: int, warmup_steps: int, final_fraction: float, first_drop: str = "at_half"
) -> optax.Schedule:
    """1 for the first half of training, then halved at every further twentieth of it.

    With k = 20 step // total_steps, exactly and in whole numbers, the factor is 1 for k < 10, then
    2**-(k - 9). For 200 epochs: constant for 100, then halved every 10, first at epoch 100, so that
    the last ten run at 2**-10. With `first_drop='after'` it is first halved a twentieth later,
    2**-(k - 10), and ends at 2**-9. It is how the protocol of SkipInit (arXiv 2002.10444) and of
    the study of noise in SGD (arXiv 2006.15081) was recalled, not read; which of the two they use
    is open. The end point is part of the rule, so `final_fraction` must be 0.
    """
    if final_fraction != 0.0:
        raise ValueError(
            f"final_fraction={final_fraction} has no meaning for the halving schedule; set it to 0"
        )
    first = 10 + FIRST_DROPS.index(first_drop)
    # The first steps with 20 step // total_steps >= k. A traced 20 step would overflow int32.
    drops = [-(-total_steps * k // 20) for k in range(first, 20)]
    return _with_warmup(_staircase(drops, 0.5, warmup_steps), warmup_steps)


def piecewise(
    *, total_steps: int, warmup_steps: int, final_fraction: float,
    drops: Sequence[float] | None = None, drop_factor: float = 0.1,
) -> optax.Schedule:
    """1, and `drop_factor` times less from each of the given fractions of training on.

    The fraction f is reached with the first step >= f total_steps, where f is the decimal that was
    written: 0.3 of 10 steps are 3. What is left at the end is `drop_factor ** len(drops)`, so that
    `final_fraction` must be 0.
    """
    if final_fraction != 0.0:
        raise ValueError(f"final_fraction={final_fraction} has no meaning for the piecewise "
                         "schedule; set it to 0")
    if not drops or any(not 0 < f < 1 for f in drops) or list(drops) != sorted(set(drops)):
        raise ValueError(f"drops={drops} must be increasing fractions of the run, above 0 and "
                         "below 1, such as (0.5, 0.75)")
    steps = [math.ceil(Fraction(repr(fraction)) * total_steps) for fraction in drops]
    return _with_warmup(_staircase(steps, drop_factor, warmup_steps), warmup_steps)


def _staircase(drops: Sequence[int], factor: float, warmup_steps: int) -> optax.Schedule:
    """factor^k from the k-th of the steps `drops` on; the schedule's steps follow the warm-up."""
    after_warmup = (np.array(drops) - warmup_steps).astype(np.int32)
    factors = (factor ** np.arange(len(drops) + 1)).astype(np.float32)

    def decay(step: jax.Array) -> jax.Array:
        return jnp.asarray(factors)[jnp.searchsorted(after_warmup, step, side="right")]

    return decay


def _with_warmup(schedule: optax.Schedule, warmup_steps: int) -> optax.Schedule:
    if warmup_steps == 0:
        return schedule
    warmup = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return optax.join_schedules([warmup, schedule], [warmup_steps])


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "halving": halving,
    "piecewise": piecewise,
}
# Arguments that one schedule alone has, and the value that means nothing to the others.
_OWN = {"first_drop": ("halving", FIRST_DROPS[0]), "drops": ("piecewise", None),
        "drop_factor": ("piecewise", 0.1)}


def create_schedule(
    name: str,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    final_fraction: float = 0.0,
    first_drop: str = "at_half",
    drops: Sequence[float] | None = None,
    drop_factor: float = 0.1,
) -> optax.Schedule:
    """Returns the schedule `name`: a function of the step (int32 scalar) to a float32 factor.

    Args:
      name: a key of `SCHEDULES`.
      total_steps: length of the whole run, warm-up included, in steps.
      warmup_steps: steps of linear increase from 0 to 1.
      final_fraction: the factor at the end, where the schedule lets one choose it.
      first_drop: of the halving schedule, one of `FIRST_DROPS`.
      drops: of the piecewise schedule, the fractions of the run at which the factor falls.
      drop_factor: of the piecewise schedule, by which it falls.

    Raises:
      ValueError: for an unknown name (the message lists the nearest), impossible lengths, or an
        argument that the schedule does not have.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule {name!r} is unknown; nearest: {nearest(name, SCHEDULES)}")
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps} steps does not fit a run of {total_steps} steps"
        )
    if first_drop not in FIRST_DROPS:
        raise ValueError(f"first_drop={first_drop!r} is unknown; use {' or '.join(FIRST_DROPS)}")
    arguments = dict(
        total_steps=total_steps, warmup_steps=warmup_steps, final_fraction=final_fraction
    )
    own = dict(first_drop=first_drop, drops=drops, drop_factor=drop_factor)
    for field, value in own.items():
        owner, unset = _OWN[field]
        if owner == name:
            arguments[field] = value
        elif value != unset:
            raise ValueError(
                f"{field}={value!r} has no meaning for the {name} schedule; set it to {unset}")
    return SCHEDULES[name](**arguments)
