"""The study of RMSProp, ADAM and NAG: its sweeps, what is read off their runs, its track."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.adaptive_optimizers import autoencoders, claims, eigenvalue_track, methods, runs
from experiments.adaptive_optimizers import table as table_program
from nfnets_jax import config as config_lib
from nfnets_jax import data, tasks
from nfnets_jax.nets.autoencoder import create_autoencoder
from nfnets_jax.sweeps.plan import make_plan
from nfnets_jax.sweeps.table import Table
from nfnets_jax.tasks import autoencoding
from nfnets_jax.training import loop
from nfnets_jax.training.mesh import REPLICATED, make_mesh, map_over_devices


@pytest.mark.parametrize("file, variant, programs, parameters", [
    ("full_batch", "digits", [16, 8, 8], 41_664), ("mini_batch", "digits", [16], 148_800),
    ("mini_batch", "digits,64", [16], 12_672), ("xi", "digits", [16, 16], 8_384),
    ("smallest_eigenvalue", "digits", [1, 1, 2], 6_564), ("vgg9", "digits", [12, 12], None),
    # Of the size of the paper.
    ("full_batch", "mnist", [30, 30, 30], 1_487_484), ("full_batch", "mnist,1x300", None, 145_984),
    ("input_size", "17", [30, 30, 30], 1_292_289), ("input_size", "12", None, 1_147_144),
    ("mini_batch", "mnist", [30, 30, 30], 2_489_484), ("mini_batch", "mnist,1", None, 485_484),
    ("xi", "mnist", [16, 16], 485_484), ("smallest_eigenvalue", "mnist", [1, 1, 2], 145_984),
    ("vgg9", "cifar10", [30, 30, 30], None)])
def test_sweeps_and_their_networks(file, variant, programs, parameters):
    module = importlib.import_module(f"experiments.adaptive_optimizers.{file}")
    plan = make_plan(module.get_config(variant), module.get_sweep(variant))
    if programs:
        assert [len(program.cells) for program in plan.programs] == programs
    if parameters:
        config = plan.cells[0].config
        shapes = jax.eval_shape(create_autoencoder(**config["network"]).init, jax.random.key(0),
                                np.zeros((1, config["dataset"]["image_size"] ** 2), np.float32))
        assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == parameters


@pytest.mark.parametrize("file, variant", [
    ("full_batch", "mnist,2x300"), ("full_batch", "digits,3x300"), ("mini_batch", "mnist,2"),
    ("mini_batch", "cifar10"), ("input_size", "22"), ("xi", "cifar10"), ("vgg9", "mnist"),
    ("smallest_eigenvalue", "17")])
def test_wrong_variants_are_refused_with_what_to_use(file, variant):
    with pytest.raises(ValueError, match="use "):
        importlib.import_module(f"experiments.adaptive_optimizers.{file}").get_config(variant)


def test_every_example_is_in_every_step_and_the_test_images_are_the_last():
    config = config_lib.check_config(autoencoders.digits(5, 128, 256, 6000), 1)
    assert config["batch_size"] == 256 == data.num_examples(
        "digits_permuted", split=config["dataset"]["train_split"])
    config = config_lib.check_config(autoencoders.digits(5, 256, 1437, 3000, batch_size=100), 1)
    assert data.num_examples("digits_permuted", split=config["dataset"]["train_split"]) == 1437
    assert data.num_examples("digits_permuted", split=config["dataset"]["evaluation_split"]) == 360


def sweep_of(losses, status="done"):
    """The table of a sweep in which run i has the training losses `losses[i]`."""
    rows = []
    for (method, rate, seed), values in losses.items():
        rows.append({**method, methods.RATE: rate, methods.SEED: seed, "status": status, "curve": [
            {"step": step, "train_loss": value, "test_loss": 2 * value}
            for step, value in enumerate(values)]})
    return Table(rows, (), {"analysis": {"num_products": 50}})


class Key(dict):
    """The fields of a method as a key."""

    def __hash__(self):
        return hash(tuple(self.items()))


def test_numbers_are_medians_of_the_last_quarter_then_over_seeds():
    adam, nag = Key(methods.adam(0.9)), Key(methods.nag(0.99))
    jumping = [9.0] * 15 + [1.0, 7.0, 2.0, 3.0, 8.0]
    swept = sweep_of({
        (adam, 1e-3, 1): jumping, (adam, 1e-3, 0): [5.0] * 20, (adam, 1e-2, 0): [4.5] * 20,
        (nag, 1e-3, 0): [1.0] * 20})
    found = runs.cells(swept)
    assert [(cell.label, cell.rate, cell.xi) for cell in found] == [
        ("ADAM 0.9", 1e-3, 1e-8), ("ADAM 0.9", 1e-2, 1e-8), ("NAG 0.99", 1e-3, None)]
    assert found[0].late("train_loss") == [5.0, 3.0] and found[0].median("train_loss") == 4.0
    assert runs.best(found, "ADAM 0.9").rate == 1e-3
    assert table_program.markdown(swept) == [
        "| optimizer | xi | step size | training loss | test loss |", "|---|---|---|---|---|",
        "| ADAM 0.9 | 1e-08 | 0.001* | 4 | 8 |", "| NAG 0.99 |  | 0.001 | 1 | 2 |"]
    assert runs.cells(sweep_of({(nag, 1e-3, 0): [1.0]}, "diverged"))[0].median(
        "train_loss") == math.inf


def test_claims_compare_each_optimizer_at_its_best_step():
    losses = {}
    for beta1, rates in ((0.8, {2e-3: 8.0}), (0.9, {2e-3: 2.0, 1e-3: 1.5}), (0.95, {2e-3: 1.0}),
                         (0.99, {2e-3: 0.5, 1e-3: 0.4})):
        losses |= {(Key(methods.adam(beta1)), rate, 0): [loss] for rate, loss in rates.items()}
    losses |= {(Key(methods.nag(mu)), 1e-2, 0): [5.0] for mu in (0.9, 0.99)}
    rows = list(claims.full_batch_claims(runs.cells(sweep_of(losses))))
    assert [(row.measured, row.holds) for row in rows] == [
        ("8.0", True), ("2.0", True), ("2.0", True), ("0.267", True), ("0.300", True),
        ("0.27", False)]


def test_the_float64_track_is_nag_in_numpy(monkeypatch):
    # Pixels in float32, as the task has them, are rounded anew in each program.
    monkeypatch.setattr(autoencoding, "pixels_of", lambda images: jnp.reshape(
        images, (len(images), -1)).astype(jnp.float64) / 255)
    config = autoencoders.digits(1, 5, num_examples=16, num_steps=4)
    config.evaluate_every = 2
    run = methods.grid((methods.nag(0.9), (5e-3,)))[0]
    track = eigenvalue_track.follow(config, run, num_products=8)
    checked = config_lib.check_config(config, 1)
    experiment = tasks.create(checked)
    x = experiment.objective.examples(None)["image"].reshape(16, -1) / 255
    with jax.enable_x64(True):
        params = initial_parameters(experiment, checked["seed"])
    velocity, losses, norms = [0.0] * 3, [], []
    for _ in range(5):
        w, b, c = params
        hidden = np.maximum(x @ w + b, 0)
        delta = hidden @ w.T + c - x
        losses.append(np.mean(np.sum(delta**2, axis=1)))
        out = 2 * delta / len(x)
        back = (out @ w) * (hidden > 0)
        grads = [x.T @ back + out.T @ hidden, back.sum(0), out.sum(0)]
        norms.append(np.sqrt(sum(np.sum(g**2) for g in grads)))
        velocity = [0.9 * v + g for v, g in zip(velocity, grads, strict=True)]
        params = [p - 5e-3 * (g + 0.9 * v)
                  for p, g, v in zip(params, grads, velocity, strict=True)]
    np.testing.assert_allclose(track.loss, losses[::2], rtol=1e-11)
    np.testing.assert_allclose(track.gradient_norm, norms[::2], rtol=1e-11)
    assert np.all(track.lambda_min < 0) and np.all(track.lambda_max > 0)


def initial_parameters(experiment, seed):
    init = map_over_devices(loop.run_functions(experiment.task).init,
                            make_mesh(devices=jax.devices()[:1]),
                            (REPLICATED, REPLICATED), REPLICATED)
    params = init(np.uint32(seed), {name: np.float32(value) for name, value in
                                    experiment.hyper.items()}).task.params["autoencoder"]
    return [np.asarray(params[name], np.float64)
            for name in ("encoder_w0", "encoder_bias0", "decoder_bias0")]
