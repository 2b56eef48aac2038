"""Closed forms against enumeration, recursion and the values that the formulas give."""

import numpy as np
import pytest

from nfnets_jax.citations import theory


def draw(rng, static, references, in_degrees):
    """In-degrees [arrivals + 1, N]: references one by one, with replacement."""
    in_degrees = in_degrees.copy()
    history = [in_degrees.copy()]
    for node, count in references:
        weight = (in_degrees + static)[:node]
        targets = rng.choice(node, count, p=weight / weight.sum())
        np.add.at(in_degrees, targets, 1)
        history.append(in_degrees.copy())
    return np.array(history)


def test_in_degrees_of_a_network_from_one_node():
    num_papers = 2000
    citations = theory.expected_citations_per_year(
        np.arange(num_papers), np.full(num_papers, 5), 2.0, seed_in_degrees=[0])
    totals = citations.sum(axis=1)
    nodes = [1, 5, 20, 100, 500, 1500]
    np.testing.assert_allclose(
        totals[nodes], [408.106, 139.428, 51.364, 14.973, 3.381, 0.455], atol=6e-4)
    # Every reference goes to somebody.
    np.testing.assert_allclose(totals.sum(), 5 * (num_papers - 1), rtol=1e-12)
    np.testing.assert_allclose(citations.sum(axis=0), [0] + [5] * (num_papers - 1), rtol=1e-9)


def test_simulated_means_with_seeds_years_and_fitness():
    rng = np.random.default_rng(0)
    years = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
    references = np.array([9, 9, 9, 2, 1, 3, 2, 4, 1, 2])  # those of seeds are not used
    static = np.array([0.5, 2.0, 0.1, 1.0, 3.0, 0.2, 1.5, 1.0, 0.7, 0.3])
    seeds = np.array([2, 0, 1])
    expected = theory.expected_citations_per_year(
        years, references, static, seed_in_degrees=seeds)
    start = np.concatenate([seeds, np.zeros(7, int)])
    arrivals = [(node, references[node]) for node in range(3, 10)]
    ends = [0, 3, 5, 7]
    runs = np.array([draw(rng, static, arrivals, start)[ends] for _ in range(4000)])
    yearly = np.diff(runs, axis=1, prepend=0).transpose(0, 2, 1)
    error = yearly.std(axis=0) / np.sqrt(len(runs)) + 1e-9
    assert np.max(np.abs(yearly.mean(axis=0) - expected) / error) < 4
    np.testing.assert_allclose(expected[:3, 0], seeds)
    assert np.all(expected[9] == 0) and np.all(expected[6, :2] == 0)


def test_cohort_of_a_growing_network():
    # 300 seeds with 894 references, 300 x 1.06^t papers a year with 10 each, a = 0.1.
    arrivals = np.round(300 * 1.06 ** np.arange(1, 31)).astype(int)
    years = np.repeat(np.arange(31), [300, *arrivals])
    citations = theory.expected_citations_per_year(
        years, np.full(len(years), 10), 0.1, seed_in_degrees=np.full(300, 894 / 300))
    assert len(years) == 25442
    # After the year in which they come; 0.09 more in it.
    old, cohort = citations[0, 2:], citations[years == 1].mean(axis=0)[2:]
    assert cohort.sum() == pytest.approx(11.110, abs=1e-3)
    # One function of time for all: the curves of the seeds and of the cohort are proportional.
    np.testing.assert_allclose(old / old.sum(), cohort / cohort.sum(), rtol=1e-9)


@pytest.mark.parametrize("m, a, values", [
    (10, 10, [0.1667, 0.1282, 0.1007, 0.0806]), (5, 2, [0.4118, 0.1872, 0.1040, 0.0650]),
    (3, 1, [0.5714, 0.1714, 0.0791, 0.0445])])
def test_price_law(m, a, values):
    np.testing.assert_allclose(theory.price_law(np.arange(4), m, a), values, atol=5e-5)
    q = np.arange(1_000_000)
    law = theory.price_law(q, m, a)
    assert law[0] == pytest.approx((1 + a / m) / (a + 1 + a / m))
    np.testing.assert_allclose(theory.price_ccdf(q[:50], m, a), 1 - np.cumsum(law)[:50] + law[:50],
                               rtol=1e-9)
    # The sum's remainder is a tail q^(1 - exponent); the balance of its rates holds at each q.
    assert law.sum() == pytest.approx(1, abs=2e-5)
    rate = (q + a) * m / (m + a)
    np.testing.assert_allclose(law[1:] * (1 + rate[1:]), law[:-1] * rate[:-1], rtol=1e-6)
    slope = np.log(law[900_000] / law[9_000]) / np.log(100)
    assert -slope == pytest.approx(theory.tail_exponent(m, a), abs=2e-3)


def test_in_degrees_of_few_papers_obey_the_master_equation():
    # One reference each, so that the expected numbers of papers with q citations obey
    # n'_q = n_q (1 - (q + a) / W) + n_{q-1} (q - 1 + a) / W exactly.
    a, seeds, num_papers = 1.5, np.array([4, 0, 2]), 1000
    q = np.arange(200)
    numbers = np.bincount(seeds, minlength=200).astype(float)
    for papers in range(len(seeds), num_papers):
        rate = (q + a) / (a * papers + seeds.sum() + papers - len(seeds))
        numbers = numbers * (1 - rate) + np.concatenate([[0], (numbers * rate)[:-1]])
        numbers[0] += 1
    expected = np.cumsum(numbers[::-1])[::-1] / num_papers
    found = theory.expected_ccdf(q, np.ones(num_papers), a, seed_in_degrees=seeds)
    np.testing.assert_allclose(found[:20], expected[:20], rtol=0.01)
    mean = theory.expected_citations_per_year(
        np.zeros(num_papers, int), np.ones(num_papers), a, seed_in_degrees=seeds).mean()
    assert found[1:].sum() == pytest.approx(mean, rel=1e-6)


def test_in_degrees_of_many_papers_are_those_of_the_limit():
    q = np.array([0, 1, 2, 5, 20, 100])
    np.testing.assert_allclose(
        theory.expected_ccdf(q, np.full(200_000, 10), 10.0, seed_in_degrees=[0]),
        theory.price_ccdf(q, 10, 10.0), rtol=1e-3)


def test_growth_exponent_is_that_of_the_product():
    m, a, num_papers = 4, 3.0, 100_000
    years = np.searchsorted([1000, 10_000], np.arange(num_papers), "right")
    citations = theory.expected_citations_per_year(
        years, np.full(num_papers, m), a, seed_in_degrees=np.zeros(100))
    totals = np.cumsum(citations[1000], axis=0) + a
    exponent = np.log10(totals[2] / totals[1])  # 10^4 and 10^5 papers
    assert exponent == pytest.approx(theory.growth_exponent(m, a), abs=2e-3)


def test_visibility_falls_by_the_factor():
    m, a, in_degrees = 2, 0.7, np.array([3.0, 0.0, 1.0])
    weight = in_degrees.sum() + 3 * a
    mean = in_degrees + m * (in_degrees + a) / weight
    after = (mean + a) / (weight + m + a)
    factor = theory.visibility_factor(weight, m, a)
    np.testing.assert_allclose(after, factor * (in_degrees + a) / weight)
    assert factor < 1
