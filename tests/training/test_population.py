"""Member k of a population makes the run that it would make alone, whatever the population."""

import functools
import time

import jax
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.config import default_config
from nfnets_jax.training import loop, mapping, mesh, population, population_run
from nfnets_jax.training.population_record import Runs, judge
from nfnets_jax.training.population_run import PopulationRunner

SEEDS = (0, 3, 0, 3, 5)
RATES = (0.01, 0.1, 0.3, 0.02, 0.2)


def classifier(name, **network):
    config = default_config("classification")
    config.network.name = name
    config.network.update(network)
    config.dataset.name = "digits"
    config.dataset.crop_padding = 1
    config.batch_size = 64
    config.evaluation_batch_size = 512
    config.num_steps = 12
    config.evaluate_every = 5
    config.schedule.warmup_epochs = 0.1
    return config


def simulation():
    config = default_config("noisy_quadratic")
    config.mode = "sampled"
    config.num_dimensions = 5
    config.batch_size = 4
    config.num_steps = 12
    config.evaluate_every = 5
    return config


CONFIGS = {
    "batch norm": lambda: classifier("bn_mlp", width=16, num_blocks=2),
    "no norm": lambda: classifier("mlp", widths=(16,)),
    "simulation": simulation,
}


def check(config):
    return config_lib.check_config(config, 1)


def make_runner(config, how="vmap", size=8, devices=1, data_devices=1, num_seeds=3):
    grid = mesh.make_mesh(devices // data_devices, jax.devices()[:devices])
    return PopulationRunner(
        lambda seed: tasks.create({**config, "seed": seed}), size=size, num_seeds=num_seeds,
        evaluate_every=config["evaluate_every"], mesh=grid, mapping=how)


def make_runs(config, rates=RATES, seeds=SEEDS):
    hyper = tasks.get(config["task"]).read_hyper(config)
    return Runs(list(seeds), [{**hyper, "learning_rate": rate} for rate in rates],
                [True] * len(seeds))


@functools.cache
def outcomes_of(name):
    """What the runs of a config of CONFIGS come to, all at once on one device."""
    config = check(CONFIGS[name]())
    return make_runner(config).run(make_runs(config))


def run_alone(config, seed, rate):
    """The run by the functions of the training loop: losses of its steps, last evaluation."""
    config = {**config, "seed": seed,
              "optimizer": {**config["optimizer"], "learning_rate": rate}}
    experiment = tasks.create(config)
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    programs = loop.map_task(experiment.task, grid)
    state = loop.initialize(programs, experiment, seed)
    batches, losses = experiment.train_batches(0), []
    for _ in range(experiment.total_steps):
        state, metrics = programs.step(state, next(batches))
        losses.append(float(metrics["loss"]))
    split = experiment.evaluation_split
    return losses, loop.evaluate(programs, state, experiment.evaluation_batches(split), grid)


@pytest.mark.parametrize("name", CONFIGS)
def test_member_equals_the_run_alone(name):
    config, outcomes = check(CONFIGS[name]()), outcomes_of(name)
    for k, (seed, rate) in enumerate(zip(SEEDS, RATES, strict=True)):
        losses, last = run_alone(config, seed, rate)
        assert [point["step"] for point in outcomes[k].curve] == list(range(13))
        assert [point["step"] for point in outcomes[k].curve if "test_loss" in point] == [
            0, 5, 10, 12]
        assert [point["running_loss"] for point in outcomes[k].curve[1:]] == pytest.approx(
            losses, rel=2e-4)
        assert outcomes[k].metrics["test_loss"] == pytest.approx(last["loss"], rel=2e-4)
        if "accuracy" in last:
            assert outcomes[k].metrics["test_accuracy"] == pytest.approx(last["accuracy"], abs=3e-3)
    losses = [outcome.metrics["test_loss"] for outcome in outcomes]
    assert len({round(loss, 5) for loss in losses}) == len(losses)


@pytest.mark.parametrize(("how", "devices", "data_devices"), [
    ("map", 1, 1), (2, 1, 1), ("vmap", 2, 1), ("map", 4, 1), ("vmap", 4, 2)])
def test_mapping_and_devices_do_not_change_the_numbers(how, devices, data_devices):
    name = "batch norm" if data_devices == 1 else "no norm"
    config = check(CONFIGS[name]())
    outcomes = make_runner(
        config, how, devices=devices, data_devices=data_devices).run(make_runs(config))
    for one, other in zip(outcomes, outcomes_of(name), strict=True):
        assert one.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=2e-4)
        assert one.status == other.status and one.steps == other.steps


def test_the_other_members_and_the_order_do_not_change_a_member():
    config = check(CONFIGS["no norm"]())
    together = make_runner(config, "map").run(make_runs(config))
    backwards = make_runner(config, "map").run(make_runs(config, RATES[::-1], SEEDS[::-1]))
    alone = make_runner(config, "map", size=1, num_seeds=1).run(
        make_runs(config, RATES[1:2], SEEDS[1:2]))
    assert backwards[::-1] == together
    assert alone[0] == together[1]


def test_batches_streamed_from_the_host_are_those_of_resident_data(monkeypatch):
    config = check(CONFIGS["no norm"]())
    expected = outcomes_of("no norm")
    original = tasks.create

    def without_resident(config):
        return original(config)._replace(resident=None)

    monkeypatch.setattr(tasks, "create", without_resident)
    # Room for three steps at a time, so that the streams go on from block to block.
    monkeypatch.setattr(population_run, "LARGEST_INPUT_BYTES", 3 * 3 * 64 * 72)
    outcomes = make_runner(config).run(make_runs(config))
    assert outcomes == expected


def test_diverged_members_stop_alone_and_keep_their_status():
    config = check(CONFIGS["no norm"]())
    config["num_steps"] = 30
    rates = (0.3, 1e6, 1e30, 0.4, 0.0)
    outcomes = make_runner(config).run(make_runs(config, rates))
    assert [outcome.status for outcome in outcomes] == [
        "done", "diverged", "diverged", "done", "dead"]
    healthy = make_runner(config).run(make_runs(config, (0.3, 0.4), (SEEDS[0], SEEDS[3])))
    for one, other in zip((outcomes[0], outcomes[3]), healthy, strict=True):
        assert one.metrics["test_loss"] == pytest.approx(other.metrics["test_loss"], rel=1e-5)
    assert 0 < outcomes[2].diverged_at <= 5 and outcomes[2].steps == outcomes[2].diverged_at
    assert outcomes[2].curve[-1]["step"] == outcomes[2].diverged_at  # and nothing after it
    assert None in outcomes[2].curve[-1].values() or outcomes[2].metrics["train_loss"] > 23


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_a_population_without_survivors_ends_at_once(how):
    config = check(CONFIGS["no norm"]())
    config["num_steps"], config["evaluate_every"] = 10**6, 0
    # A million steps would take minutes.
    outcomes = make_runner(config, how).run(make_runs(config, [1e30] * 5))
    assert {outcome.status for outcome in outcomes} == {"diverged"}
    assert max(outcome.steps for outcome in outcomes) < 10


def test_a_simulation_diverges_at_the_step_at_which_its_loss_is_ten_times_the_first():
    config = check(CONFIGS["simulation"]())
    config |= {"mode": "expected", "num_steps": 40, "evaluate_every": 0, "batch_size": 10**6}
    rate = 2.5  # of the first dimension, h = 1: its loss grows by (1 - 2.5)^2 a step
    outcome = make_runner(config).run(make_runs(config, [rate], [0]))[0]
    start = outcome.curve[0]["test_loss"]
    theta, step = np.ones(5), 0
    while 0.5 * np.sum(theta**2 / np.arange(1, 6)) <= 10 * start:
        theta, step = theta * (1 - rate / np.arange(1, 6)), step + 1
    assert outcome.status == "diverged"
    assert outcome.diverged_at in (step, step + 1)  # the metric is of before or after the step


@pytest.mark.parametrize(("diverged", "loss", "status"), [
    (True, 0.1, "diverged"), (False, 2.19, "dead"), (False, 2.18, "done"), (False, None, "done")])
def test_judge(diverged, loss, status):
    assert judge(diverged, loss, np.log(10)) == status


def test_a_population_that_is_stopped_goes_on_to_the_same_bits(tmp_path):
    config = check(CONFIGS["batch norm"]())
    expected = outcomes_of("batch norm")
    runner = make_runner(config)
    stopped = runner.run(make_runs(config), checkpoint_dir=tmp_path, is_stopping=lambda: True)
    assert stopped is None
    steps = []
    outcomes = runner.run(make_runs(config), checkpoint_dir=tmp_path,
                          report=lambda step, alive: steps.append(step))
    assert steps == [*range(2, 13)]
    assert outcomes == expected


def test_members_that_are_not_wanted_are_not_run():
    config = check(CONFIGS["no norm"]())
    runs = make_runs(config)
    expected = outcomes_of("no norm")
    wanted = [False, True, False, False, True]
    outcomes = make_runner(config).run(runs._replace(active=wanted))
    for outcome, whole, is_wanted in zip(outcomes, expected, wanted, strict=True):
        assert outcome == whole if is_wanted else outcome.status == "missing"


@pytest.mark.parametrize("how", ["map", 2, "vmap"])
def test_a_step_is_timed_for_the_whole_population(how):
    config = check(CONFIGS["no norm"]())
    runner = make_runner(config, how)
    runs = make_runs(config, [0.1] * 8, [0] * 8)
    runner.run(runs)  # compiles
    start = time.perf_counter()
    runner.run(runs)
    taken = (time.perf_counter() - start) / 12
    assert 0 < runner.time_steps(0.05) < 20 * taken


def test_the_fastest_mapping_that_fits_is_chosen(monkeypatch):
    class Runner:
        def __init__(self, how):
            self.mapping = how

        def memory_bytes(self):
            return {"map": 1, 8: 10, "vmap": 100}[self.mapping]

        def time_steps(self, seconds):
            return {"map": 3.0, 8: 2.0, "vmap": 1.0}[self.mapping]

    monkeypatch.setattr(mapping, "device_memory_bytes", lambda: 50 / mapping.MEMORY_SHARE)
    runner, times = mapping.choose(Runner, 16)
    assert runner.mapping == 8 and times == {"map": 3.0, "8": 2.0, "vmap": None}
    monkeypatch.setattr(mapping, "device_memory_bytes", lambda: 0.5 / mapping.MEMORY_SHARE)
    with pytest.raises(MemoryError, match="--members"):
        mapping.choose(Runner, 16)


def test_all_mappings_are_mappings():
    members = np.arange(6.0)
    for how in ("map", "vmap", 2, 4):
        got = population.map_members(lambda x, y: (x + y, x * y), how)(members, members + 1)
        np.testing.assert_array_equal(got[0], 2 * members + 1)
        np.testing.assert_array_equal(got[1], members * (members + 1))


def test_a_deep_network_may_overflow_before_its_first_step():
    # Evaluated with moving averages of nothing, its 30 blocks multiply the images by 316 each.
    config = check(classifier("bn_mlp", width=8, num_blocks=30))
    outcomes = make_runner(config).run(make_runs(config))
    assert all(outcome.curve[0]["train_loss"] is None for outcome in outcomes)
    assert all(outcome.diverged_at is None and outcome.steps == 12 for outcome in outcomes)
