"""The metrics file survives interruptions."""

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nfnets_jax.training.metrics import MetricsWriter, mean_of, read_metrics


def steps(records):
    return [record["step"] for record in records]


def test_resume_drops_what_lies_past_the_step_and_lines_cut_off(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (10, 20, 30):
        writer.write(step, "train", {"loss": step / 7})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 40, "kind": "tr\x00\xff')
    assert steps(read_metrics(tmp_path / "metrics.jsonl")) == [10, 20, 30]
    writer = MetricsWriter(tmp_path, resume_step=20)
    writer.write(25, "train", {"loss": 1.0})
    writer.close()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert steps(records) == [10, 20, 25]
    assert records[0] == {"step": 10, "kind": "train", "loss": 10 / 7}


def test_a_run_that_starts_again_leaves_no_point_twice_on_the_board(tmp_path):
    for last in (20, 30):
        writer = MetricsWriter(tmp_path, resume_step=0)
        for step in range(10, last + 1, 10):
            writer.write(step, "train", {"loss": 1.0})
        writer.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [10, 20, 30]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_mean_of_averages_entry_by_entry():
    assert mean_of([{"a": 1, "b": 0.5}, {"a": 3, "b": 1.5}]) == {"a": 2, "b": 1}
    assert json.dumps(mean_of([{"a": 1}]))
