"""Linear evaluation: frozen encoder, one population of classifiers, chosen on a held-out split."""

import jax
import numpy as np
import pytest

from experiments.byol import digits, finetune, linear
from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.config import ConfigError
from nfnets_jax.training import loop, mesh, preemption, workdir


def train(config, directory):
    checked = config_lib.check_config(config, 1)
    workdir.open_workdir(directory, checked)
    with preemption.StopRequest() as stop:
        result = loop.train(tasks.create(checked), checked, directory,
                            mesh.make_mesh(devices=jax.devices()[:1]), stop)
    return result, checked


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A short run of BYOL and its last state."""
    directory = tmp_path_factory.mktemp("byol")
    config = digits.get_config("group_ws")
    config.network.widths, config.network.depths = (8, 16), (1, 1)
    config.network.strides, config.network.stem_width = (1, 2), 8
    config.num_epochs, config.schedule.warmup_epochs = 2.0, 0.5
    config.evaluate_every = 0
    config.probe.num_views = 64
    result, checked = train(config, directory)
    assert {"knn_accuracy", "ridge_accuracy", "projection_std"} <= set(result.metrics)
    assert {p.name for p in (directory / "figures").iterdir()} == {
        "views_initial.png", "embeddings_initial.png", "embeddings_final.png", "curves.png"}
    from nfnets_jax.training.pretrained import load_encoder

    return directory, checked, load_encoder(
        {"pretrained": {"workdir": str(directory), "checkpoint": "latest", "weights": None}})


def linear_config(directory, **changes):
    config = linear.get_config("digits")
    config.pretrained.workdir = str(directory)
    config.num_epochs = 4.0
    config.evaluate_every = 0
    config.update_from_flattened_dict(changes)
    return config


def run(config, steps):
    checked = config_lib.check_config(config, 1)
    experiment = tasks.create(checked)
    programs = loop.map_task(experiment.task, mesh.make_mesh(devices=jax.devices()[:1]))
    state = loop.initialize(programs, experiment, 0)
    state = state._replace(task=experiment.prepare(jax.device_get(state.task)))
    batches = experiment.train_batches(0)
    for _ in range(steps):
        state, _ = programs.step(state, next(batches))
    return jax.device_get(state.task), experiment


def test_encoder_is_that_of_the_run_and_stays(pretrained):
    directory, checked, encoder = pretrained
    state, _ = run(linear_config(directory), 5)
    assert state.params.keys() == encoder.params.keys()
    jax.tree.map(np.testing.assert_array_equal, state.params, dict(encoder.params))
    w = state.classifiers["classifier"]["w"]
    assert w.shape == (5, 16, 10) and np.abs(w[0] - w[4]).max() > 1e-3
    config = config_lib.check_config(linear_config(directory), 1)
    assert config["network"] == checked["network"]


def test_a_member_of_the_population_is_the_run_alone(pretrained):
    directory, _, _ = pretrained
    together, _ = run(linear_config(directory), 8)
    alone, _ = run(linear_config(directory, **{"optimizer.base_learning_rates": (3.0,)}), 8)
    np.testing.assert_allclose(
        together.classifiers["classifier"]["w"][2], alone.classifiers["classifier"]["w"][0],
        rtol=1e-3, atol=2e-4)


def test_the_best_on_held_out_images_is_tested_once(pretrained, tmp_path):
    directory, _, _ = pretrained
    config = linear_config(directory)
    result, checked = train(config, tmp_path)
    state, experiment = run(config, 36)
    asked = []

    def evaluate(split):
        asked.append(split)
        rates = (20.0, 8.0, 3.0, 1.0, 0.4)
        best = {"train[80%:]": 3.0, "test": 20.0}[split]
        return {f"{metric}_lr_{rate:g}": 1.0 if rate == best else 0.1 * rate / 20
                for rate in rates for metric in ("accuracy", "loss")}

    kind, (values, remark) = experiment.conclude(evaluate)
    assert asked == ["train[80%:]", "test"] and kind == "conclusion"
    assert values["base_learning_rate"] == 3.0 and values["accuracy"] == pytest.approx(0.015)
    assert "1.50% with base learning rate 3, chosen on train[80%:]" in remark
    assert "test accuracy" in result.conclusion
    assert '"kind": "conclusion"' in (tmp_path / "metrics.jsonl").read_text()


def test_fine_tuning_starts_from_the_encoder(pretrained):
    directory, checked, encoder = pretrained
    config = finetune.get_config("digits,10pct")
    config.pretrained.workdir = str(directory)
    state, experiment = run(config, 0)
    assert experiment.total_steps == round(50 * 143 / 32) or experiment.total_steps > 200
    assert "bn_v1_resnet/classifier" in state.params
    for name, values in encoder.params.items():
        jax.tree.map(np.testing.assert_array_equal, state.params[name], dict(values))


def test_what_does_not_fit_is_refused(pretrained, tmp_path):
    directory, _, _ = pretrained
    with pytest.raises(ConfigError, match="pretrained.workdir, which is not set"):
        config_lib.check_config(linear.get_config("digits"), 1)
    with pytest.raises(ConfigError, match="holds no run"):
        config_lib.check_config(linear_config(tmp_path / "nothing"), 1)
    with pytest.raises(ConfigError, match="has latest, best, "):
        run(linear_config(directory, **{"pretrained.checkpoint": "17"}), 0)
    with pytest.raises(ConfigError, match="does not fit the pretrained encoder"):
        run(linear_config(directory, **{"network.name": "bn_v1_resnet_digits"}), 0)
    with pytest.raises(ConfigError, match="base_learning_rates=.*different numbers"):
        config_lib.check_config(linear_config(directory, **{
            "optimizer.base_learning_rates": (1.0, 1.0)}), 1)
