"""Schedules at the steps where their values are known."""

import math

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


@pytest.mark.parametrize("warmup", [0, 7])
def test_halving_is_that_of_200_epochs(warmup):
    got = values("halving", 200, warmup_steps=warmup)
    expected = np.array([1.0 if e < 100 else 2.0 ** -(math.floor((e - 100) / 10) + 1)
                         for e in range(200)])
    np.testing.assert_allclose(got[warmup:], expected[warmup:], rtol=1e-6)
    assert got[-1] == 2.0**-10
    np.testing.assert_allclose(got[:warmup], np.arange(warmup) / max(1, warmup), rtol=1e-6)


def test_constant():
    np.testing.assert_array_equal(
        values("constant", 8, warmup_steps=4, final_fraction=1.0),
        [0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


@pytest.mark.parametrize("arguments, message", [
    (dict(name="cosin", total_steps=10), "nearest: cosine"),
    (dict(name="cosine", total_steps=10, warmup_steps=10), "10 steps does not fit a run of 10"),
    (dict(name="constant", total_steps=10), "set it to 1"),
    (dict(name="halving", total_steps=10, final_fraction=0.1), "set it to 0"),
])
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        optim.create_schedule(**arguments)
