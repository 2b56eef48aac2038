"""Learning-rate schedules, as factors of the base learning rate.

A schedule maps the step to a factor, usually in [0, 1]. The base learning rate is a traced
hyper-parameter of the run, so one compiled program serves every learning rate of a sweep.
"""

from collections.abc import Callable

import optax

from nfnets_jax.naming import nearest


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


def halving(*, total_steps: int, warmup_steps: int, final_fraction: float) -> optax.Schedule:
    """1 for the first half of training, then halved at every further twentieth of it.

    For 200 epochs: constant for 100, then halved every 10 epochs, first at epoch 100, so that
    the last ten epochs run at 2**-10. It is how the CIFAR-10 protocol of SkipInit
    (arXiv 2002.10444) was recalled, not read; whether the first halving falls on epoch 100 or
    110 is open. The end point is part of the rule, so `final_fraction` must be 0.
    """
    if final_fraction != 0.0:
        raise ValueError(
            f"final_fraction={final_fraction} has no meaning for the halving schedule; set it to 0"
        )
    boundaries = {round(total_steps * (10 + k) / 20): 0.5 for k in range(10)}
    decay = optax.piecewise_constant_schedule(1.0, {b - warmup_steps: f for b, f in
                                                    boundaries.items() if b > warmup_steps})
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
    name: str, *, total_steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
) -> optax.Schedule:
    """Returns the schedule `name`: a function of the step (int32 scalar) to a float32 factor.

    Args:
      name: a key of `SCHEDULES`.
      total_steps: length of the whole run, warm-up included, in steps.
      warmup_steps: steps of linear increase from 0 to 1.
      final_fraction: the factor at the end, where the schedule lets one choose it.

    Raises:
      ValueError: for an unknown name (the message lists the nearest) or impossible lengths.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule {name!r} is unknown; nearest: {nearest(name, SCHEDULES)}")
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps} steps does not fit a run of {total_steps} steps"
        )
    return SCHEDULES[name](
        total_steps=total_steps, warmup_steps=warmup_steps, final_fraction=final_fraction
    )
