"""Citation growth as a task: the networks of `growth.grow`, what is measured, and bad configs."""

import jax
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.citations import growth as growth_lib
from nfnets_jax.citations import histories, metrics, trajectories
from nfnets_jax.tasks import citation_arrivals
from nfnets_jax.training import loop, mesh, preemption
from nfnets_jax.training.checkpoints import Checkpoints
from nfnets_jax.training.population import map_population
from tests.tasks.norm_runs import config_of

TASK = "citation_growth"
TINY = {"arrivals": {"num_papers": 400, "mean_references": 6.0}, "papers_per_step": 60}


def run(config, steps=None):
    experiment = tasks.create(config)
    functions = loop.run_functions(experiment.task)
    step, state = jax.jit(functions.step), jax.jit(functions.init)(0, experiment.hyper)
    for _ in range(experiment.total_steps if steps is None else steps):
        state, found = step(state, ())
    return experiment, jax.device_get(state), found


@pytest.fixture(scope="module")
def additive():
    return run(config_of(TASK, **TINY, model="additive"))


def test_a_run_is_the_network_that_grows_at_once(additive):
    experiment, state, found = additive
    config = config_of(TASK, **TINY, model="additive")
    arrivals = citation_arrivals.create(config["arrivals"]).arrivals
    assert experiment.total_steps == -(-(400 - arrivals.num_seeds) // 60)
    grown = growth_lib.create_growth(arrivals, "additive", papers_per_step=1000)
    key, _ = jax.random.split(jax.random.key(0))
    network = jax.jit(lambda hyper: growth_lib.run(grown, key, hyper))(growth_lib.HYPER)
    degrees = state.task.network.degrees
    np.testing.assert_array_equal(degrees, network.degrees)
    np.testing.assert_array_equal(state.task.network.targets, network.targets)
    assert found["papers"] == 400 and found["max_in_degree"] == degrees.max()
    assert float(found["loss"]) == pytest.approx(np.mean(degrees == 0))

    measured = experiment.measure(state.task, {}, "problem", None)
    categories = np.asarray(trajectories.classify(
        histories.citations_per_year(network.targets, arrivals)))
    for ending, of in (("", categories), ("_without_seeds", categories[arrivals.num_seeds:])):
        good = of[of >= 0]
        assert measured.metrics[f"num_good{ending}"] == len(good) > 10
        for category in trajectories.Category:
            if category >= 0:
                assert measured.metrics[f"share_{category.name}{ending}"] == pytest.approx(
                    np.mean(good == category))
        early = np.isin(good, [trajectories.Category.PeakInit, trajectories.Category.MonDec])
        assert measured.metrics[f"share_early_riser{ending}"] == pytest.approx(early.mean())
        classified = good != trajectories.Category.Oth
        assert measured.metrics[f"classified_early_riser{ending}"] == pytest.approx(
            early.sum() / classified.sum())
    assert measured.metrics["top_1_percent_share"] == metrics.top_share(degrees)
    assert measured.remark is None


def test_shares_of_nothing_are_nan_and_said_to_be():
    experiment, state, found = run(config_of(TASK, **{**TINY, "papers_per_step": 20}), steps=1)
    measured = experiment.measure(state.task, {}, "problem", None)
    # After the first five years no history is long enough.
    assert found["papers"] == 25 and measured.metrics["num_good"] == 0
    assert np.isnan(measured.metrics["share_PeakMul"])
    assert np.isnan(measured.metrics["classified_late_riser_without_seeds"])
    assert measured.remark.startswith("all papers: no paper has a history that is long enough")
    degrees = state.task.network.degrees
    present = int(found["papers"])
    assert np.all(degrees[present:] == 0)
    assert measured.metrics["unreferenced_fraction"] == np.mean(degrees[:present] == 0)


def test_a_stopped_run_continues_with_the_same_bits_and_draws_its_figures(tmp_path):
    config = config_of(TASK, **TINY, checkpoint_every=2)
    experiment, expected, _ = run(config)
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    for stop_after in (3, experiment.total_steps):
        with preemption.StopRequest() as stop:
            loop.train(experiment._replace(total_steps=stop_after), config, tmp_path, grid, stop)
    like = loop.abstract_state(loop.map_task(experiment.task, grid), experiment, 0, grid)
    restored = Checkpoints(tmp_path / "checkpoints", keep=2, best_metric="loss",
                           best_is_smallest=True).restore_latest(like)
    assert restored.step == experiment.total_steps
    jax.tree.map(np.testing.assert_array_equal, restored.state, expected)
    for name in ("degrees", "categories"):
        assert (tmp_path / "figures" / f"{name}_final.png").stat().st_size > 5000


def test_members_of_a_population_are_the_same_on_any_number_of_devices():
    config = config_of(TASK, **TINY, model="lbm_g")
    experiment = tasks.create(config)
    seeds = np.arange(4, dtype=np.int32)
    hyper = {key: np.full(4, value, np.float32) for key, value in experiment.hyper.items()}
    hyper["sd"] = np.array([0.1, 0.1, 0.5, 2.0], np.float32)

    def advance(devices):
        programs = map_population(
            experiment, mesh.make_mesh(devices, jax.devices()[:devices]), "vmap")
        members = programs.init(seeds, hyper, np.zeros(4, np.int32), np.ones(4, bool))
        members = programs.advance(members, (), (), np.int32(experiment.total_steps))
        assert np.asarray(programs.check(members)).all()
        return jax.device_get(members.run.task)

    states = [advance(devices) for devices in (1, 2, 4)]
    jax.tree.map(np.testing.assert_array_equal, states[0], states[1])
    jax.tree.map(np.testing.assert_array_equal, states[0], states[2])
    _, alone, _ = run(config)
    np.testing.assert_array_equal(states[0].network.targets[0], alone.task.network.targets)
    assert len({tuple(degrees) for degrees in states[0].network.degrees.tolist()}) == 4


def test_a_reference_list_is_replayed(tmp_path):
    path = tmp_path / "references.csv"
    lines = ["paper,year,cited", "a,1990,", "b,1990,a", "c,1991,a", "c,1991,b", "d,1992,c",
             "e,1993,d", "e,1993,a", "e,1993,c"]
    path.write_text("\n".join(lines) + "\n")
    config = config_of(TASK, arrivals={"kind": "replay", "path": str(path),
                                       "last_seed_year": 1990, "last_year": 1993})
    arrivals = citation_arrivals.create(config["arrivals"]).arrivals
    assert arrivals.num_references.tolist() == [0, 1, 2, 1, 3]
    assert arrivals.years.tolist() == [0, 0, 1, 2, 3]
    experiment, state, _ = run(config)
    degrees = state.task.network.degrees
    assert degrees.sum() == 7 and degrees[4] == 0 and degrees[0] >= 2

    assert experiment.measure(state.task, {}, "problem", None).remark.endswith(
        "references.csv: 9 lines; set aside: nothing; not in the network: nothing")


@pytest.mark.parametrize("changes, message", [
    ({"fitness_exponent": 0.0}, "fitness_exponent=0.0: must be a number above 0"),
    ({"attractiveness": -0.1}, "attractiveness=-0.1: must be a number above 0"),
    ({"model": "lbm_g", "skip": 0}, "skip=0: must be a number of papers, or minus"),
    ({"model": "additive", "sampler": "with_replacement"}, "has the model 'ba' only"),
    ({"sampler": "block_synchronous", "papers_per_step": 30_000,
      "arrivals": {"num_papers": 300, "mean_references": 100.0}},
     "papers_per_step=30000: a paper of the block"),
    ({"arrivals": {"path": "a.csv"}}, "arrivals.path='a.csv': kind=growing has the fields"),
    ({"arrivals": {"kind": "replay"}}, "arrivals.path=None: kind=replay needs it"),
    ({"arrivals": {"kind": "replay", "path": "none.csv"}}, "arrivals.last_seed_year=None"),
    ({"arrivals": {"kind": "replay", "path": "none.csv", "last_seed_year": 1990}},
     "arrivals: .*none.csv"),
    ({"arrivals": {"kind": "replay", "path": "none.csv", "last_seed_year": 1990, "dates": "d"}},
     "arrivals.dates='d': belongs to format=snap"),
    ({"classifier": {"threshold": 0.0}}, "classifier.threshold=0.0: must be a number above 0"),
])
def test_configs_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_of(TASK, **changes)
