"""Rounding to grids against closed forms, and the methods against loops written a second time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax.optim import quantized
from nfnets_jax.optim.grids import random_bits, round_with_bits
from nfnets_jax.optim.quantized import BinaryGrid, Grid

KEY = jax.random.key(7)
SAMPLES = 2**16
LAST = np.uint32(2**32 - 1)


def sampled(w, grid):
    """[SAMPLES, len(w)], in float64."""
    w = jnp.broadcast_to(jnp.asarray(w, jnp.float32), (SAMPLES, len(w)))
    return np.asarray(quantized.round_stochastic(KEY, w, grid), float)


@pytest.mark.parametrize("delta", [0.25, 0.3])
def test_stochastic_rounding_has_the_moments_of_its_two_points(delta):
    q = np.array([0.0, 0.003, 0.2, 0.5, 0.9])
    w = delta * (np.array([-3, 4, -1, 0, 2]) + q)
    deviation = sampled(w, Grid(delta)) - w
    error = 5 / SAMPLES**0.5
    np.testing.assert_allclose(deviation.mean(0), 0, atol=error * delta / 2 + 1e-7)
    np.testing.assert_allclose((deviation**2).mean(0), delta**2 * q * (1 - q),
                               atol=error * delta**2 / 2)
    np.testing.assert_allclose((deviation**3).mean(0), delta**3 * q * (1 - q) * (1 - 2 * q),
                               atol=error * delta**3)
    pairs = deviation.reshape(2, -1, len(w))
    np.testing.assert_allclose((pairs[0] * pairs[1]).mean(0), 0, atol=2 * error * delta**2)


def test_binary_rounding_has_mean_w_within_its_range():
    s, w = 0.5, np.array([-0.8, -0.3, 0.0, 0.499, 0.6])
    points = sampled(w, BinaryGrid(s))
    inside = np.clip(w, -s, s)
    assert set(np.unique(points)) == {-s, s}
    np.testing.assert_allclose(points.mean(0), inside, atol=5 * s / SAMPLES**0.5)
    np.testing.assert_allclose(points.var(0), s**2 - inside**2, atol=5 * s**2 / SAMPLES**0.5)


def test_rounding_up_has_the_probability_of_31_bits():
    share = np.array([2.0**-30, 2.0**-30, 0.75, 0.75, 0.0, 1 - 2.0**-24], np.float32)
    bits = np.array([3, 4, 3 * 2**30 - 1, 3 * 2**30, 0, 2**32 - 2**8 - 1], np.uint32)
    np.testing.assert_array_equal(round_with_bits(bits, share, Grid(1.0)), [1, 0, 1, 0, 0, 1])
    # The binary grid has the share 1, too.
    np.testing.assert_array_equal(
        round_with_bits(np.array([LAST, 0]), np.array([2.0, -2.0], np.float32), BinaryGrid(2.0)),
        [2, -2])


def test_two_numbers_of_random_bits_share_a_word_with_its_halves_exchanged():
    bits = np.asarray(random_bits(KEY, SAMPLES))
    first, second = np.split(bits, 2)
    np.testing.assert_array_equal(second, first << 16 | first >> 16)
    ones = np.unpackbits(first.view(np.uint8)).reshape(-1, 32)
    np.testing.assert_allclose(ones.mean(0), 0.5, atol=5 * 0.5 / (SAMPLES / 2) ** 0.5)
    below = bits < np.uint32(0.3 * 2**32)
    expected = 0.09 + 5 * np.array([-1, 1]) * 0.21 / (SAMPLES / 2) ** 0.5
    assert expected[0] < np.mean(below[:SAMPLES // 2] & below[SAMPLES // 2:]) < expected[1]
    np.testing.assert_array_equal(random_bits(KEY, 3), np.asarray(random_bits(KEY, 4))[:3])


@pytest.mark.parametrize("delta", [1 / 8, 0.1, 0.3, 1e-3])
def test_points_stay_where_they_are(delta):
    grid = Grid(delta)
    points = grid.points(jnp.arange(-1000.0, 1001.0))
    for bits in (np.zeros(2001, np.uint32), np.full(2001, LAST)):
        np.testing.assert_array_equal(round_with_bits(bits, points, grid), points)
    np.testing.assert_array_equal(quantized.round_deterministic(points, grid), points)


def test_halfway_is_rounded_away_from_zero_and_the_sign_of_zero_is_positive():
    w = np.array([-2.5, -0.5, 0.49999997, 0.5, 1.5, 7.0], np.float32)
    np.testing.assert_array_equal(
        quantized.round_deterministic(w, Grid(1.0, -2.0, 3.0)), [-2, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(
        quantized.round_deterministic(np.array([0.0, -0.0, -1e-30], np.float32), BinaryGrid(0.2)),
        np.array([0.2, 0.2, -0.2], np.float32))


@pytest.mark.parametrize("grid", [Grid(0.5, -1.0, 1.0), BinaryGrid(0.5)])
def test_what_is_not_a_number_is_not_hidden(grid):
    w, nan = np.array([np.nan, 3.0, -np.inf], np.float32), [True, False, False]
    for bits in (np.zeros(3, np.uint32), np.full(3, LAST)):
        np.testing.assert_array_equal(np.isnan(round_with_bits(bits, w, grid)), nan)
    rounded = quantized.round_deterministic(w, grid)
    np.testing.assert_array_equal(rounded, [np.nan, grid.hi, grid.lo])


def test_ends_of_a_grid_are_points_and_stop_the_weights():
    grid = Grid(0.1, -0.3, 0.7)
    w = np.array([-9.0, 9.0, 0.69999], np.float32)
    for bits in (np.zeros(3, np.uint32), np.full(3, LAST)):
        ends = round_with_bits(bits, w, grid)[:2]
        np.testing.assert_array_equal(ends, grid.points(jnp.array([-3.0, 7.0])))


PARAMS = {"conv": {"w": np.array([0.3, -0.2, 0.9, -1.4, 0.0], np.float32),
                   "b": np.array([0.1, -0.3], np.float32)}}
MASK = {"conv": {"w": True, "b": False}}
GRADIENTS = [jax.tree.map(lambda x, i=i: np.random.default_rng(i).normal(size=x.shape).astype(
    np.float32), PARAMS) for i in range(30)]


def run(optimizer, params, gradients=GRADIENTS, state=None):
    """Parameters after each step, and the last state."""
    state = optimizer.init(PARAMS) if state is None else state

    def step(carry, inputs):
        params, state = carry
        number, gradient = inputs
        updates, state = optimizer.update(
            gradient, state, params, key=jax.random.fold_in(KEY, number))
        params = optax.apply_updates(params, updates)
        return (params, state), params

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    (_, state), history = jax.jit(lambda carry: jax.lax.scan(
        step, carry, (jnp.arange(len(gradients)), stacked)))((params, state))
    return jax.device_get(history), jax.device_get(state)


def test_binary_connect_steps_latent_weights_by_gradients_at_their_signs():
    optimizer = quantized.binary_connect(
        optax.sgd(0.3, momentum=0.9), BinaryGrid(0.5), mask=MASK, clip=0.8, count_flips=True)
    history, state = run(optimizer, quantized.project(PARAMS, BinaryGrid(0.5), MASK))
    w, b = (PARAMS["conv"][name].astype(float) for name in ("w", "b"))
    trace, flips, before = [0.0, 0.0], 0, np.where(w >= 0, 0.5, -0.5)
    for i, gradient in enumerate(GRADIENTS):
        trace = [0.9 * t + gradient["conv"][n] for t, n in zip(trace, ("w", "b"), strict=True)]
        w, b = np.clip(w - 0.3 * trace[0], -0.8, 0.8), b - 0.3 * trace[1]
        points = np.where(w >= 0, 0.5, -0.5)
        np.testing.assert_array_equal(history["conv"]["w"][i], points)
        flips, before = flips + np.mean(points != before), points
    np.testing.assert_allclose(state.latent["conv"]["w"], w, atol=1e-6)
    np.testing.assert_allclose(history["conv"]["b"][-1], b, rtol=1e-4)
    assert state.flips == pytest.approx(flips) and flips > 1
    latent = quantized.latent_params(state, PARAMS)
    np.testing.assert_array_equal(latent["conv"]["w"], state.latent["conv"]["w"])
    np.testing.assert_array_equal(latent["conv"]["b"], PARAMS["conv"]["b"])


def test_the_optimizer_of_binary_connect_decays_the_latent_weights():
    inner = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(1.0))
    optimizer = quantized.binary_connect(inner, BinaryGrid())
    state = optimizer.init(np.array([0.4, -0.2], np.float32))
    signs = np.array([1, -1], np.float32)
    updates, state = optimizer.update(np.zeros(2, np.float32), state, signs)
    np.testing.assert_allclose(state.latent, [0.2, -0.1], rtol=1e-6)
    np.testing.assert_array_equal(updates, 0)


def test_binary_connect_on_a_grid_as_fine_as_the_floats_is_the_inner_optimizer():
    inner, fine = optax.adam(0.1), Grid(2.0**-40)
    ours, _ = run(quantized.binary_connect(inner, fine), PARAMS)
    theirs, _ = run(optax.with_extra_args_support(inner), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_mask_is_a_partition_and_a_step_between_gradients_changes_nothing():
    grid, start = Grid(0.25), quantized.project(PARAMS, Grid(0.25), MASK)
    masked, state = run(quantized.rounded(
        optax.sgd(0.1), grid, mask=MASK, count_flips=True), start)
    labels = {"conv": {"w": "quantized", "b": "float"}}
    split, _ = run(optax.partition({"quantized": quantized.rounded(optax.sgd(0.1), grid),
                                    "float": optax.sgd(0.1)}, labels), start)
    jax.tree.map(np.testing.assert_array_equal, masked, split)
    moved = np.diff(np.concatenate([start["conv"]["w"][None], masked["conv"]["w"]]), axis=0)
    assert state.flips == pytest.approx(np.mean(moved != 0) * len(GRADIENTS), rel=1e-6)
    assert len(np.unique(moved)) > 2

    accumulated, _ = run(
        quantized.rounded(optax.MultiSteps(optax.sgd(0.1), 3), grid, mask=MASK), start)
    held = accumulated["conv"]["w"].reshape(-1, 3, 5)
    np.testing.assert_array_equal(held[1:, :2], np.repeat(held[:-1, 2:], 2, axis=1))
    assert len(np.unique(held[:, 2], axis=0)) > 2


@pytest.mark.parametrize("rounding", quantized.ROUNDINGS)
def test_steps_of_whole_points_are_taken_and_others_have_their_limits(rounding):
    start = {"w": np.array([0.5, -1.0, 0.25], np.float32)}

    def step(grid, gradient, method=quantized.rounded):
        optimizer = method(optax.sgd(1.0), grid, rounding)
        updates, _ = optimizer.update(
            {"w": np.array(gradient, np.float32)}, optimizer.init(start), start, key=KEY)
        return np.asarray(start["w"] + updates["w"])

    np.testing.assert_array_equal(step(Grid(0.25), [0.5, -0.25, 0.0]), [0.0, -0.75, 0.25])
    gradient = np.array([0.3, -0.1, 0.7])
    np.testing.assert_allclose(step(Grid(2.0**-20), gradient), start["w"] - gradient, atol=2e-6)
    for method in (quantized.rounded, quantized.binary_connect):
        np.testing.assert_array_equal(step(Grid(0.25), [0.0] * 3, method), start["w"])
    if rounding == "deterministic":
        np.testing.assert_array_equal(step(Grid(0.25), [0.124, -0.12, 0.1]), start["w"])


def test_a_binary_weight_flips_with_half_its_relative_step():
    s = 0.5
    u = np.array([-0.004, -0.3, -1.5, 0.2], np.float32)
    w = jnp.full((SAMPLES, 4), s)
    optimizer = quantized.rounded(optax.sgd(1.0), BinaryGrid(s), count_flips=True)
    updates, state = optimizer.update(jnp.broadcast_to(-u, w.shape), optimizer.init(w), w, key=KEY)
    p = np.clip(-u / (2 * s), 0, 1)
    rate = np.mean(np.asarray(updates) == -2 * s, axis=0)
    np.testing.assert_allclose(rate, p, atol=5 * np.max(p * (1 - p) / SAMPLES) ** 0.5)
    assert rate[2] == 1 and rate[3] == 0 and state.flips == pytest.approx(rate.mean(), rel=1e-6)


def test_small_steps_of_bfloat16_weights_are_not_lost():
    w = jnp.where(jnp.arange(2**18) % 2, 1.0, -1.0).astype(jnp.bfloat16)
    inner = optax.sgd(0.001, momentum=0.9)
    optimizer = quantized.rounded(inner, BinaryGrid(), count_flips=True)
    updates, state = optimizer.update(w, optimizer.init(w), w, key=KEY)
    flipped = np.mean(optax.apply_updates(w, updates) == -w)
    assert flipped == pytest.approx(5e-4, abs=5 * (5e-4 / w.size) ** 0.5)
    assert state.flips == pytest.approx(flipped) and updates.dtype == jnp.bfloat16
    assert state.inner_state[0].trace.dtype == np.float32

    optimizer, ones = quantized.binary_connect(inner, BinaryGrid()), jnp.ones(1, jnp.bfloat16)
    state = optimizer.init(ones)
    for _ in range(2):
        updates, state = optimizer.update(ones, state, ones)
    assert state.latent[0] == pytest.approx(1 - 0.001 * 2.9, abs=1e-5) and updates[0] == 0


def test_a_grid_without_powers_of_two_is_missed_by_rounding_errors_that_project_removes():
    grid = Grid(0.1)
    history, _ = run(quantized.rounded(optax.sgd(0.2), grid), quantized.project(PARAMS, grid))
    w = history["conv"]["w"]
    exact = np.asarray(quantized.project(w, grid))
    np.testing.assert_array_equal(exact, np.round(w / 0.1).astype(np.float32) * np.float32(0.1))
    assert 0 < np.abs(exact - w).max() < 1e-6


def adam_spike(wrap, rates):
    """Weights [rates, steps] and flips, under the gradients that make Adam's longest step."""
    b1, b2, steps = 0.9, 0.999, 250

    def one(rate):
        optimizer = wrap(optax.adam(rate, b1, b2, eps=1e-20))
        state = optax.tree.set(optimizer.init(jnp.ones(())), count=jnp.int32(10**6))

        def step(carry, gradient):
            w, state = carry
            updates, state = optimizer.update(gradient, state, w)
            return (w + updates, state), w + updates

        gradients = jnp.float32(b2 / b1) ** jnp.arange(1 - steps, 1)
        (_, state), history = jax.lax.scan(step, (jnp.ones(()), state), gradients)
        return history, optax.tree.get(state, "flips", 0.0)

    return jax.device_get(jax.jit(jax.vmap(one))(jnp.array(rates)))


def test_rounding_freezes_adam_until_its_largest_step_reaches_the_threshold():
    bound = (1 - 0.9) / np.sqrt((1 - 0.999) * (1 - 0.9**2 / 0.999))
    assert bound == pytest.approx(7.2703, abs=1e-4)
    history, _ = adam_spike(lambda inner: inner, [1.0])
    assert -np.diff(history).min() == pytest.approx(bound, rel=1e-3)
    history, flips = adam_spike(
        lambda inner: quantized.rounded(inner, BinaryGrid(), "deterministic", count_flips=True),
        [0.01, 0.99 / bound, 1.01 / bound])
    assert list(np.all(history == 1, axis=1)) == list(flips == 0) == [True, True, False]


def test_r_and_sr_start_from_random_signs_or_an_unbiased_rounding():
    params = {"w": jnp.full(SAMPLES, 0.02), "b": jnp.full(3, 0.02)}
    mask = {"w": True, "b": False}
    signs = quantized.random_start(KEY, params, BinaryGrid(0.5), mask)
    assert set(np.unique(signs["w"])) == {-0.5, 0.5}
    assert np.mean(signs["w"]) == pytest.approx(0, abs=5 * 0.5 / SAMPLES**0.5)
    points = quantized.random_start(KEY, params, Grid(0.25), mask)
    assert np.mean(points["w"]) == pytest.approx(0.02, abs=5 * 0.07 / SAMPLES**0.5)
    np.testing.assert_array_equal(points["b"], params["b"])


@pytest.mark.parametrize("make, message", [
    (lambda: Grid(0.0), "delta=0.0: the distance of two points must be above 0"),
    (lambda: Grid(0.25, -1.0, 0.9), "hi=0.9: not a multiple of delta=0.25; use 1"),
    (lambda: Grid(0.5, 1.0, 1.0), "hi=1.0: must be above lo=1.0"),
    (lambda: BinaryGrid(-1.0), "scale=-1.0: must be above 0"),
    (lambda: quantized.rounded(optax.sgd(1.0), Grid(1.0), "nearest"),
     "rounding='nearest' is unknown; use deterministic or stochastic"),
    (lambda: quantized.rounded(optax.identity(), Grid(1.0)).update(
        jnp.ones(2), quantized.RoundedState(optax.EmptyState(), ()), jnp.ones(2)),
     "key=None: stochastic rounding draws at random"),
])
def test_errors_say_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
