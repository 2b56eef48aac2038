"""Mean fields: closed forms beside integration, and tables that were derived before this code."""

import math

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy import stats

from nfnets_jax.games import mean_field, payoffs
from nfnets_jax.games.mean_field import Rates

INF = math.inf
NEVER = (INF, INF)


def rates(c=0.0, k=0.0, strength=1.0):
    return mean_field.replicator_rates(.4, .6, c, k, strength)


def shares(flow):
    return [point.share for point in mean_field.fixed_points(flow)]


def literal_rate(p, c, mu=0.0):
    """dp/dt from the payoffs that are earned, by the definition of the replicator."""
    f_b, f_a = .6 * (1 - c * (1 - p)), .4 * (1 - c * p)
    return p * (f_b - (p * f_b + (1 - p) * f_a)) + mu * ((1 - p) * f_a - p * f_b)


def runge_kutta_time(rate, start, stop, step=0.01):
    """When the classical method's path crosses `stop`, by linear interpolation."""
    p, count = start, 0
    while True:
        k1 = rate(p)
        k2 = rate(p + step / 2 * k1)
        k3 = rate(p + step / 2 * k2)
        k4 = rate(p + step * k3)
        following = p + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if following >= stop:
            return step * (count + (stop - p) / (following - p))
        p, count = following, count + 1


@pytest.mark.parametrize("c, tipping, times", [
    (0.0, math.nan, (14.722195, 29.444390)), (0.05, -3.4, (16.298229, 30.394148)),
    (0.3, -1 / 15, (43.051437, 54.940647)), (1 / 3, 0.0, (62.833317, 74.508739)),
    (0.5, 0.2, NEVER), (0.75, 1 / 3, NEVER), (1.0, 0.4, NEVER)])
def test_tipping_points_and_transit_times_of_need_for_coordination(c, tipping, times):
    assert mean_field.tipping_point(rates(c)) == pytest.approx(tipping, abs=1e-12, nan_ok=True)
    found = [mean_field.transit_time(.05, stop, rates(c)) for stop in (.5, .95)]
    assert found == pytest.approx(times, rel=3e-8)


@pytest.mark.parametrize("c", [0.05, 0.3])
def test_integration_takes_the_time_of_the_closed_form(c):
    expected = mean_field.transit_time(.05, .5, rates(c))
    assert runge_kutta_time(lambda p: literal_rate(p, c), .05, .5) == pytest.approx(
        expected, rel=1e-6)
    flow = mean_field.replicator_flow(rates(c))
    assert mean_field.trajectory(flow, .05, [0, expected])[-1] == pytest.approx(.5, abs=1e-9)


def test_below_the_tipping_point_the_better_norm_is_lost():
    flow = mean_field.replicator_flow(rates(.5))
    falling = mean_field.trajectory(flow, .05, np.linspace(0, 100, 11))
    assert np.all(np.diff(falling) < 0) and falling[-1] < 1e-4
    assert mean_field.trajectory(flow, .21, [0, 100])[-1] > .99
    back = mean_field.transit_time(.05, .01, rates(.5))
    assert mean_field.trajectory(flow, .05, [0, back])[-1] == pytest.approx(.01, abs=1e-9)


@pytest.mark.parametrize("start, stop", [(.05, .5), (.3, .9)])
@pytest.mark.parametrize("alpha, beta", [(.1, .4), (.2, -.05), (3e-5, .33), (-1e-9, .33)])
def test_transit_times_are_those_of_partial_fractions(start, stop, alpha, beta):
    def antiderivative(p):
        return (math.log(p) / alpha - math.log(1 - p) / (alpha + beta)
                - beta * math.log(abs(alpha + beta * p)) / (alpha * (alpha + beta)))

    # The sum of terms of 1 / alpha loses digits that the form without them keeps.
    assert mean_field.transit_time(start, stop, Rates(alpha, beta)) == pytest.approx(
        antiderivative(stop) - antiderivative(start), rel=1e-11, abs=3e-15 / abs(alpha))


def test_transit_times_at_the_singular_rates():
    def at_zero_alpha(p):
        return (math.log(p / (1 - p)) - 1 / p) / .3

    expected = at_zero_alpha(.5) - at_zero_alpha(.05)
    for alpha in (0.0, 1e-13, -1e-13):
        assert mean_field.transit_time(.05, .5, Rates(alpha, .3)) == pytest.approx(
            expected, rel=1e-10)
    logit = math.log(.5 / .5) - math.log(.05 / .95)
    assert mean_field.transit_time(.05, .5, Rates(.2, 0.0)) == pytest.approx(logit / .2, rel=1e-13)
    # p -> 1 - p turns alpha + beta = 0 into alpha = 0, and the direction around.
    assert mean_field.transit_time(.95, .5, Rates(-.3, .3)) == pytest.approx(expected, rel=1e-13)
    assert mean_field.transit_time(.5, .5, Rates(.1, .1)) == 0.0
    for end in (0.0, 1.0):
        assert mean_field.transit_time(end, .5, rates(.7)) == INF
    assert mean_field.transit_time(.5, 1.0, Rates(.1, .1)) == INF


def test_rate_curves_meet_in_one_point():
    """At b/(a+b) for all c, and at 1/2 + (b-a)/2 for all k: with a + b = 1 they are the same."""
    for curve in [rates(c) for c in np.linspace(0, 1, 9)] + [rates(k=k) for k in (.05, .3, 1.0)]:
        assert abs(mean_field.replicator_flow(curve)(.6) - .048) < 1e-12
    for p, sign in ((.3, -1), (.8, 1)):
        changes = [mean_field.replicator_flow(rates(c))(p) for c in (0, .2, .5, .9)]
        assert np.all(sign * np.diff(changes) > 0)
        np.testing.assert_allclose(changes, [literal_rate(p, c) for c in (0, .2, .5, .9)],
                                   atol=1e-15)


def test_eigenvalues_say_what_is_stable():
    for c, low in ((.5, True), (.2, False)):
        curve = rates(c)
        points = mean_field.fixed_points(mean_field.replicator_flow(curve))
        assert [point.is_stable for point in points] == [True, False, True][not low:]
        assert points[0].eigenvalue == pytest.approx(curve.alpha, abs=1e-12)
        assert points[-1].eigenvalue == pytest.approx(-(curve.alpha + curve.beta), abs=1e-12)
        assert curve.alpha + curve.beta == pytest.approx(.6 - (1 - c) * .4, abs=1e-12)
    inner = mean_field.fixed_points(mean_field.replicator_flow(rates(.5)))[1]
    assert inner == pytest.approx((.2, .2 * .8 * .5), abs=1e-12)
    assert shares(mean_field.replicator_flow(Rates(0.0, .3))) == pytest.approx([0, 1], abs=1e-12)


@pytest.mark.parametrize("c, mu, fixed, time", [
    (.05, .03, [.921534], 16.0034), (.05, .06, [.850839], 12.8849), (.05, .1, [.770501], 10.8919),
    (.3, .03, [.943310], 24.7630), (.3, .06, [.886279], 18.0557), (.3, .1, [.811802], 14.3220),
    (.5, .03, [.954158], 53.8459), (.5, .06, [.906691], 28.2724), (.5, .1, [.841364], 19.6695),
    (1, .03, [.031488, .393137, .969375], INF), (1, .1, [.122877, .364817, .892306], INF)])
def test_exploration_moves_the_fixed_points(c, mu, fixed, time):
    flow = mean_field.mutator_flow(.4, .6, c, mu)
    assert shares(flow) == pytest.approx(fixed, abs=6e-7)
    stable = [point.is_stable for point in mean_field.fixed_points(flow)]
    assert stable == [True, False, True][:len(fixed)]
    for p in (0.0, .3, 1.0):
        assert flow(p) == pytest.approx(literal_rate(p, c, mu), abs=1e-15)
    times = [0, 200] if time == INF else [0, time, 200]
    path = mean_field.trajectory(flow, 0.0, times)
    assert path[-1] == pytest.approx(fixed[0], abs=1e-5)
    if time < INF:
        assert path[1] == pytest.approx(.5, abs=3e-6)


def test_the_cubic_of_the_replicator_mutator():
    c, mu, (alpha, beta) = .7, .08, rates(.7)
    np.testing.assert_allclose(
        mean_field.mutator_flow(.4, .6, c, mu).coef,
        [mu * .4, alpha + mu * ((1 - c) * -.2 - .8), beta - alpha + mu * (-.2 + (1 - c) * .2),
         -beta], atol=1e-15)


def test_uniform_mutants_are_half_as_many():
    halved = mean_field.mutator_flow(.4, .6, .05, .1, "uniform")
    np.testing.assert_array_equal(halved.coef, mean_field.mutator_flow(.4, .6, .05, .05).coef)
    assert abs(shares(halved)[0] - .770501) > .05
    with pytest.raises(ValueError, match="mutation='none': must be one of other, uniform"):
        mean_field.mutator_flow(.4, .6, .05, .1, "none")


@pytest.mark.parametrize("c, expected", [
    (.2, 0), (1 / 3, 0), (.4, .002689), (.5, .014695), (.6, .033663), (.75, .071482),
    (.9, .117395), (1, .151240)])
def test_exploration_that_removes_the_low_state(c, expected):
    assert mean_field.critical_mutation(.4, .6, c) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize("k, tipping, times, fastest, largest", [
    (0, math.nan, (14.722195, 14.7222), .500000, .050000),
    (.05, -1.4, (18.316992, 13.5462), .562687, .048296),
    (.10, -.4, (24.885835, 12.6265), .616333, .048066),
    (.15, -1 / 15, (43.051437, 11.8892), .656093, .048924)])
def test_conformity_delays_the_first_half_and_hastens_the_second(
        k, tipping, times, fastest, largest):
    curve = rates(k=k)
    assert mean_field.tipping_point(curve) == pytest.approx(tipping, abs=1e-12, nan_ok=True)
    assert mean_field.transit_time(.05, .5, curve) == pytest.approx(times[0], rel=4e-8)
    assert mean_field.transit_time(.5, .95, curve) == pytest.approx(times[1], abs=6e-5)
    assert mean_field.fastest_change(curve) == pytest.approx(fastest, abs=6e-7)
    flow = mean_field.replicator_flow(curve)
    assert flow(mean_field.fastest_change(curve)) == pytest.approx(largest, abs=6e-7)
    assert flow.deriv()(mean_field.fastest_change(curve)) == pytest.approx(0, abs=1e-14)


def test_times_of_the_two_halves_are_ordered_in_opposite_ways():
    curves = [rates(k=k) for k in (0, .05, .1, .15)]
    assert np.all(np.diff([mean_field.transit_time(.05, .5, curve) for curve in curves]) > 0)
    assert np.all(np.diff([mean_field.transit_time(.5, .95, curve) for curve in curves]) < 0)


@pytest.mark.parametrize("k, tipping", [
    (1 / 6, 0.0), (.2, .1), (.3, 4 / 15), (.5, .4), (.8, .475), (1, .5)])
def test_above_the_critical_conformity_there_is_a_tipping_point(k, tipping):
    assert mean_field.critical_conformity(.2) == pytest.approx(1 / 6, abs=1e-15)
    assert mean_field.tipping_point(rates(k=k)) == pytest.approx(tipping, abs=1e-12)
    if k > 1 / 6:
        assert mean_field.transit_time(.05, .5, rates(k=k)) == INF
        advantage = k * (1 - 2 * tipping) / (1 - k) if k < 1 else 0
        assert advantage == pytest.approx(.2 if k < 1 else 0, abs=1e-12)


def test_the_start_decides_between_the_norms():
    flow = mean_field.replicator_flow(rates(k=.2))
    assert mean_field.trajectory(flow, .05, [0, 400])[-1] < 1e-6
    assert mean_field.trajectory(flow, .15, [0, 400])[-1] > 1 - 1e-6


@pytest.mark.parametrize("strength", [.3, 1.0])
def test_both_forces_together(strength):
    c, k = .6, .4
    expected = ((1 - k) * (.4 - (1 - c) * .6) + k * strength) / (
        (1 - k) * c + 2 * k * strength)
    assert mean_field.tipping_point(rates(c, k, strength)) == pytest.approx(expected, abs=1e-12)
    assert mean_field.tipping_point(rates(c, 1e-9)) == pytest.approx(
        mean_field.tipping_point(rates(c)), abs=1e-7)
    assert mean_field.tipping_point(rates(k=k, strength=strength)) == pytest.approx(
        .5 - (1 - k) * .2 / (2 * k * strength), abs=1e-12)


@pytest.mark.parametrize("k", [0, .35, 1])
def test_conformity_in_the_utility_has_the_same_mean_field(k):
    matrix, p = payoffs.utility_matrix(.4, .6, k), np.linspace(0, 1, 9)
    utility_a, utility_b = matrix @ [1 - p, p]
    np.testing.assert_allclose(mean_field.replicator_flow(rates(k=k))(p),
                               p * (1 - p) * (utility_b - utility_a), atol=1e-15)


def test_the_tipping_point_rises_with_the_need_for_coordination():
    slope = (mean_field.tipping_point(rates(.7 + 1e-6))
             - mean_field.tipping_point(rates(.7 - 1e-6))) / 2e-6
    assert slope == pytest.approx(.2 / .7**2, rel=1e-8)


def test_need_for_coordination_and_conformity_can_be_the_same():
    assert rates(.3) == pytest.approx(rates(k=.15), abs=1e-12)
    assert rates(.3) == pytest.approx((.02, .3), abs=1e-12)


def test_exchanging_the_norms_mirrors_the_flow():
    p = np.linspace(0, 1, 7)
    exchanged = mean_field.replicator_flow(mean_field.replicator_rates(.6, .4, .2, .3, .7))
    np.testing.assert_allclose(exchanged(p), -mean_field.replicator_flow(
        rates(.2, .3, .7))(1 - p), atol=1e-15)
    for k in (.1, .9):
        equal = mean_field.replicator_rates(.5, .5, k=k)
        assert mean_field.tipping_point(equal) == pytest.approx(.5, abs=1e-15)


@pytest.mark.parametrize("num_models", [1, 2, 3, 4, 5, 8, 15])
def test_the_majority_of_a_sample(num_models):
    p = np.linspace(0, 1, 11)
    counts = np.arange(num_models + 1)
    law = stats.binom.pmf(counts, num_models, p[:, None])
    adopted = np.where(2 * counts == num_models, p[:, None], 2 * counts > num_models)
    np.testing.assert_allclose(mean_field.majority_flow(num_models)(p),
                               np.sum(law * adopted, axis=1) - p, atol=2e-10)


def test_three_models_have_the_whole_strength_of_conformity():
    tau = mean_field.fermi_advantage(5)
    assert tau == pytest.approx(.986614, abs=5e-7)
    for n in (2, 3):
        np.testing.assert_allclose(
            mean_field.conformist_flow(.3, tau, n).coef, mean_field.replicator_flow(
                mean_field.replicator_rates(0, tau, k=.3)).coef, atol=1e-15)
    assert mean_field.critical_conformity(tau) == pytest.approx(.496631, abs=5e-7)
    for n in (4, 5):
        p = Polynomial([0, 1])
        expected = p * (1 - p) * (2 * p - 1) * (1 + 3 * p * (1 - p))
        np.testing.assert_allclose(mean_field.majority_flow(n).coef, expected.coef, atol=1e-14)


@pytest.mark.parametrize("k, tipping", [
    (.5, .134200), (.6, .297929), (.7, .375915), (.8, .428912), (.9, .468626)])
def test_tipping_points_of_four_models(k, tipping):
    flow = mean_field.conformist_flow(k, math.tanh(2.5), 4)
    assert shares(flow) == pytest.approx([0, tipping, 1], abs=6e-7)
    for start, end in ((tipping - .03, 0), (tipping + .03, 1)):
        path = mean_field.iterate(flow, start, 1000)
        assert path[-1] == pytest.approx(end, abs=1e-3)
        assert path[1] == start + flow(start)


def test_with_four_models_two_tipping_points_are_possible():
    """h = (2p-1)(1 + 3p(1-p)) first falls: a low mixed state is stable in k of (.48950, .49663)."""
    tau, lowest = math.tanh(2.5), -7 * math.sqrt(7) / 18
    p = (1 - math.sqrt(7) / 3) / 2
    flow, variance = mean_field.majority_flow(4), p * (1 - p)
    assert (p, variance) == pytest.approx((.059041, 1 / 18), abs=5e-7)
    assert flow(p) / variance == pytest.approx(lowest, abs=1e-12)
    for k in (.4890, .4900, .4960, .4970):
        points = mean_field.fixed_points(mean_field.conformist_flow(k, tau, 4))
        ratio = (1 - k) * tau / k
        count = 2 if 1 < ratio < -lowest else int(ratio < 1)
        assert len(points) == 2 + count
        assert [point.is_stable for point in points] == {
            0: [False, True], 1: [True, False, True], 2: [False, True, False, True]}[count]
    assert tau / (tau - lowest) == pytest.approx(.48950, abs=1e-5)
    low, high = shares(mean_field.conformist_flow(.493, tau, 4))[1:3]
    for share in (low, high):
        assert (2 * share - 1) * (1 + 3 * share * (1 - share)) == pytest.approx(
            -(1 - .493) * tau / .493, abs=1e-9)
    assert low < .059041 < high


def test_the_dissent_of_synchronous_imitation():
    """The well-mixed root beside the grid's share of the worse norm, s = 5, mu = 0.05, c = 0."""
    flow = mean_field.imitation_flow(mean_field.fermi_advantage(5), .05)
    assert 1 - shares(flow)[0] == pytest.approx(.012826, abs=5e-7)


@pytest.mark.parametrize("call, message", [
    (lambda: rates(c=1.2), "need_for_coordination=1.2: must be between 0 and 1"),
    (lambda: rates(k=-.1), "conformity=-0.1: must be between 0 and 1"),
    (lambda: rates(strength=0), "strength=0: must be above 0 and at most 1"),
    (lambda: mean_field.majority_flow(16), "num_models=16: must be between 1 and 15"),
    (lambda: mean_field.fixed_points(Polynomial([0.0])), "give one norm an advantage"),
    (lambda: mean_field.fastest_change(Rates(-.2, .1)), "use beta >= 0 and alpha"),
    (lambda: mean_field.critical_conformity(-.1), "advantage=-0.1: must be at least 0"),
    (lambda: mean_field.critical_mutation(.6, .4, .5), "B must be the better norm"),
    (lambda: mean_field.transit_time(-.1, .5, Rates(1, 1)), "start=-0.1: must be between"),
    (lambda: mean_field.trajectory(np.sin, 2, [0, 1]), "start=2: must be between")])
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_grid_s_rules_without_space():
    flow = mean_field.grid_flow(0.4, 0.6, 0.0, 5.0, 0.05)
    shares = mean_field.iterate(flow, 0.5, 200)
    assert 1 - shares[-1] == pytest.approx(0.012826, abs=1e-6)
    # Of one generation of agents who meet 4 models: E3 of the reconstruction.
    for k, tip in ((0.5, 0.134200), (0.6, 0.297929), (0.8, 0.428912)):
        flow = mean_field.grid_flow(0.4, 0.6, 0.0, 5.0, 0.0, k)
        assert flow(tip - 2e-6) < 0 < flow(tip + 2e-6)
    # With c the tipping point is the replicator's, whatever s: it is where payoffs are equal.
    flow = mean_field.grid_flow(0.4, 0.6, 0.5, 3.0, 0.0)
    assert flow(0.2 - 1e-6) < 0 < flow(0.2 + 1e-6)
