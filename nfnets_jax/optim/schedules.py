"""Learning-rate schedules, as factors of the base learning rate.

A schedule maps the step to a factor, usually in [0, 1]. The base learning rate is a traced
hyper-parameter of the run, so one compiled program serves every learning rate of a sweep.
"""

from collections.abc import Callable

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
    drops = np.array([-(-total_steps * k // 20) for k in range(first, 20)])
    after_warmup = (drops - warmup_steps).astype(np.int32)
    factors = 0.5 ** np.arange(len(drops) + 1, dtype=np.float32)

    def decay(step: jax.Array) -> jax.Array:
        return jnp.asarray(factors)[jnp.searchsorted(after_warmup, step, side="right")]

    return _with_warmup(decay, warmup_steps)


def _with_warmup(schedule: optax.Schedule, warmup_steps: int) -> optax.Schedule:
    if warmup_steps == 0:
        return schedule
    warmup = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return optax.join_schedules([warmup, schedule], [warmup_steps])


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "halving": halving,
}


def create_schedule(
    name: str,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    final_fraction: float = 0.0,
    first_drop: str = "at_half",
) -> optax.Schedule:
    """Returns the schedule `name`: a function of the step (int32 scalar) to a float32 factor.

    Args:
      name: a key of `SCHEDULES`.
      total_steps: length of the whole run, warm-up included, in steps.
      warmup_steps: steps of linear increase from 0 to 1.
      final_fraction: the factor at the end, where the schedule lets one choose it.
      first_drop: of the halving schedule, one of `FIRST_DROPS`.

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
    if name == "halving":
        return halving(**arguments, first_drop=first_drop)
    if first_drop != FIRST_DROPS[0]:
        raise ValueError(
            f"first_drop={first_drop!r} has no meaning for the {name} schedule; "
            f"set it to {FIRST_DROPS[0]}"
        )
    return SCHEDULES[name](**arguments)
