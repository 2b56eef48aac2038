"""Norm change: times of transit against those of the specification, and what a run keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.tasks import agent_graphs, norm_populations
from nfnets_jax.training import loop, mesh, preemption
from nfnets_jax.training.checkpoints import Checkpoints
from nfnets_jax.training.population import map_population
from tests.tasks.norm_runs import config_of, ends

SMALL = {"graph": {"height": 20, "width": 20}, "num_replicas": 32, "shock_generation": 40,
         "num_generations": 100}
TINY = {"graph": {"height": 6, "width": 7}, "num_replicas": 3, "shock_generation": 5,
        "num_generations": 12}


def test_transit_times_with_payoffs_that_stay_and_payoffs_that_vanish():
    """Bands of the specification, of 32 runs on 20 x 20; those of the two do not overlap."""
    times = {}
    for teacher_payoff, bands in (("zero", ((7.1, 8.3), (17.5, 21.5))),
                                  ("frozen", ((5.7, 6.6), (12.0, 14.5)))):
        _, found = ends("norm_change", "need_for_coordination", (0.0, 0.5), **SMALL,
                        teacher_payoff=teacher_payoff)
        np.testing.assert_array_equal(found["fraction_switched"], 1.0)
        for time, (low, high) in zip(found["t50"], bands, strict=True):
            assert low < time < high
        times[teacher_payoff] = found
    gap = times["zero"]["t50"] - times["frozen"]["t50"]
    errors = np.hypot(times["zero"]["t50_error"], times["frozen"]["t50_error"])
    assert (gap > 5 * errors).all()
    # Replaced teachers are seldom copied, so that fewer stay with the worse norm (.0116, .0175).
    assert times["zero"]["worse_before_shock"][0] < times["frozen"]["worse_before_shock"][0]


def test_dissent_of_a_synchronous_population_is_the_root_of_its_mean_field():
    state, _ = ends("norm_change", "need_for_coordination", (0.0,),
                    **{**SMALL, "num_replicas": 64, "update": "synchronous"})
    before = 1.0 - state.history.shares[0, 20:41]
    assert np.mean(before) == pytest.approx(0.012826, abs=4e-4)


def test_measures_of_a_history():
    shares = np.zeros((9, 4), np.float32)
    shares[2] = 0.9, 0.8, 0.9, 0.8
    shares[3:, 0] = 0.0, 0.2, 0.5, 0.7, 0.95, 0.95  # 10, 50 and 90 percent after 2, 3 and 5
    shares[3:, 1] = 0.1, 0.6, 0.3, 0.6, 0.6, 0.6    # after 1 and 2, never
    shares[3:, 3] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.9    # all after 6
    found = norm_populations.transit_metrics(jnp.asarray(shares), jnp.int32(8), 2)
    expected = {"t10": 3.0, "t50": 11 / 3, "t90": 5.5, "fraction_switched": 0.75,
                "fraction_t90": 0.5, "t90_error": 0.5, "t10_error": np.sqrt(7 / 3),
                "worse_before_shock": 0.15, "worse_before_shock_error": np.sqrt(1 / 1200)}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    early = norm_populations.transit_metrics(jnp.asarray(shares), jnp.int32(3), 2)
    assert early["t10"] == 1 and np.isnan(early["t10_error"]) and early["fraction_switched"] == 0
    assert np.isnan(early["t50"])
    before = norm_populations.transit_metrics(jnp.asarray(shares), jnp.int32(1), 2)
    assert all(np.isnan(value) for value in before.values())


@pytest.fixture(scope="module")
def steps():
    """The states of a tiny run, before and after each step, and the last step's metrics."""
    experiment = tasks.create(config_of("norm_change", **TINY))
    functions = loop.run_functions(experiment.task)
    step, states = jax.jit(functions.step), [functions.init(0, experiment.hyper)]
    for _ in range(12):
        state, metrics = step(states[-1], ())
        states.append(state)
    return jax.device_get(states), metrics


def test_a_run_keeps_shares_and_pictures_of_the_norms_it_had(steps):
    states, metrics = steps
    norms = [state.task.strategies for state in states]
    with_b = np.mean(norms, axis=2)
    expected = np.concatenate([with_b[:6], 1 - with_b[6:]])  # B is better for five generations
    history = states[-1].task.history
    np.testing.assert_allclose(history.shares, expected, rtol=1e-6)
    assert float(metrics["loss"]) == pytest.approx(1 - expected[-1].mean(), rel=1e-5)
    times = norm_populations.snapshot_times(5, 12)
    assert times[0] == 5 and times[-1] == 12
    np.testing.assert_array_equal(history.snapshots, [norms[t][0] for t in times])


def test_a_stopped_run_continues_with_the_same_bits_and_draws_its_figures(tmp_path, steps):
    config = config_of("norm_change", **TINY, checkpoint_every=4)
    grid = mesh.make_mesh(devices=jax.devices()[:1])

    experiment = tasks.create(config)

    for stop_after in (5, 12):
        with preemption.StopRequest() as stop:
            loop.train(experiment._replace(total_steps=stop_after), config, tmp_path, grid, stop)
    like = loop.abstract_state(loop.map_task(experiment.task, grid), experiment, 0, grid)
    restored = Checkpoints(tmp_path / "checkpoints", keep=2, best_metric="loss",
                           best_is_smallest=True).restore_latest(like)
    assert restored.step == 12
    jax.tree.map(np.testing.assert_array_equal, restored.state, steps[0][-1])
    for name in ("trajectories", "lattice"):
        assert (tmp_path / "figures" / f"{name}_final.png").stat().st_size > 5000


def test_members_of_a_population_are_the_same_on_any_number_of_devices():
    experiment = tasks.create(config_of("norm_change", **TINY))
    seeds = np.arange(4, dtype=np.int32)
    hyper = {key: np.full(4, value, np.float32) for key, value in experiment.hyper.items()}
    hyper["need_for_coordination"] = np.linspace(0, 0.9, 4, dtype=np.float32)

    def run(devices):
        programs = map_population(
            experiment, mesh.make_mesh(devices, jax.devices()[:devices]), "vmap")
        members = programs.init(seeds, hyper, np.zeros(4, np.int32), np.ones(4, bool))
        return jax.device_get(programs.advance(members, (), (), np.int32(7)).run.task)

    states = [run(devices) for devices in (1, 2, 4)]
    assert (states[0].generation == 7).all()
    jax.tree.map(np.testing.assert_array_equal, states[0], states[1])
    jax.tree.map(np.testing.assert_array_equal, states[0], states[2])


def test_only_a_torus_has_snapshots():
    # An array without elements would not stay sharded in a population on several devices.
    experiment = tasks.create(config_of("norm_change", graph={"name": "ring", "num_nodes": 30}))
    state = jax.eval_shape(experiment.task.init, jax.random.key(0), experiment.hyper)
    assert state.history.snapshots == ()


@pytest.mark.parametrize("changes, message", [
    ({"need_for_coordination": 1.5}, "need_for_coordination=1.5: must be a number"),
    ({"graph": {"height": 2}}, "graph.height=2: on a torus"),
    ({"graph": {"height": 5, "width": 4}, "update": "checkerboard"}, "a torus of 5 x 4"),
    ({"graph": {"name": "erdos_renyi"}}, "graph: .* of 2500 nodes are isolated"),
    ({"graph": {"name": "ring", "height": 5}}, "graph.height=5: ring has the fields num_nodes"),
    ({"graph": {"name": "edges"}}, "graph.path=None: name=edges needs a file"),
    ({"graph": {"name": "edges", "path": "no such file"}}, "graph: .*no such file"),
    ({"update": "synchronous", "teacher_payoff": "zero"}, "nobody is replaced"),
    ({"payoffs": {"a": 0.6}}, "payoffs.b=0.6: must differ"),
    ({"shock_generation": 1000}, "shock_generation=1000: must be less than"),
])
def test_configs_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_of("norm_change", **changes)


def test_an_edge_list_is_read(tmp_path):
    path = tmp_path / "edges.txt"
    path.write_text("# two triangles\n0 1\n1 2\n2 0\n3 4\n4 5\n5 3\n")
    config = config_of("norm_change", graph={"name": "edges", "path": str(path)})
    np.testing.assert_array_equal(agent_graphs.create(config["graph"]).neighbors, [
        [1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]])
