"""Lengths of runs and of warm-ups, from each of the budgets that decide them."""

import json

import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import data
from nfnets_jax.config import ConfigError, check_config, default_config
from nfnets_jax.tasks import lengths


def checked(batch_size=64, warmup_epochs=0.0, task="classification", **changes):
    """A checked config of the permuted digits, of which 1,024 are for training."""
    config = default_config(task)
    config.network.name = "nf_resnet_digits"
    config.dataset.name = "digits_permuted"
    config.batch_size, config.evaluation_batch_size = batch_size, 64
    config.schedule.warmup_epochs = warmup_epochs
    config.update_from_flattened_dict(changes)
    return check_config(config, 1)


@pytest.fixture
def epoch_of_50_000(monkeypatch):
    """All splits have 50,000 images."""
    monkeypatch.setattr(data, "num_examples", lambda name, *, split, data_dir: 50_000)


@pytest.mark.parametrize("rounding", ["nearest", "total", "per_epoch"])
def test_epochs_that_batches_divide_are_the_same_however_rounded(rounding):
    config = checked(num_epochs=20.0, step_rounding=rounding)
    assert lengths.count_steps(config) == 320


@pytest.mark.parametrize("rounding, steps", [
    ("nearest", 9_766), ("total", 9_765), ("per_epoch", 9_600)])
def test_epochs_that_batches_do_not_divide(epoch_of_50_000, rounding, steps):
    config = checked(1024, num_epochs=200.0, step_rounding=rounding)
    assert lengths.count_steps(config) == steps


@pytest.mark.parametrize("rounding, steps", [("nearest", 5), ("total", 4), ("per_epoch", 4)])
def test_a_share_of_an_epoch(rounding, steps):
    # 0.3 of 1024 / 64 = 16 steps is 4.8.
    assert lengths.count_steps(checked(num_epochs=0.3, step_rounding=rounding)) == steps


def test_a_written_decimal_is_not_rounded_down_by_its_binary_form(monkeypatch):
    monkeypatch.setattr(data, "num_examples", lambda name, *, split, data_dir: 640)
    for epochs, steps in ((0.3, 3), (0.7, 7), (1.1, 11), (2.3, 23)):
        for rounding in ("total", "per_epoch"):
            config = checked(num_epochs=epochs, step_rounding=rounding)
            assert lengths.count_steps(config) == steps


def test_steps_and_examples_decide_in_place_of_epochs():
    assert lengths.count_steps(checked(num_epochs=20.0, num_steps=7)) == 7
    for examples, steps in ((64, 1), (127, 1), (128, 2), (640_001, 10_000)):
        config = checked(num_epochs=20.0, num_examples=examples)
        assert config["num_epochs"] is None and lengths.count_steps(config) == steps


@pytest.mark.parametrize("task, epochs", [
    ("classification", 90.0), ("byol", 1000.0), ("linear_evaluation", 80.0)])
def test_budgets_of_every_task_survive_a_second_check(task, epochs):
    assert checked(task=task)["num_epochs"] == epochs
    once = checked(task=task, num_epochs=20.0, num_steps=640)
    assert (once["num_epochs"], once["num_steps"], once["num_examples"]) == (None, 640, None)
    assert config_lib.to_json(check_config(json.loads(config_lib.to_json(once)), 1)) == (
        config_lib.to_json(once))


@pytest.mark.parametrize("budget", [
    {"num_epochs": 20.0}, {"num_steps": 320}, {"num_examples": 20 * 1024},
    {"num_epochs": 20.0, "step_rounding": "per_epoch"}])
def test_warmup_is_in_epochs_whatever_the_budget(budget):
    config = checked(warmup_epochs=2.5, **{"schedule.name": "halving"}, **budget)
    schedule = lengths.create_schedule(config, lengths.count_steps(config))
    got = [float(schedule(step)) for step in (0, 10, 39, 40, 159, 160, 176, 319)]
    np.testing.assert_allclose(
        got, [0, 10 / 40, 39 / 40, 1, 1, 1 / 2, 1 / 4, 2.0**-10], rtol=1e-6)


def test_the_first_drop_is_a_field():
    config = checked(num_steps=320, **{"schedule.name": "halving", "schedule.first_drop": "after"})
    schedule = lengths.create_schedule(config, 320)
    assert [float(schedule(step)) for step in (175, 176, 319)] == [1, 1 / 2, 2.0**-9]


def test_drops_are_fields():
    fields = {"schedule.name": "piecewise", "schedule.drops": (0.3, 0.7),
              "schedule.drop_factor": 0.5}
    config = json.loads(config_lib.to_json(checked(num_steps=320, **fields)))
    schedule = lengths.create_schedule(check_config(config, 1), 320)
    assert [float(schedule(step)) for step in (95, 96, 223, 224, 319)] == [1, .5, .5, .25, .25]
    with pytest.raises(ConfigError, match=r"schedule.drops=\[0.7, 0.3\] must be increasing"):
        checked(num_steps=320, **{**fields, "schedule.drops": (0.7, 0.3)})
    with pytest.raises(ConfigError, match=r"schedule.drops=\(0, 0.5\): must be .* above 0"):
        checked(num_steps=320, **{**fields, "schedule.drops": (0, 0.5)})


def test_a_validation_split_must_exist():
    assert lengths.count_steps(checked(num_steps=3, **{"dataset.validation_split": "test"})) == 3
    with pytest.raises(ConfigError, match="dataset.validation_split='valid'.*'train_noisy'"):
        lengths.count_steps(checked(num_steps=3, **{"dataset.validation_split": "valid"}))


@pytest.mark.parametrize("changes, message", [
    ({"num_epochs": 0.03}, "num_epochs=0.03: less than one step .* 1024 images; use at least 0.07"),
    ({"num_epochs": 0.05, "step_rounding": "total"}, "num_epochs=0.05: .*at least 0.07"),
    ({"num_examples": 63}, "num_examples=63: less than one step of batch_size=64; use at least 64"),
    ({"batch_size": 1025, "step_rounding": "per_epoch"},
     "step_rounding='per_epoch'.*batch_size=1025 is more than the 1024 images.*total or nearest"),
])
def test_a_run_of_no_step_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        lengths.count_steps(checked(**changes))


@pytest.mark.parametrize("budget", [{"num_steps": 80}, {"num_examples": 80 * 64}])
def test_a_warmup_of_the_whole_run_is_refused(budget):
    config = checked(warmup_epochs=5.0, **budget)
    with pytest.raises(ConfigError, match="warmup_epochs=5: are 80 steps of a run of 80; use less "
                       "than 5"):
        lengths.create_schedule(config, lengths.count_steps(config))
