"""Schedules at the steps where their values are known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import optim


def values(name, total, **arguments):
    schedule = optim.create_schedule(name, total_steps=total, **arguments)
    return np.array([float(schedule(step)) for step in range(total)])


def test_cosine_after_warmup():
    got = values("cosine", 100, warmup_steps=20)
    expected = [step / 20 if step < 20 else (1 + math.cos(math.pi * (step - 20) / 80)) / 2
                for step in range(100)]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_cosine_ends_at_final_fraction():
    schedule = optim.create_schedule("cosine", total_steps=50, final_fraction=0.25)
    np.testing.assert_allclose([schedule(0), schedule(25), schedule(50)], [1, 0.625, 0.25],
                               atol=1e-6)


def halved(step, total, first_drop="at_half"):
    """The rule in Python's integers, which do not overflow."""
    k = 20 * step // total
    return 2.0 ** -max(0, k - {"at_half": 9, "after": 10}[first_drop])


@pytest.mark.parametrize("warmup", [0, 7, 120])
@pytest.mark.parametrize("first_drop", ["at_half", "after"])
def test_halving_is_that_of_200_epochs(warmup, first_drop):
    got = values("halving", 200, warmup_steps=warmup, first_drop=first_drop)
    start = {"at_half": 100, "after": 110}[first_drop]
    expected = np.array([1.0 if e < start else 2.0 ** -((e - start) // 10 + 1)
                         for e in range(200)])
    np.testing.assert_array_equal(got[warmup:], expected[warmup:])
    assert got[-1] == {"at_half": 2.0**-10, "after": 2.0**-9}[first_drop]
    np.testing.assert_allclose(got[:warmup], np.arange(warmup) / max(1, warmup), rtol=1e-6)


def test_halving_at_known_shares_of_training():
    schedule = optim.create_schedule("halving", total_steps=10_000)
    got = [float(schedule(step)) for step in (0, 4999, 5000, 5500, 9500, 9999)]
    assert got == [1, 1, 1 / 2, 1 / 4, 2.0**-10, 2.0**-10]


@pytest.mark.parametrize("j", [1, 3, 16])
def test_halving_sums_to_its_closed_form(j):
    assert values("halving", 20 * j).sum() == j * (10 + 1023 / 1024)
    assert values("halving", 20 * j, first_drop="after").sum() == j * (11 + 511 / 512)


@pytest.mark.parametrize("first_drop", ["at_half", "after"])
@pytest.mark.parametrize("total", [
    1, 2, 3, 7, 19, 20, 21, 39, 41, 320, 9_765, 10**7 + 1, 2**29 + 3, 2**31 - 2, 2**31 - 1])
def test_halving_is_exact_at_and_before_every_drop(total, first_drop):
    schedule = jax.jit(jax.vmap(
        optim.create_schedule("halving", total_steps=total, first_drop=first_drop)))
    borders = {total * k // 20 + offset for k in range(21) for offset in (-1, 0, 1, 2)}
    steps = sorted(step for step in borders if 0 <= step < total)
    got = schedule(jnp.array(steps, jnp.int32))
    np.testing.assert_array_equal(got, [halved(step, total, first_drop) for step in steps])


def test_constant():
    np.testing.assert_array_equal(
        values("constant", 8, warmup_steps=4, final_fraction=1.0),
        [0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


@pytest.mark.parametrize("total, warmup", [(10, 0), (10, 2), (1000, 0)])
def test_piecewise_falls_at_the_fractions_that_were_written(total, warmup):
    got = values("piecewise", total, warmup_steps=warmup, drops=(0.3, 0.7, 0.75), drop_factor=0.2)
    # In whole numbers: 0.3 total is reached where 100 step >= 30 total.
    expected = np.array([0.2 ** sum(100 * step >= percent * total for percent in (30, 70, 75))
                         for step in range(total)])
    np.testing.assert_allclose(got[warmup:], expected[warmup:], rtol=1e-6)
    np.testing.assert_allclose(got[:warmup], np.arange(warmup) / max(1, warmup), rtol=1e-6)


@pytest.mark.parametrize("arguments, message", [
    (dict(name="cosin", total_steps=10), "nearest: cosine"),
    (dict(name="cosine", total_steps=10, warmup_steps=10), "10 steps does not fit a run of 10"),
    (dict(name="constant", total_steps=10), "set it to 1"),
    (dict(name="halving", total_steps=10, final_fraction=0.1), "set it to 0"),
    (dict(name="halving", total_steps=10, first_drop="half"), "'half' is unknown; use at_half or"),
    (dict(name="cosine", total_steps=10, first_drop="after"),
     "first_drop='after' has no meaning for the cosine schedule; set it to at_half"),
    (dict(name="cosine", total_steps=10, drops=(0.5,)),
     "drops=\\(0.5,\\) has no meaning for the cosine schedule; set it to None"),
    (dict(name="halving", total_steps=10, drop_factor=0.5), "drop_factor=0.5 .*; set it to 0.1"),
    (dict(name="piecewise", total_steps=10), "drops=None must be increasing fractions"),
    (dict(name="piecewise", total_steps=10, drops=(0.7, 0.3)), "such as \\(0.5, 0.75\\)"),
    (dict(name="piecewise", total_steps=10, drops=(0.5, 1.0)), "below 1"),
    (dict(name="piecewise", total_steps=10, drops=(0.5,), final_fraction=0.1), "set it to 0"),
])
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        optim.create_schedule(**arguments)
