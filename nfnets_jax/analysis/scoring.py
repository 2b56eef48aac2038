"""Scores of a sweep: the best k of n seeds, the best learning rate, its interval.

The protocol is that of arXiv 2006.15081 as it was recalled: the mean of the best k of n runs scores
a learning rate, the largest mean is the optimum. The rule of the interval and those for failures
are choices of this library. Pure functions of a table of runs (`sweeps.table`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

STATUSES = ("done", "dead", "diverged", "crashed", "skipped", "missing")
ROLES = ("train", "valid", "test")
SEED = "seed"
# A base learning rate is one for each 256 examples of a batch.
RATE_FIELDS = ("optimizer.learning_rate", "learning_rate", "optimizer.base_learning_rate")
MOMENTUM_FIELDS = ("optimizer.momentum", "momentum")
BATCH_FIELDS = ("batch_size",)


class Cell(NamedTuple):
    """The runs with one learning rate of a group.

    Attributes:
      learning_rate: None if the config has none.
      state: 'scored'; 'failed' if fewer than k runs survived; 'skipped' or 'unfinished' if enough
        of them have not been run.
      score: mean of the best k; NaN unless scored.
      score_std: standard deviation of those k, with k - 1; NaN for one.
      mean: of all runs that ended, diverged ones with their score; NaN if none did.
      std: of the same.
      counts: status -> number of runs.
      rows: the runs, in the order of their seeds.
      values: [n] what each run scores; NaN for those that have not ended.
      chosen: the rows of the best k; empty unless scored.
    """

    learning_rate: float | None
    state: str
    score: float
    score_std: float
    mean: float
    std: float
    counts: dict[str, int]
    rows: tuple[Mapping[str, Any], ...]
    values: np.ndarray
    chosen: tuple[Mapping[str, Any], ...]

    @property
    def standard_error(self) -> float:
        """Of the score: over the k runs."""
        return self.score_std / math.sqrt(max(1, len(self.chosen)))

    @property
    def mean_standard_error(self) -> float:
        """Of the plain mean: over all runs that ended."""
        return self.std / math.sqrt(max(1, np.sum(~np.isnan(self.values))))


class Group(NamedTuple):
    """The runs that differ in learning rate and seed only.

    Attributes:
      fields: path -> value of the other fields that the sweep varies.
      cells: by increasing learning rate.
      best: index of the cell with the best score, the first of equals; None if none is scored.
      interval: smallest and largest learning rate whose score is within one standard error of the
        best, the standard error being that of the best cell's k runs.
      edge: 'low' or 'high' if a better learning rate may lie beyond that end of the grid: the best
        one is the last there, or all failed ('low'). None otherwise, and for a single one.
      batch_size: None if the config has none, or states its learning rate for each 256 examples.
      momentum: 0 if the config has none.
    """

    fields: dict[str, Any]
    cells: tuple[Cell, ...]
    best: int | None
    interval: tuple[float, float] | None
    edge: str | None
    batch_size: int | None
    momentum: float

    @property
    def optimum(self) -> Cell | None:
        """The cell with the best score."""
        return None if self.best is None else self.cells[self.best]

    def effective_rate(self, learning_rate: float) -> float:
        """eps / (1 - m): what a constant gradient moves the parameters by in a step."""
        return learning_rate / (1 - self.momentum)

    def temperature(self, learning_rate: float) -> float | None:
        """eps / (B (1 - m)), the scale of the gradient noise; None without a batch size."""
        return self.batch_size and self.effective_rate(learning_rate) / self.batch_size


class Scores(NamedTuple):
    """A scored sweep.

    Attributes:
      metric: what was scored, such as 'test_accuracy'.
      larger_is_better: whether its largest value is the best.
      best_k: how many seeds count; None for all of a cell.
      rate_field: path of the learning rate; None if the config has none.
      groups: in the order of the table.
    """

    metric: str
    larger_is_better: bool
    best_k: int | None
    rate_field: str | None
    groups: tuple[Group, ...]


def score(table, select_on: str = "test", best_k: int | None = None,
          num_classes: int | None = None) -> Scores:
    """Scores every learning rate of every group of a sweep.

    A diverged run scores chance (1 / classes) in accuracy and infinity in anything that is
    minimised; a dead one scores what was measured. Both are among the n.

    Args:
      table: `sweeps.table.Table`.
      select_on: 'test', 'valid' or 'train' for the accuracy of that split, or its loss where there
        is none; or the name of a metric.
      best_k: None for all seeds.
      num_classes: None scores a diverged run's accuracy 0.

    Raises:
      ValueError: if no run has the metric, or there are fewer than `best_k` seeds.
    """
    metric = selection_metric(table, select_on)
    grouped = _group(table)
    most = max(len(rows) for _, rates in grouped for rows in rates.values())
    if best_k is not None and not 1 <= best_k <= most:
        raise ValueError(f"best_k={best_k}: there are {most} seeds; use 1 to {most}")
    failure = _failure_score(metric, num_classes)
    rate_field = _find(table, RATE_FIELDS)
    groups = []
    for fields, rates in grouped:
        cells = tuple(_score_cell(rate, rows, metric, best_k, failure)
                      for rate, rows in sorted(rates.items(), key=lambda item: item[0] or 0.0))
        first = cells[0].rows[0]
        batch_size = _value(table, first, _find(table, BATCH_FIELDS))
        groups.append(Group(
            fields, cells, *_optimum(cells, larger_is_better(metric)),
            batch_size=None if rate_field == RATE_FIELDS[2] else batch_size,
            momentum=_value(table, first, _find(table, MOMENTUM_FIELDS)) or 0.0))
    return Scores(metric, larger_is_better(metric), best_k, rate_field, tuple(groups))


def larger_is_better(metric: str) -> bool:
    """True for accuracies; all else is minimised."""
    return metric.endswith("accuracy")


def metrics(table) -> list[str]:
    """The names of the final metrics that at least one run has."""
    return list(dict.fromkeys(
        name for row in table.rows for name, value in row.items()
        if value is not None and name not in table.varied and name.startswith(
            tuple(f"{role}_" for role in ROLES))))


def selection_metric(table, select_on: str) -> str:
    """The metric that a choice of a split, or of a metric, means.

    Raises:
      ValueError: if no run has it.
    """
    known = metrics(table)
    if select_on in known:
        return select_on
    if select_on in ROLES:
        of_role = [name for name in known if name.startswith(f"{select_on}_")]
        for name in (f"{select_on}_accuracy", f"{select_on}_loss", *of_role):
            if name in of_role:
                return name
    if not known:
        raise ValueError("no run has ended with a metric yet, so there is nothing to select on")
    raise ValueError(f"select_on={select_on!r}: no run has it; there are {', '.join(known)}")


def best_of(values: np.ndarray, k: int, larger: bool) -> np.ndarray:
    """The indices [..., k] of the best k along the last axis of [..., n], the best first."""
    return np.argsort(-values if larger else values, axis=-1, kind="stable")[..., :k]


def mean_and_error(rows: Iterable[Mapping[str, Any]], metric: str) -> tuple[float, float]:
    """Mean of a metric over the runs that have it, and its standard error; NaN where undefined."""
    values = [row[metric] for row in rows if row.get(metric) is not None]
    mean, std = _mean_and_std(np.array(values, np.float64))
    return mean, std / math.sqrt(max(1, len(values)))


def suggest_learning_rates(group: Group, count: int) -> list[float]:
    """Up to `count` learning rates beyond the edge on which the optimum lies, nearest first.

    They continue the grid by the ratio of its last two there. Empty if the optimum is inside.
    """
    rates = [cell.learning_rate for cell in group.cells]
    if group.edge == "high":
        last, before = rates[-1], rates[-2]
    elif group.edge == "low":
        last, before = rates[0], rates[1]
    else:
        return []
    if last <= 0 or before <= 0:
        return []
    return [last * (last / before) ** (i + 1) for i in range(count)]


def lines(groups: Sequence[Group], field: str) -> list[tuple[dict[str, Any], list[Group]]]:
    """Groups that differ in one field only, as (the other fields, groups), each in order."""
    found = {}
    for group in groups:
        others = {path: value for path, value in group.fields.items() if path != field}
        found.setdefault(repr(others), (others, []))[1].append(group)
    return list(found.values())


def _group(table) -> list[tuple[dict[str, Any], dict[float | None, list]]]:
    rate_field = _find(table, RATE_FIELDS)
    paths = [path for path in table.varied if path not in (SEED, rate_field)]
    found = {}
    for row in table.rows:
        fields = {path: row[path] for path in paths}
        rates = found.setdefault(repr(fields), (fields, {}))[1]
        rates.setdefault(_value(table, row, rate_field), []).append(row)
    for _, rates in found.values():
        for rows in rates.values():
            rows.sort(key=lambda row: row.get(SEED, 0))
    return list(found.values())


def _score_cell(rate, rows, metric, best_k, failure) -> Cell:
    k = len(rows) if best_k is None else best_k
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    ended = np.array([row["status"] in ("done", "dead", "diverged") for row in rows])
    # A run that ended without a finite value of this metric has diverged in it.
    survived = np.array([row["status"] in ("done", "dead") and row.get(metric) is not None
                         for row in rows])
    measured = np.array([row[metric] if ok else failure
                         for row, ok in zip(rows, survived, strict=True)], np.float64)
    values = np.where(ended, measured, np.nan)
    chosen, best, best_std = (), math.nan, math.nan
    possible = survived.sum() + np.sum(~ended)
    if survived.sum() >= k:
        state = "scored"
        among = np.flatnonzero(ended)
        picked = among[best_of(values[among], k, larger_is_better(metric))]
        chosen = tuple(rows[i] for i in picked)
        best, best_std = _mean_and_std(values[picked])
    elif possible < k:
        state = "failed"
    else:
        state = "skipped" if counts["skipped"] else "unfinished"
    mean, std = _mean_and_std(values[ended])
    return Cell(rate, state, best, best_std, mean, std, counts, tuple(rows), values, chosen)


def _optimum(cells, larger):
    scores = np.array([cell.score if larger else -cell.score for cell in cells])
    if np.all(np.isnan(scores)):
        failed = len(cells) > 1 and all(cell.state == "failed" for cell in cells)
        return None, None, "low" if failed else None
    best = int(np.nanargmax(scores))
    error = np.nan_to_num(cells[best].standard_error)
    within = [cell.learning_rate for cell, value in zip(cells, scores, strict=True)
              if value >= scores[best] - error]
    interval = None if cells[best].learning_rate is None else (within[0], within[-1])
    edge = None
    if len(cells) > 1 and best in (0, len(cells) - 1):
        edge = "low" if best == 0 else "high"
    return best, interval, edge


def _failure_score(metric, num_classes) -> float:
    if not larger_is_better(metric):
        return math.inf
    return 1 / num_classes if num_classes else 0.0


def _mean_and_std(values) -> tuple[float, float]:
    if not len(values):
        return math.nan, math.nan
    values = np.sort(values)  # so that the order of the runs does not change a sum's rounding
    mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan
    return mean, float(np.std(values, ddof=1))


def _find(table, paths) -> str | None:
    for path in paths:
        if path in table.varied or _value(table, {}, path) is not None:
            return path
    return None


def _value(table, row, path):
    if path is None or path in row:
        return None if path is None else row[path]
    value = table.base
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
