"""Synthetic arrivals, and the replay of a table that can be followed by hand."""

import numpy as np
import pytest

from nfnets_jax.citations import arrivals as arrivals_lib
from nfnets_jax.citations.arrivals import Arrivals


def test_the_growing_and_the_flat_network_of_the_specification():
    growing = arrivals_lib.synthetic("growing", seed=3)
    sizes = np.bincount(growing.years)
    np.testing.assert_array_equal(sizes[1:], np.round(300 * 1.06 ** np.arange(1, 31)))
    assert sizes[0] == growing.num_seeds == 300 and sizes.sum() == 25_442
    assert len(growing.seed_targets) == 894
    flat = arrivals_lib.synthetic("flat")
    np.testing.assert_array_equal(np.bincount(flat.years), [300] + [800] * 30)
    later = growing.num_references[300:]
    # 1 + Poisson(9) has the mean 10 and the variance 9.
    assert abs(later.mean() - 10) < 4 * 3 / np.sqrt(len(later))
    assert abs(later.var() - 9) < 4 * 9 * np.sqrt(2 / len(later)) * 1.1
    for i in (0, 1, 2, 3, 299):
        begin, end = growing.seed_offsets[i:i + 2]
        cited = growing.seed_targets[begin:end]
        assert len(set(cited.tolist())) == min(i, 3) and np.all(cited < i)
    arrivals_lib.check(growing, distinct=True)


def test_other_sizes_keep_the_proportions():
    large = arrivals_lib.synthetic("growing", num_papers=100_000, mean_references=4)
    sizes = np.bincount(large.years)
    assert sizes.sum() == 100_000 and sizes[0] == large.num_seeds == round(300 * 1e5 / 25_442)
    np.testing.assert_allclose(sizes[2:] / sizes[1:-1], 1.06, atol=2e-3)
    assert abs(large.num_references[large.num_seeds:].mean() - 4) < 4 * np.sqrt(3e-5)


def test_a_path_of_seeds():
    path = arrivals_lib.constant(6, 2, num_seeds=3)
    assert path.num_references.tolist() == [0, 1, 1, 2, 2, 2]
    assert path.seed_targets.tolist() == [0, 1] and path.seed_offsets.tolist() == [0, 0, 1, 2]
    assert path.years.tolist() == [0, 0, 0, 1, 2, 3]
    one = arrivals_lib.constant(3, 2)
    assert one.years.tolist() == [0, 1, 2] and one.seed_offsets.tolist() == [0, 0]
    assert arrivals_lib.offsets_of(one).tolist() == [0, 0, 2, 4]


def test_replay_of_a_table():
    # Papers by index, in no order; 7 is a seed without citations, 5 has no references.
    years = np.array([1991, 1990, 1990, 1992, 1991, 1992, 1993, 1990])
    pairs = [(2, 1), (0, 1), (0, 2), (4, 0), (3, 4), (3, 1), (3, 7), (6, 5)]
    citing, cited = np.array(pairs).T
    arrivals, papers = arrivals_lib.replay(years, citing, cited, last_seed_year=1990,
                                           last_year=1992)
    assert papers.tolist() == [1, 2, 0, 4, 3]
    assert arrivals.num_seeds == 2 and arrivals.years.tolist() == [0, 0, 1, 1, 2]
    # Paper 3 keeps all three of its references, though one is to a paper outside.
    assert arrivals.num_references.tolist() == [0, 1, 2, 1, 3]
    assert arrivals.seed_targets.tolist() == [0] and arrivals.seed_offsets.tolist() == [0, 0, 1]
    # In the list of all papers, 7 has the place 3 and 5 the place 7.
    assert arrivals.positions.tolist() == [1, 2, 4, 5, 6]
    assert arrivals.papers_per_year.tolist() == [3, 2, 2, 1]
    with pytest.raises(ValueError, match="last_seed_year=1980: there is no reference between"):
        arrivals_lib.replay(years, citing, cited, last_seed_year=1980)


GOOD = Arrivals(np.array([0, 0, 1, 2]), np.array([0, 1, 2, 3]), 2, np.array([0]),
                np.array([0, 0, 1]))


@pytest.mark.parametrize("changes, message", [
    ({"num_seeds": 0}, "num_seeds=0: must be at least 1"),
    ({"num_seeds": 5}, "num_seeds=5: .* the 4 papers"),
    ({"num_references": np.array([0, 1])}, "num_references has 2 papers and years 4"),
    ({"seed_offsets": np.array([0, 1])}, "seed_offsets: must have num_seeds \\+ 1 = 3"),
    ({"num_references": np.array([0, 2, 2, 3])}, "num_references=2 of seed 1"),
    ({"seed_targets": np.array([2])}, "seed_targets: must be seeds, 0 to 1"),
    ({"years": np.array([0, 0, 2, 1])}, r"years\[3\]=1 after 2: sort"),
    ({"num_references": np.array([0, 1, -1, 3])}, r"num_references\[2\]=-1"),
    ({"num_references": np.array([0, 1, 3, 3])}, r"num_references\[2\]=3: more than the 2 papers"),
])
def test_arrivals_that_make_no_sense_are_refused(changes, message):
    arrivals_lib.check(GOOD, distinct=True)
    with pytest.raises(ValueError, match=message):
        arrivals_lib.check(GOOD._replace(**changes), distinct=True)


def test_more_references_than_papers_need_replacement():
    many = GOOD._replace(num_references=np.array([0, 1, 3, 3]))
    arrivals_lib.check(many, distinct=False)


@pytest.mark.parametrize("arguments, message", [
    ({"kind": "shrinking"}, "kind='shrinking': must be one of growing, flat"),
    ({"mean_references": 0.5}, "mean_references=0.5: must be at least 1"),
    ({"num_papers": 30}, "num_papers=30: too few for 30 years"),
])
def test_synthetic_arrivals_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        arrivals_lib.synthetic(**arguments)
