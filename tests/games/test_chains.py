"""Finite populations: tables derived before this code, enumerations, linear algebra, EGTtools."""

import itertools
import math

import numpy as np
import pytest

from nfnets_jax.games import chains, mean_field, payoffs


def game(c):
    return payoffs.coordination_matrix(.4, .6, c)


def conformist_game(k):
    return payoffs.utility_matrix(.4, .6, k)


def logs(matrix, size, s=1.0):
    return -s * chains.payoff_differences(matrix, size)


def rho(log_ratios):
    return chains.fixation_probabilities(log_ratios)[1]


def literal_event(matrix, norms, s, mu, conformity, num_models):
    """T+ and T- by going through all players, teachers and samples of one event."""
    size, up, down = len(norms), 0.0, 0.0
    earned = [sum(matrix[norms[i]][norms[j]] for j in range(size) if j != i) / (size - 1)
              for i in range(size)]
    for i in range(size):
        to_other = mu
        others = [j for j in range(size) if j != i]
        for j in others:
            if norms[j] != norms[i]:
                to_other += (1 - mu) * (1 - conformity) / (size - 1) / (
                    1 + math.exp(-s * (earned[j] - earned[i])))
        samples = list(itertools.combinations(others, num_models))
        unlike = [sum(norms[j] != norms[i] for j in sample) for sample in samples]
        to_other += (1 - mu) * conformity * np.mean([2 * x > num_models for x in unlike])
        if norms[i]:
            down += to_other / size
        else:
            up += to_other / size
    return up, down


@pytest.mark.parametrize("num_models", [1, 3, 4, 6])
def test_chains_are_those_of_the_players(num_models):
    matrix, size = np.array([[.4, .1], [.3, .9]]), 7
    imitation = chains.imitation_chain(matrix, size, 1.7, .15)
    conformity = chains.conformity_chain(matrix, size, 1.7, .35, num_models)
    for count in range(size + 1):
        norms = [1] * count + [0] * (size - count)
        for chain, mu, k in ((imitation, .15, 0.0), (conformity, 0.0, .35)):
            assert (chain.up[count], chain.down[count]) == pytest.approx(
                literal_event(matrix, norms, 1.7, mu, k, num_models), abs=1e-14)


@pytest.mark.parametrize("size, expected", [
    (20, (.1846512526, .1073650644, .0699934055, .01988402361)),
    (50, (.1812774769, .07253925684, .02864212433, .001088449384)),
    (100, (.1812692473, .05558729753, .01125733884, 1.399903082e-5))])
def test_a_single_better_norm_takes_over(size, expected):
    for c, probability in zip((0, .3, .5, 1), expected, strict=True):
        assert rho(logs(game(c), size)) == pytest.approx(probability, rel=6e-10)
        assert rho(chains.imitation_chain(game(c), size, 1.0).log_ratios) == pytest.approx(
            probability, rel=6e-10)
        ratio = chains.log_fixation_ratio(logs(game(c), size))
        assert ratio == pytest.approx(.2 * (size * (1 - c / 2) - 1), rel=1e-12)
    gap = .2
    assert rho(logs(game(0), size)) == pytest.approx(
        (1 - math.exp(-gap)) / (1 - math.exp(-size * gap)), rel=1e-12)


def test_differences_are_linear_in_the_number_of_b():
    c, size = .3, 20
    slope = c / (size - 1)
    offset = (size * ((1 - c) * .6 - .4) - .2) / (size - 1)
    np.testing.assert_allclose(chains.payoff_differences(game(c), size),
                               slope * np.arange(1, size) + offset, atol=1e-14)


@pytest.mark.parametrize("c, expected", [(0, .004130791045), (1, .003286806997)])
def test_a_single_worse_norm_takes_over(c, expected):
    ratios = logs(game(c), 20)
    assert rho(ratios) * math.exp(-chains.log_fixation_ratio(ratios)) == pytest.approx(
        expected, rel=3e-10)
    assert rho(-ratios[::-1]) == pytest.approx(expected, rel=3e-10)  # the norms exchanged


def test_fixation_solves_the_equations_of_the_chain():
    chain = chains.conformity_chain(game(.2), 12, 2.0, .4, 4)
    fixation = chains.fixation_probabilities(chain.log_ratios)
    np.testing.assert_allclose(chains.transition_matrix(chain) @ fixation, fixation, atol=1e-15)
    assert (fixation[0], fixation[-1]) == (0, 1)


def test_large_exponents_do_not_overflow():
    strong = logs(game(1), 400, 50.0)
    assert np.sum(strong[:100]) > 709  # e^709 is the largest of float64
    fixation = chains.fixation_probabilities(strong)
    assert np.all(np.diff(fixation) >= 0) and fixation[0] < 1e-300 and fixation[-1] == 1
    threshold = np.searchsorted(fixation, .5)
    assert threshold == pytest.approx(.4 * 400, abs=1)  # the tipping point of c = 1


@pytest.mark.parametrize("size, expected, means", [
    (50, (28.193294, 39.550160, 64.999457, 135.548345, 375.121349),
     (.899292, .920495, .935637, .944275, .943568)),
    (100, (26.320285, 37.097685, 66.034934, 205.903375, 1593.785281), None)])
def test_inertia_grows_with_the_population_only_where_coordination_is_needed(
        size, expected, means):
    for i, c in enumerate((0, .25, .5, .75, 1)):
        chain = chains.imitation_chain(game(c), size, 1.0, .01)
        generations = chains.hitting_times(chain)[size // 2] / size
        assert generations == pytest.approx(expected[i], abs=6e-7)
        law = chains.stationary(chain)
        np.testing.assert_allclose(law @ chains.transition_matrix(chain), law, atol=1e-15)
        if means:
            assert law @ np.arange(size + 1) / size == pytest.approx(means[i], abs=6e-7)


def test_hitting_times_solve_the_equations_of_the_chain():
    chain = chains.imitation_chain(game(.5), 14, 1.0, .05)
    steps = chains.transition_matrix(chain)[:9, :9]  # until k = 9
    times = np.linalg.solve(np.eye(9) - steps, np.ones(9))
    assert chains.hitting_times(chain)[9] == pytest.approx(times[0], rel=1e-12)


@pytest.mark.parametrize("c, expected", [(0, 177.029877), (.5, 105.317326), (1, 65.713356)])
def test_absorption_times(c, expected):
    chain = chains.imitation_chain(game(c), 20, 1.0)
    times = chains.absorption_times(chain)
    assert times[1] == pytest.approx(expected, abs=6e-7)
    np.testing.assert_allclose(1 + chains.transition_matrix(chain)[1:-1] @ times, times[1:-1],
                               rtol=1e-12)
    assert (times[0], times[-1]) == (0, 0)


@pytest.mark.parametrize("c, expected", [(0, .55071), (.5, .31128), (1, .13080)])
def test_a_block_on_the_ring(c, expected):
    differences = chains.ring_differences(game(c), 12)
    assert differences[0] == pytest.approx(2 * (1 - c) * .6 - (2 - c) * .4, abs=1e-15)
    np.testing.assert_allclose(differences[1:-1], (2 - c) * .2, atol=1e-15)
    assert differences[-1] == pytest.approx((2 - c) * .6 - 2 * (1 - c) * .4, abs=1e-15)
    products = [math.exp(-2 * sum(differences[:j])) for j in range(1, 12)]
    assert rho(-2 * differences) == pytest.approx(1 / (1 + sum(products)), rel=1e-12)
    assert rho(-2 * differences) == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("size, expected", [
    (20, (.1846512526, .08831630117, .02073012653, .001121078184)),
    (50, (.1812774769, .04755390732, .001133086812, 3.856735035e-7))])
def test_conformity_in_the_utility(size, expected):
    for k, probability in zip((0, .2, .5, 1), expected, strict=True):
        ratios = logs(conformist_game(k), size)
        assert rho(ratios) == pytest.approx(probability, rel=6e-10)
        # Conformity cancels: it makes both norms rarer guests.
        assert chains.log_fixation_ratio(ratios) == pytest.approx(
            (size - 1) * (1 - k) * .2, abs=1e-12)
        count = np.arange(1, size)
        np.testing.assert_allclose(-ratios, (1 - k) * .2 + k * (2 * count - size) / (size - 1),
                                   atol=1e-14)


def test_a_large_population_drifts_along_the_mean_field():
    size, k, s, n = 40_000, .6, 5.0, 4
    matrix = np.array([[0, 0], [1, 1.0]])  # fixed payoffs, a unit apart
    chain = chains.conformity_chain(matrix, size, s, k, n)
    flow = mean_field.conformist_flow(k, mean_field.fermi_advantage(s), n)
    np.testing.assert_allclose(chain.up - chain.down, flow(np.arange(size + 1) / size),
                               atol=2 / size)
    imitation = chains.conformity_chain(matrix, 30, s, 0.0, n)
    for ours, theirs in zip(imitation, chains.imitation_chain(matrix, 30, s), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("call, message", [
    (lambda: chains.payoff_differences(game(0), 1), "size=1: must be at least 2"),
    (lambda: chains.ring_differences(game(0), 2), "size=2: must be at least 3"),
    (lambda: chains.imitation_chain(game(0), 9, 1.0, 2.0), "mutation_rate=2: must be between"),
    (lambda: chains.conformity_chain(game(0), 9, 1.0, -1, 3), "conformity=-1: must be between"),
    (lambda: chains.conformity_chain(game(0), 9, 1.0, 1, 9), "num_models=9: .* the 8 others"),
    (lambda: chains.hitting_times(chains.imitation_chain(game(0), 9, 1.0)), r"up\(0\)=0: .*"),
    (lambda: chains.stationary(chains.imitation_chain(game(0), 9, 1.0)), "mutation_rate > 0"),
    (lambda: chains.absorption_times(chains.imitation_chain(game(0), 9, 1.0, .1)),
     "mutation_rate = 0")])
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("size", [20, 50])
def test_egttools_has_the_same_chains(size):
    egttools = pytest.importorskip("egttools")
    from egttools.analytical import PairwiseComparison

    for matrix in (game(0), game(.5), conformist_game(.2), conformist_game(.5)):
        theirs = egttools.games.Matrix2PlayerGameHolder(2, matrix)
        comparison = PairwiseComparison(size, theirs)
        # Below about 4e-7 it returns 0. The first argument is the norm that takes over.
        assert comparison.calculate_fixation_probability(1, 0, 1.0) == pytest.approx(
            rho(logs(matrix, size)), rel=1e-11, abs=4e-7 if size > 20 else 0)
        chain = chains.imitation_chain(matrix, size, 1.0, .01)
        np.testing.assert_allclose(comparison.calculate_transition_matrix(1.0, .01).toarray(),
                                   chains.transition_matrix(chain), atol=1e-14)
