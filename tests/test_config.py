"""Wrong configs are refused with the field, its value and what is allowed; never a traceback."""

import json
import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfnets_jax import config as config_lib
from nfnets_jax.config import ConfigError, check_config, default_config

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "experiments").rglob("*.py")
                     if "def get_config" in file.read_text())


def digits(**changes):
    config = default_config().to_dict()
    for path, value in {"network.name": "nf_resnet_digits", **changes}.items():
        *parents, key = path.split(".")
        level = config
        for parent in parents:
            level = level[parent]
        level[key] = value
    return config


@pytest.mark.parametrize("file", EXPERIMENTS)
def test_every_experiment_is_a_valid_config(file):
    config = runpy.run_path(str(ROOT / file))["get_config"]()
    if config.get("network", {}).get("name") == "pretrained":
        with pytest.raises(ConfigError, match="pretrained.workdir, which is not set"):
            check_config(config, device_count=1)
        config.network.name = "bn_v1_resnet50"
    checked = check_config(config, device_count=8 if "imagenet" in file else 1)
    assert json.loads(config_lib.to_json(checked))["task"] == config.task


WRONG = {
    "clipping in a stacked network": (
        {"network.name": "skipinit_mlp", "optimizer.agc_clipping": 0.01},
        ["optimizer.agc_clipping=0.01", "skipinit_mlp", "set it to 0"]),
    "unknown field": ({"batchsize": 3}, ["batchsize", "batch_size"]),
    "unknown nested field": ({"optimizer.lr": 1.0}, ["optimizer.lr", "learning_rate"]),
    "unknown field of a data set": ({"dataset.flipp": True}, ["dataset.flipp", "flip"]),
    "unknown argument of the network": (
        {"network.name": "bn_resnet_digits", "network.alpha": 0.2}, ["network.alpha"]),
    "unknown task": ({"task": "clasification"}, ["clasification", "classification"]),
    "unknown network": ({"network.name": "nf_resnet51"}, ["nf_resnet51", "nf_resnet50"]),
    "unknown data set": ({"dataset.name": "cifar"}, ["dataset.name='cifar'", "cifar10"]),
    "unknown schedule": ({"schedule.name": "cos"}, ["schedule.name='cos'", "cosine"]),
    "unknown precision": ({"precision": "float16"}, ["precision='float16'", "bfloat16"]),
    "text for a number": ({"batch_size": "64"}, ["batch_size='64'", "whole number"]),
    "float for an int": ({"batch_size": 64.0}, ["batch_size=64.0", "whole number"]),
    "bool for an int": ({"seed": True}, ["seed=True", "whole number"]),
    "int for a bool": ({"dataset.flip": 1}, ["dataset.flip=1", "true or false"]),
    "value for a group": ({"optimizer": 3}, ["optimizer=3", "learning_rate"]),
    "no number": ({"optimizer.learning_rate": float("nan")}, ["learning_rate=nan", "at least 0"]),
    "infinite": ({"optimizer.weight_decay": float("inf")}, ["weight_decay=inf"]),
    "zero batch": ({"batch_size": 0}, ["batch_size=0", "at least 1"]),
    "negative seed": ({"seed": -1}, ["seed=-1"]),
    "zero epochs": ({"num_epochs": 0.0}, ["num_epochs=0.0", "above 0"]),
    "momentum of one": ({"optimizer.momentum": 1.0}, ["momentum=1.0", "below 1"]),
    "zero image": ({"dataset.image_size": 0}, ["image_size=0"]),
    "image below the stride": (
        {"network.name": "nf_resnet50", "dataset.image_size": 31},
        ["dataset.image_size=31", "total stride 32", "nf_resnet50"]),
    "batch and devices": ({"batch_size": 100}, ["batch_size=100", "8 devices", "96 or 104"]),
    "batch below the devices": ({"batch_size": 4}, ["batch_size=4", "use 8"]),
    "batch and accumulation": (
        {"batch_size": 24, "accumulation_steps": 2}, ["batch_size=24", "16 or 32"]),
    "evaluation batch": ({"evaluation_batch_size": 9}, ["evaluation_batch_size=9", "8 or 16"]),
    "warm-up of the whole run": (
        {"num_epochs": 5.0}, ["schedule.warmup_epochs=5", "num_epochs=5"]),
    "two budgets": (
        {"num_steps": 640, "num_examples": 64}, ["num_steps=640", "num_examples=64", "unset one"]),
    "unknown rounding": ({"step_rounding": "up"}, ["step_rounding='up'", "per_epoch"]),
    "drop of another schedule": (
        {"schedule.first_drop": "after"}, ["schedule.first_drop='after'", "set it to at_half"]),
    "schedule without an end": (
        {"schedule.name": "constant"}, ["schedule.final_fraction=0", "set it to 1"]),
    "negative alpha": ({"network.alpha": -0.5}, ["network.alpha=-0.5", "at least 0"]),
    "no stages": ({"network.widths": ()}, ["network.widths=[]"]),
    "negative width": ({"network.widths": (16, -1)}, ["network.widths=", "at least 1"]),
    "unknown activation": ({"network.activation": "reul"}, ["network.activation='reul'", "relu"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_config_names_field_value_and_remedy(name):
    changes, words = WRONG[name]
    with pytest.raises(ConfigError) as error:
        check_config(digits(**{"batch_size": 64, "evaluation_batch_size": 64, **changes}), 8)
    for word in words:
        assert word in str(error.value)


def test_defaults_are_filled_in_and_survive_json():
    checked = check_config(digits(batch_size=64, evaluation_batch_size=64), 8)
    assert checked["dataset"]["image_size"] == 8
    assert checked["network"]["alpha"] == 0.2 and "bn_decay_rate" not in checked["network"]
    again = json.loads(config_lib.to_json(checked))
    checked_again = json.loads(config_lib.to_json(check_config(again, 8)))
    assert config_lib.difference(again, checked_again) == []


def test_difference_names_every_changed_field():
    before = {"a": 1, "b": {"c": 2.0, "d": "x"}}
    assert config_lib.difference(before, {"a": 1, "b": {"c": 3.0, "e": "y"}}) == [
        "b.c: 2.0 -> 3.0", 'b.d: "x" -> "(absent)"', 'b.e: "(absent)" -> "y"']


_SCALARS = (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
            | st.sampled_from(["nf_wrn_16_4", "nf_wrn_17_4", "imagenet2012", "cosine", ()]))
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=5), inner, max_size=3), max_leaves=4)


def _paths(tree, prefix=""):
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


@settings(max_examples=400, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(
    st.sampled_from(sorted(_paths(default_config().to_dict()))) | st.text(max_size=8), _VALUES,
    max_size=4), st.integers(1, 64))
def test_checker_answers_anything_with_a_config_or_a_config_error(changes, device_count):
    config = digits(batch_size=64, evaluation_batch_size=64)
    for path, value in changes.items():
        level = config
        *parents, key = path.split(".")
        for parent in parents:
            level = level.setdefault(parent, {}) if isinstance(level, dict) else {}
        if isinstance(level, dict):
            level[key] = value
    try:
        checked = check_config(config, device_count)
    except ConfigError as error:
        assert str(error)
    else:
        json.loads(config_lib.to_json(checked))
