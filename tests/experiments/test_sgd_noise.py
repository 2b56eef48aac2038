"""The study of noise in SGD: its configs, its quick claims, and exact properties of its runs."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.claims import run_sweep
from experiments.sgd_noise import claims, digits, digits_temperature, noisy_quadratic
from nfnets_jax import config as config_lib
from nfnets_jax import optim, sweeps, tasks
from nfnets_jax.sweeps.plan import make_plan
from nfnets_jax.tasks import noisy_quadratic as quadratic_task
from nfnets_jax.training import loop
from nfnets_jax.training.mesh import REPLICATED, make_mesh, map_over_devices

RATE, MOMENTUM = "optimizer.learning_rate", "optimizer.momentum"


@pytest.mark.parametrize("file, variant, runs, programs, learning_rates", [
    ("digits", "noisy", 880, 8, (2**-6, 2**4)),
    ("digits", "clean,momentum", 960, 8, (2**-10, 2)),
    ("digits_epochs", "noisy", 385, 7, (2**-6, 2**4)),
    ("digits_steps", "clean", 440, 4, (2**-6, 2**4)),
    ("digits_temperature", "sgd", 200, 4, (2**-5, 2**4)),
    ("noisy_quadratic", "expected", 1620, 18, (2**-9, 4)),
    ("noisy_quadratic_epochs", None, 315, 7, (2**-9, 4)),
    ("noisy_quadratic_steps", None, 270, 6, (2**-9, 4)),
    ("diagonal_linear", None, 1080, 6, (2**-8, 2**0.5)),
    ("autoencoder", "digits", 216, 4, (2**-11, 1)),
    ("language_model", "pydoc", 30, 3, (4, 64)),
])
def test_sweeps_of_a_laptop(file, variant, runs, programs, learning_rates):
    plan = make_plan(*config_and_sweep(file, variant))
    assert (len(plan.cells), plan.num_given, len(plan.programs)) == (runs, runs, programs)
    rates = [cell.config["optimizer"]["learning_rate"] for cell in plan.cells]
    assert (min(rates), max(rates)) == learning_rates


@pytest.mark.parametrize("file, variant, runs", [
    ("wide_resnet", "bn", 1650), ("wide_resnet", "skipinit,momentum", 1650),
    ("wide_resnet_steps", "bn,momentum", 825), ("wide_resnet_epochs", "skipinit", 440),
    ("resnet50", "momentum", 189), ("resnet50", "sgd", 189), ("autoencoder", "mnist", 2700),
    ("language_model", "penn_treebank", 350)])
def test_sweeps_of_the_size_of_the_paper(file, variant, runs):
    config, overrides = config_and_sweep(file, variant)
    assert len(overrides) == runs
    make_plan(config, [{**run, "seed": 0} for run in overrides if run["seed"] == 0][::5])


def config_and_sweep(file, variant):
    module = importlib.import_module(f"experiments.sgd_noise.{file}")
    config = module.get_config() if variant is None else module.get_config(variant)
    takes_variant = variant is not None and module.get_sweep.__code__.co_argcount
    return config, module.get_sweep(variant) if takes_variant else module.get_sweep()


@pytest.mark.parametrize("file, variant", [
    ("digits", "noise"), ("digits", "clean,nesterov"), ("digits_temperature", "adam"),
    ("wide_resnet", "nf"), ("wide_resnet_steps", "bn,sgd"), ("resnet50", "nesterov")])
def test_wrong_variants_are_refused_with_what_to_use(file, variant):
    with pytest.raises(ValueError, match="use "):
        importlib.import_module(f"experiments.sgd_noise.{file}").get_config(variant)


def test_ghost_batch_norm_and_its_absence_in_the_wide_resnets():
    configs = {variant: config_lib.check_config(config_and_sweep("wide_resnet", variant)[0], 1)
               for variant in ("bn", "skipinit,momentum")}
    norm = configs["bn"]["network"]
    assert (norm["norm"], norm["ghost_size"]) == ("ghost_batch", 64)
    assert configs["skipinit,momentum"]["network"]["conv_bias"] is True
    assert [config["optimizer"]["momentum"] for config in configs.values()] == [0.0, 0.9]
    assert all(config["step_rounding"] == "per_epoch" for config in configs.values())


def test_both_regimes_of_the_noisy_quadratic_by_way_of_a_sweep():
    table = run_sweep(noisy_quadratic.get_config(), sweeps.product(
        {"num_epochs": (8.0, 32.0)}, {"batch_size": (64, 256)}, {MOMENTUM: (0.0, 0.9)},
        {RATE: noisy_quadratic.RATES}), mapping="map")
    groups = claims.by_fields(table)
    rows = list(claims.quadratic_claims(groups, [64, 256]))
    assert [row for row in rows if not row.holds] == [] and len(rows) == 4
    loss = {key: group.optimum.score for key, group in groups.items()}
    # SGD has reached its plateau, 2 / h_max, and heavy ball has not.
    assert groups[8.0, 0.0, 256].optimum.learning_rate == 2.0
    assert groups[8.0, 0.9, 256].optimum.learning_rate == 1.0
    np.testing.assert_allclose(loss[8.0, 0.9, 256], 0.10732, rtol=1e-3)
    np.testing.assert_allclose(loss[32.0, 0.9, 256], 0.00571, rtol=1e-3)


def test_training_losses_of_equal_temperature_are_equal():
    runs = [run for run in digits_temperature.get_sweep()
            if run["seed"] < 2 and run["batch_size"] in (64, 256)
            and run[RATE] == 2.0**-7 * run["batch_size"]]
    forgotten = [{**run, MOMENTUM: 0.9} for run in runs]  # the factor 1 - m
    table = run_sweep(digits_temperature.get_config(), [{MOMENTUM: 0.0, **run} for run in runs]
                      + forgotten, mapping="map")
    loss = {(batch, m): claims.mean_of(table, "train_loss", {"batch_size": batch, MOMENTUM: m})
            for batch in (64, 256) for m in (0.0, 0.9)}
    assert abs(loss[64, 0.0] / loss[256, 0.0] - 1) < 0.01
    assert abs(loss[64, 0.0] - 0.861) < 0.02
    assert loss[64, 0.9] < 0.5 * loss[64, 0.0]


def test_networks_that_blow_up_with_a_finite_loss_have_failed():
    config = digits.get_config()
    config.num_epochs = 2.0
    table = run_sweep(config, sweeps.product({RATE: (0.125, 16.0)}, {"seed": range(4)}),
                      mapping="map")
    assert [row["status"] for row in table.rows[:4]] == ["done"] * 4
    assert {row["status"] for row in table.rows[4:]} <= {"dead", "diverged"}
    assert all(row["train_loss"] >= 0.95 * np.log(10) for row in table.rows[4:])
    group, = claims.groups_of(table)
    assert group.optimum.learning_rate == 0.125


@pytest.mark.parametrize("batch_size, differ", [(1024, False), (512, True)])
def test_only_batches_of_less_than_all_examples_depend_on_their_order(batch_size, differ):
    config = digits.get_config()
    config.batch_size = batch_size
    experiment = tasks.create(config_lib.check_config(config, 1))
    resident, functions = experiment.resident, loop.run_functions(experiment.task)

    def run(arrays, drawn):
        state = functions.init(7, {**experiment.hyper, "learning_rate": jnp.float32(2.0)})
        return jax.lax.scan(
            lambda state, ids: (functions.step(state, resident.batch(arrays, ids))[0], None),
            state, drawn)[0].task.params

    program = map_over_devices(run, make_mesh(devices=jax.devices()[:1]), REPLICATED, REPLICATED)
    ends = [program(resident.arrays, resident.draw(order, 0, 4)) for order in (1, 2)]
    distance = max(jax.tree.leaves(jax.tree.map(lambda x, y: np.max(np.abs(x - y)), *ends)))
    assert distance > 1e-3 if differ else distance < 2e-6


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("a", [2.0**-3, 4.0])
def test_a_loss_times_a_power_of_two_moves_every_trajectory_to_the_rate_over_it(a, momentum):
    h = np.arange(1, 21.0) ** -1
    rates = jnp.asarray(2.0 ** (np.arange(-28, 9) / 4), jnp.float32)

    def positions(scale):
        """E[theta^2] [rates, steps, d] and the losses of a loss that is `scale` times as large."""
        task = quadratic_task.create_task(
            curvature=scale * h, noise_variance=scale**2 * h / 16, start=1.0,
            schedule=optim.create_schedule("halving", total_steps=40))

        def run(rate):
            state = task.init(None, {"learning_rate": rate, "momentum": momentum})

            def step(state, _):
                state, metrics = task.step(state, (), None)
                return state, (state.moments[:, 0, 0], metrics["loss"])

            return jax.lax.scan(step, state, length=40)[1]

        return jax.jit(jax.vmap(run))(rates / scale)

    (one, loss), (other, scaled_loss) = positions(1.0), positions(a)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a * loss, scaled_loss)
    # So the best of a grid that is closed under a is the best of the other, over a.
    assert np.argmin(loss[:, -1]) == np.argmin(scaled_loss[:, -1])
    assert 0 < np.argmin(loss[:, -1]) < len(rates) - 1
