"""Growth against a literal loop, closed forms, limits between models, and igraph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.citations import arrivals as arrivals_lib
from nfnets_jax.citations import growth, histories, metrics, theory

SMALL = arrivals_lib.synthetic("growing", num_papers=300, mean_references=4, seed=1)
TINY = arrivals_lib.constant(40, 3, num_seeds=5)
MODELS = [("ba", {}), ("additive", {}), ("multiplicative", {}), ("lbm", {"gamma": "sqrt"}),
          ("lbm_g", {})]
EQUAL_FITNESS = {"fitness_exponent": 1e9}  # with pareto_type1, f = 1


def grow_many(arrivals, model, seeds, hyper=None, **options):
    """Networks of several seeds, one after the other in one program."""
    grown = growth.create_growth(arrivals, model, **options)
    hyper = {**growth.HYPER, **(hyper or {})}
    return jax.device_get(jax.jit(lambda seeds: jax.lax.map(
        lambda seed: growth.run(grown, jax.random.key(seed), hyper), seeds))(
            jnp.arange(seeds, dtype=jnp.uint32)))


def check_structure(targets, degrees, arrivals, *, distinct=True):
    counts = arrivals.num_references
    targets = np.asarray(targets)[:counts.sum()]
    sources = np.repeat(np.arange(len(counts)), counts)
    np.testing.assert_array_equal(targets[:len(arrivals.seed_targets)], arrivals.seed_targets)
    assert targets.min() >= 0 and np.all(targets < sources)
    np.testing.assert_array_equal(degrees, np.bincount(targets, minlength=len(counts)))
    assert degrees.sum() == counts.sum()
    if distinct:
        assert len(set(zip(sources.tolist(), targets.tolist(), strict=True))) == len(targets)


@pytest.mark.parametrize("model, options", MODELS)
def test_references_are_to_older_papers_whatever_the_size_of_a_step(model, options):
    found = [growth.grow(SMALL, model, seed=5, papers_per_step=n, **options) for n in (1000, 7)]
    check_structure(found[0].targets, found[0].degrees, SMALL)
    jax.tree.map(np.testing.assert_array_equal, *found)
    # All that is carried is finite, which is how a population tells members that have diverged.
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found[0]))


def test_references_in_blocks():
    first, block, arrivals = 5, 10, arrivals_lib.constant(100, 3, num_seeds=5)
    sync = growth.grow(arrivals, "multiplicative", sampler="block_synchronous",
                       papers_per_step=block)
    check_structure(sync.targets, sync.degrees, arrivals)
    papers = np.repeat(np.arange(100), arrivals.num_references)
    begins = first + (papers - first) // block * block
    assert np.all((np.asarray(sync.targets)[:len(papers)] < begins)[papers >= first])
    copied = growth.grow(SMALL, "ba", sampler="with_replacement", papers_per_step=10)
    check_structure(copied.targets, copied.degrees, SMALL, distinct=False)
    again = growth.grow(SMALL, "ba", sampler="with_replacement", papers_per_step=64)
    size = int(SMALL.num_references.sum())
    np.testing.assert_array_equal(copied.targets[:size], again.targets[:size])


def test_a_paper_with_as_many_references_as_there_are_papers_cites_all():
    counts = np.array([0, 1, 2, 3, 4, 5], np.int32)
    complete = arrivals_lib.Arrivals(np.arange(6, dtype=np.int32), counts, 1,
                                     np.zeros(0, np.int32), np.zeros(2, np.int32))
    for model in ("ba", "lbm"):
        network = growth.grow(complete, model, gamma="linear", seed=2)
        assert np.asarray(network.degrees).tolist() == [5, 4, 3, 2, 1, 0]


def test_models_meet_where_fitness_or_distance_do_not_matter():
    # Weights d + 1, with draws by races in all of them.
    ba = growth.grow(SMALL, "ba", seed=3, sampler="block_synchronous", papers_per_step=1,
                     hyper={"attractiveness": 1.0})
    for model in ("multiplicative", "additive"):
        equal = growth.grow(SMALL, model, seed=3, fitness_law="pareto_type1",
                            hyper=EQUAL_FITNESS)
        np.testing.assert_array_equal(equal.degrees, ba.degrees)
    multiplicative = growth.grow(SMALL, "multiplicative", seed=3)
    everywhere = growth.grow(SMALL, "lbm", seed=3, hyper={"gamma_scale": 0.0})
    np.testing.assert_array_equal(everywhere.degrees, multiplicative.degrees)
    assert np.any(multiplicative.degrees != ba.degrees)


def literal(network, index, arrivals, model, gamma, rng):
    """One paper after the other with numpy's draw, for the same fitness and locations."""
    size = len(arrivals.years)
    degrees = np.bincount(arrivals.seed_targets, minlength=size).astype(float)
    if model != "ba":
        fitness = np.exp(np.float64(network.log_fitness[index]))
    for paper in range(arrivals.num_seeds, size):
        d = degrees[:paper]
        if model == "ba":
            weight = d + 0.1
        elif model == "additive":
            weight = d + fitness[:paper]
        else:
            weight = (d + 1) * fitness[:paper]
        if model.startswith("lbm"):
            places = np.float64(network.locations[index])
            distance = np.hypot(*(places[:, :paper] - places[:, paper:paper + 1]))
            weight = weight * np.exp(-gamma(paper) * distance)
        degrees[rng.choice(paper, arrivals.num_references[paper], replace=False,
                           p=weight / weight.sum())] += 1
    return degrees


@pytest.mark.parametrize("model, options", MODELS)
def test_mean_in_degrees_are_those_of_a_literal_loop(model, options):
    runs, rng = 500, np.random.default_rng(7)
    network = grow_many(TINY, model, runs, **options)
    gamma = np.log if model == "lbm_g" else np.sqrt
    expected = np.array([literal(network, i, TINY, model, gamma, rng) for i in range(runs)])
    # Same fitness and locations in both, so that the difference of a pair has mean 0.
    gap = np.sort(network.degrees, axis=1)[:, ::-1] - np.sort(expected, axis=1)[:, ::-1]
    for difference in (network.degrees - expected, gap):
        error = difference.std(axis=0) / np.sqrt(runs)
        z = difference.mean(axis=0)[error > 0] / error[error > 0]
        assert np.abs(z).max() < 4
        assert np.all(difference[:, error == 0] == 0)


def test_expected_in_degrees_with_replacement():
    arrivals, runs = arrivals_lib.constant(2000, 5), 300
    degrees = grow_many(arrivals, "ba", runs, {"attractiveness": 2.0},
                        sampler="with_replacement").degrees
    nodes = [1, 5, 20, 100, 500, 1500]
    expected = theory.expected_citations_per_year(
        arrivals.years, arrivals.num_references, 2.0, seed_in_degrees=[0]).sum(axis=1)[nodes]
    np.testing.assert_allclose(expected, [408.106, 139.428, 51.364, 14.973, 3.381, 0.455],
                               atol=6e-4)
    found = degrees[:, nodes]
    assert np.all(np.abs(found.mean(axis=0) - expected) < 3.5 * found.std(axis=0) / np.sqrt(runs))


@pytest.mark.parametrize("m, a", [(10, 10.0), (5, 2.0), (3, 1.0)])
def test_degrees_of_a_large_network_have_prices_law(m, a):
    size = 200_000
    degrees = np.asarray(growth.grow(
        arrivals_lib.constant(size, m), "ba", sampler="with_replacement", papers_per_step=size,
        hyper={"attractiveness": a}).degrees)
    law = theory.price_law(np.arange(30), m, a)
    shares = np.bincount(degrees, minlength=30)[:30] / size
    # The noise of shares is at most binomial; the law is one of an infinite network.
    assert np.all(np.abs(shares - law) < 4 * np.sqrt(law / size) + 2e-4)
    tail = 1 - theory.price_law(np.arange(100), m, a).sum()
    assert np.mean(degrees >= 100) == pytest.approx(tail, rel=0.2)


@pytest.fixture(scope="module")
def path_of_fifty():
    """In-degrees of 20 networks of 3,000 papers with 8 references after a path of 50."""
    return grow_many(arrivals_lib.constant(3000, 8, num_seeds=50), "ba", 20).degrees


def test_statistics_are_those_measured_of_igraph(path_of_fifty):
    """983.4 and .8874 are means of 40 runs of igraph's psumtree, in the specification."""
    for statistic, expected in ((path_of_fifty.max(axis=1), 983.4),
                                ((path_of_fifty == 0).mean(axis=1), 0.8874)):
        error = statistic.std(ddof=1) * np.sqrt(1 / 20 + 1 / 40)
        assert abs(statistic.mean() - expected) < 3.5 * error


def test_degrees_are_those_of_igraph(path_of_fifty):
    igraph = pytest.importorskip("igraph")
    path = igraph.Graph(50, [(i, i - 1) for i in range(1, 50)], directed=True)
    degrees = [igraph.Graph.Barabasi(
        3000, 8, power=1, zero_appeal=0.1, outpref=False, directed=True,
        implementation="psumtree", start_from=path).indegree() for _ in range(20)]
    assert metrics.degree_distance(np.ravel(path_of_fifty), np.ravel(degrees)) < 0.01


def test_citations_per_year():
    network = growth.grow(SMALL, "ba")
    table = histories.citations_per_year(network.targets, SMALL)
    expected = np.zeros_like(table)
    sources = np.repeat(np.arange(300), SMALL.num_references)
    for source, target in zip(sources, np.asarray(network.targets), strict=False):
        expected[target, SMALL.years[source]] += 1
    np.testing.assert_array_equal(table, expected)
    assert table.shape == (300, 31)


@pytest.mark.parametrize("arguments, message", [
    ({"model": "aging"}, "model='aging': must be one of ba, additive"),
    ({"sampler": "fast"}, "sampler='fast': must be one of exact"),
    ({"model": "lbm", "gamma": "cube"}, "gamma='cube': must be one of constant"),
    ({"fitness_law": "pareto"}, "fitness_law='pareto': must be one of lomax"),
    ({"model": "additive", "sampler": "with_replacement"}, "has the model 'ba' only"),
    ({"papers_per_step": 0}, "papers_per_step=0: must be at least 1"),
    ({"model": "lbm_g", "skip": 0}, "skip=0"),
    ({"hyper": {"fitness_exponent": 0.0}}, "fitness_exponent=0: must be above 0"),
    ({"hyper": {"attractiveness": -1.0}}, "attractiveness=-1: must be above 0"),
    ({"hyper": {"sd": float("nan")}}, "sd=nan: must be at least 0"),
    ({"hyper": {"alpha": 1.0}}, "hyper has 'alpha': must be one of attractiveness"),
    ({"arrivals": arrivals_lib.constant(10, 4, num_seeds=3)},
     r"num_references\[3\]=4: more than the 3 papers that are there"),
    ({"arrivals": arrivals_lib.Arrivals(
        np.arange(6), np.array([0, 1, 2, 3, 2, 2]), 2, np.array([0]), np.array([0, 0, 1])),
      "sampler": "block_synchronous", "papers_per_step": 3},
     "papers_per_step=3: a paper of the block that follows paper 1 has 3 references"),
])
def test_what_cannot_grow_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        growth.grow(**{"arrivals": SMALL, **arguments})
