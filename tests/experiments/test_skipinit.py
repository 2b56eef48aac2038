"""The study of SkipInit: its sweeps, its table and claims, and the first steps of its networks."""

import importlib

import jax
import numpy as np
import pytest

from experiments.skipinit import claims, digits_depth, methods, table
from nfnets_jax import nets, tasks
from nfnets_jax.config import check_config, default_config
from nfnets_jax.sweeps.plan import get_field, make_plan
from nfnets_jax.sweeps.table import Table
from nfnets_jax.training import loop, mesh

RATE = "optimizer.learning_rate"


def config_and_sweep(file, variant):
    module = importlib.import_module(f"experiments.skipinit.{file}")
    arguments = () if variant is None else (variant,)
    return module.get_config(*arguments), module.get_sweep(*arguments)


@pytest.mark.parametrize("file, variant, runs, programs", [
    ("digits_depth", "6+48", 216, 12), ("digits_depth", "250", 36, 6),
    ("digits_batch_size", None, 264, 8)])
def test_sweeps_of_a_laptop(file, variant, runs, programs):
    plan = make_plan(*config_and_sweep(file, variant))
    assert (len(plan.cells), plan.num_given, len(plan.programs)) == (runs, runs, programs)


@pytest.mark.parametrize("file, variant, runs, programs", [
    ("wide_resnet_depth", "16+100+1000", 1323, 21), ("wide_resnet_batch_size", None, 3024, 36),
    ("resnet", "50", 84, 12), ("resnet", "101", 84, 12)])
def test_sweeps_of_the_size_of_the_paper(file, variant, runs, programs):
    config, overrides = config_and_sweep(file, variant)
    assert len(overrides) == runs
    some = [run for run in overrides if run.get("seed", 0) == 0 and run[RATE] == 0.25]
    assert len(make_plan(config, some).programs) == programs


def test_fields_of_the_wide_resnets():
    config, overrides = config_and_sweep("wide_resnet_depth", "16+100+1000")
    gains = {run[methods.NAME]: run[methods.GAIN] for run in overrides
             if run[methods.GAIN] not in (None, 0.0, 1.0)}
    np.testing.assert_allclose(
        [gains[f"skipinit_wrn_{n}_2"] for n in (16, 100, 1000)], [.4082, .1443, .0448], atol=5e-5)
    config, overrides = config_and_sweep("wide_resnet_batch_size", None)
    cells = make_plan(config, [run for run in overrides if run["seed"] == 0 and run[RATE] == 0.25
                               and run["batch_size"] == 16]).cells
    rows = [{field: get_field(cell.config, f"network.{field}") for field in (
        "norm", "ghost_size", "conv_bias", "stem_bias", "dropout_rate", "weight_init")}
        for cell in cells]
    assert [tuple(row.values()) for row in rows] == [
        ("ghost_batch", 64, None, None, 0.0, "he"), (None, None, False, False, 0.0, "he"),
        (None, None, True, True, 0.6, "he"), (None, None, False, False, 0.0, "he")]


@pytest.mark.parametrize("name, blocks", [("wrn_16_2", 6), ("wrn_1000_2", 498), ("resnet50", 16)])
def test_methods_are_found_again_in_a_network_s_fields(name, blocks):
    for method, row in zip(methods.METHODS, methods.rows(methods.METHODS, name, blocks),
                           strict=True):
        network = methods.network_of({"network": {}}, {**row, RATE: 0.5})
        network["name"] = row[methods.NAME]
        assert methods.identify(network) == method
        assert methods.count_blocks(network) == blocks
    with pytest.raises(ValueError, match=r"skip_gain_init=0.5: use 0, 1 or"):
        methods.identify({"name": f"skipinit_{name}", "skip_gain_init": 0.5})


def make_table(config, overrides, accuracy):
    """A finished sweep whose accuracies are a function of the run; None for a diverged one."""
    plan = make_plan(config, overrides)
    rows = []
    for cell in plan.cells:
        value = accuracy(cell)
        status = "diverged" if value is None else "done"
        rows.append({**{field: get_field(cell.config, field) for field in plan.varied},
                     "status": status, "test_accuracy": value or 0.1})
    return Table(rows, plan.varied, plan.base)


def test_table_has_the_best_mean_and_says_what_cannot_be_trained():
    def accuracy(cell):
        network, rate = cell.config["network"], cell.config["optimizer"]["learning_rate"]
        if network["name"] == "sqrt2_mlp" and network["num_blocks"] == 48:
            return 0.19
        if network.get("skip_gain_init") == 1.0 or (network["name"] == "bn_mlp" and rate == 0.5
                                                    and cell.config["seed"]):
            return None
        return {0.5: 0.99, 2**-5: 0.95}.get(rate, 0.5) - 0.02 * (cell.config["seed"] % 2)

    lines = table.markdown(make_table(
        digits_depth.get_config(), digits_depth.get_sweep(), accuracy))
    assert lines == [
        "|  | d = 6 | d = 48 |",
        "|---|---|---|",
        "| BN | 94.0 (2^-5) | 94.0 (2^-5) |",
        "| SkipInit, 1/sqrt(d) | 98.0 (2^-1) | 98.0 (2^-1) |",
        "| SkipInit, 0 | 98.0 (2^-1) | 98.0 (2^-1) |",
        "| SkipInit, 1 | not trainable | not trainable |",
        "| sum / sqrt(2) | 98.0 (2^-1) | not trainable |",
        "| FixUp | 98.0 (2^-1) | 98.0 (2^-1) |",
    ]
    config, overrides = config_and_sweep("wide_resnet_batch_size", None)
    few = [run for run in overrides if run["seed"] < 2 and run[RATE] in (0.25, 0.5)
           and run["batch_size"] in (64, 512)]
    lines = table.markdown(make_table(
        config, few, lambda cell: 64 / cell.config["batch_size"] - 0.01 * cell.config["seed"]),
        best_k=1)
    assert lines == [
        "|  | batch 64 | batch 512 |",
        "|---|---|---|",
        *(f"| {name}, WRN 16-4 | 100.0 (2^-2) | not trainable |" for name in (
            "BN", "SkipInit, 0", "SkipInit, 0, regularized", "no norm")),
    ]


def test_claims_of_batch_sizes_hold_for_what_they_describe_and_for_nothing_else():
    ceilings = {"bn": (2**-4, 2**-1, 2**-1, 2**-1), "skipinit": (2**-5, 2**-3, 2**-2, 2**-1)}

    def accuracy(cell, drift=0.0, shift=1.0):
        block = cell.config["network"]["name"].split("_")[0]
        batch, rate = cell.config["batch_size"], cell.config["optimizer"]["learning_rate"]
        if rate > shift * ceilings[block][(8, 32, 128, 512).index(batch)]:
            return None
        return 0.97 + drift * np.log2(batch / 8) / 6

    config, overrides = config_and_sweep("digits_batch_size", None)
    found = list(claims.batch_sizes(make_table(config, overrides, accuracy)))
    assert len(found) == 7 and all(claim.holds for claim in found)
    assert found[4].measured == "8" and found[5].measured == "0.0625, 0.5, 0.5, 0.5"
    drifting = make_table(config, overrides, lambda cell: accuracy(cell, drift=-0.03))
    assert [claim.holds for claim in claims.batch_sizes(drifting)] == [False] * 4 + [True] * 3
    ceilings["skipinit"] = (2**-4, 2**-3, 2**-3, 2**-1)
    ceilings["bn"] = (2**-5, 2**-1, 2**-1, 2**-1)
    assert [claim.holds for claim in claims.batch_sizes(
        make_table(config, overrides, accuracy))] == [True] * 4 + [False, False, True]


@pytest.mark.parametrize("name, delay", [("skipinit_mlp", 0), ("skipinit_resnet_digits", 1)])
def test_branches_begin_to_learn_a_step_after_their_gains(name, delay):
    # A classifier that starts as 0 lets no gradient through to the gains in the first step.
    config = default_config("classification")
    config.network.name, config.dataset.name = name, "digits"
    if name == "skipinit_resnet_digits":
        config.network.update(widths=(8, 16), depths=(1, 2))
    else:
        config.network.update(width=16, num_blocks=3)
    assert (nets.defaults(name).get("classifier_init_std") == 0.0) == bool(delay)
    config.batch_size, config.evaluation_batch_size = 32, 360
    config.optimizer.weight_decay = 0.0
    config.schedule.name, config.schedule.final_fraction = "constant", 1.0
    config.schedule.warmup_epochs = 0.0
    config.num_steps = 4
    experiment = tasks.create(check_config(config, 1))
    programs = loop.map_task(experiment.task, mesh.make_mesh(devices=jax.devices()[:1]))
    state = loop.initialize(programs, experiment, 0)
    batches = experiment.train_batches(0)
    learned = []
    before = jax.device_get(state.task.params)
    for _ in range(delay + 2):
        state, _ = programs.step(state, next(batches))
        after = jax.device_get(state.task.params)
        gains, weights = [], []
        for module, values in after.items():
            for key, value in values.items():
                if key == "skip_gain":
                    gains.append(np.all(value != 0.0))
                elif "block" in module and "shortcut" not in module and key == "w":
                    weights.append(np.any(value != before[module][key]))
        assert len(set(gains)) == len(set(weights)) == 1
        learned.append((gains[0], weights[0]))
    assert learned == [(False, False)] * delay + [(True, False), (True, True)]
