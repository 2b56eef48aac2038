"""What shares a program, what a cell is called, and which sweeps are refused."""

import pytest

from nfnets_jax import sweeps
from nfnets_jax.config import ConfigError, default_config
from nfnets_jax.sweeps import plan as plan_lib


def base():
    config = default_config("classification")
    config.network.name = "mlp"
    config.num_epochs = 2.0
    config.schedule.warmup_epochs = 0.0
    return config


def test_product_zip_and_powers():
    assert sweeps.product({"a": (1, 2), "b": (3,)}, [{"c": 4, "d": 5}, {"c": 6, "d": 7}]) == [
        {"a": 1, "b": 3, "c": 4, "d": 5}, {"a": 1, "b": 3, "c": 6, "d": 7},
        {"a": 2, "b": 3, "c": 4, "d": 5}, {"a": 2, "b": 3, "c": 6, "d": 7}]
    assert sweeps.zipped({"a": (1, 2), "b": (3, 4)}) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    with pytest.raises(ValueError, match="a has 2, b has 1"):
        sweeps.zipped({"a": (1, 2), "b": (3,)})
    assert sweeps.powers(2, -2, 1) == (0.25, 0.5, 1.0, 2.0)
    assert sweeps.powers(2, 0, 1, per_step=2) == pytest.approx((1, 2**0.5, 2))


def test_seeds_and_traced_scalars_share_a_program_and_shapes_do_not():
    plan = plan_lib.make_plan(base(), sweeps.product(
        {"batch_size": (32, 64)}, {"optimizer.learning_rate": (0.1, 0.2)},
        {"optimizer.momentum": (0.0, 0.9)}, {"label_smoothing": (0.0, 0.1)}, {"seed": range(3)}))
    assert [len(program.cells) for program in plan.programs] == [24, 24]
    assert plan.varied == ("batch_size", "optimizer.learning_rate", "optimizer.momentum",
                           "label_smoothing", "seed")
    assert [cell.config["seed"] for cell in plan.programs[1].cells[:4]] == [0, 1, 2, 0]


def test_clipping_is_another_program_only_where_it_is_off():
    plan = plan_lib.make_plan(base(), [
        {"optimizer.agc_clipping": value} for value in (0.0, 0.01, 0.02)])
    assert [len(program.cells) for program in plan.programs] == [1, 2]


def test_a_cell_is_the_same_in_whatever_sweep_and_however_it_is_written():
    small = plan_lib.make_plan(base(), sweeps.product({"seed": (0, 1)}))
    config = base()
    config.log_every = 7
    config.dataset.loader_threads = 3
    large = plan_lib.make_plan(config, sweeps.product(
        {"batch_size": (1024, 512)}, {"seed": (1, 2, 0)}))
    assert {cell.key for cell in small.cells} < {cell.key for cell in large.cells}
    config.num_epochs = 3.0
    other = plan_lib.make_plan(config, sweeps.product({"seed": (0, 1)}))
    assert not {cell.key for cell in small.cells} & {cell.key for cell in other.cells}


def test_equal_runs_are_one_cell():
    plan = plan_lib.make_plan(base(), [{"seed": 0}, {"seed": 0}, {"batch_size": 1024}])
    assert len(plan.cells) == 1 and plan.num_given == 3


def test_chunks_are_whole_populations_of_one_size():
    plan = plan_lib.make_plan(base(), sweeps.product({"batch_size": (32, 64)}, {"seed": range(10)}))
    chunks = plan_lib.make_chunks(plan, largest=4, multiple=2)
    assert [len(chunk.cells) for chunk in chunks] == [4, 4, 2, 4, 4, 2]
    assert {chunk.size for chunk in chunks} == {4}
    assert len({chunk.key for chunk in chunks}) == 6
    whole = plan_lib.make_chunks(plan, largest=256, multiple=16)
    assert [(len(chunk.cells), chunk.size) for chunk in whole] == [(10, 16), (10, 16)]


@pytest.mark.parametrize(("overrides", "words"), [
    ([], "returned no runs"),
    ([3], "entry 0 of get_sweep"),
    ([{"seed": 0}, {"optimizer.lr": 1.0}], r"run 1 of the sweep \(optimizer.lr=1\): optimizer.lr: "
                                           "no such field"),
    ([{"optimiser.learning_rate": 1.0}], "optimiser: no such field; there are"),
    ([{"optimizer": 1.0}], "optimizer: holds the fields"),
    ([{"seed.x": 1}], "seed: no such field"),
    ([{"batch_size": -1}], r"run 0 of the sweep \(batch_size=-1\): batch_size=-1: must be"),
    ([{"network.name": "mpl"}], "mlp"),
])
def test_wrong_sweeps_are_refused_with_the_run_and_the_field(overrides, words):
    with pytest.raises(ConfigError, match=words):
        plan_lib.make_plan(base(), overrides)
