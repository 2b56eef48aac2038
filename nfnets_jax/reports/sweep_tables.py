"""A sweep as it is reported: its scores, how its groups are arranged, its tables in words."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nfnets_jax.analysis import rate_scaling, scoring

BATCH_SIZE = "batch_size"
BUDGETS = ("num_epochs", "num_steps", "num_examples")
NOTHING = "–"
# Longer than any list that is read; all failures are in runs.csv.
_MOST_FAILURES = 200
Rows = list[dict[str, Any]]


class Study(NamedTuple):
    """What the tables and figures of a report are drawn from.

    Attributes:
      table: `sweeps.table.Table`.
      scores: by the metric that was selected on.
      train_scores: by the final training loss; None if there is none or it was selected on.
      x_field: path of the field on the horizontal axis; None if only learning rate and seed vary.
      x_values: its values, in order.
      lines: (the other varied fields, groups by increasing x).
      scalings: for each line the fits with a free slope and with slope 1, None where the x axis is
        not the batch size or there are too few.
    """

    table: Any
    scores: scoring.Scores
    train_scores: scoring.Scores | None
    x_field: str | None
    x_values: list
    lines: list[tuple[dict[str, Any], list[scoring.Group]]]
    scalings: list[tuple[rate_scaling.Scaling | None, rate_scaling.Scaling | None]]

    @property
    def is_tuned(self) -> bool:
        """Whether there is more than one learning rate to choose from."""
        return any(len(group.cells) > 1 for group in self.scores.groups)

    def name(self, path: str) -> str:
        """What a field is called: its last part, if no other varied field ends alike."""
        alike = [other for other in self.table.varied if other != path and _short(other) ==
                 _short(path)]
        return path if alike else _short(path)

    def describe(self, fields: Mapping[str, Any]) -> str:
        """Fields as the label of a line."""
        return ", ".join(f"{self.name(path)} {format_value(v)}" for path, v in fields.items())


def create_study(table, select_on: str, best_k: int | None, num_classes: int | None) -> Study:
    """Scores a sweep and arranges its groups; raises what `scoring.score` raises."""
    scores = scoring.score(table, select_on, best_k, num_classes)
    train = "train_loss"
    train_scores = None
    if train in scoring.metrics(table) and scores.metric != train:
        train_scores = scoring.score(table, train, best_k, num_classes)
    x_field = _choose_x(table, scores)
    x_values = list(dict.fromkeys(g.fields.get(x_field) for g in scores.groups))
    if all(map(is_number, x_values)):
        x_values.sort()
    found = [(others, sorted(groups, key=lambda g: x_values.index(g.fields.get(x_field))))
             for others, groups in scoring.lines(scores.groups, x_field)]
    scalings = [tuple(rate_scaling.fit_scaling(scores, groups, slope) for slope in (None, 1.0))
                if x_field == BATCH_SIZE and groups[0].batch_size else (None, None)
                for _, groups in found]
    return Study(table, scores, train_scores, x_field, x_values, found, scalings)


def is_number(value: Any) -> bool:
    """Whether a value can be placed on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_value(value: Any) -> str:
    """A field or a number, with 4 significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, float):
        return "∞" if value == math.inf else f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def is_share(metric: str) -> bool:
    """Whether a metric is shown in percent."""
    return metric.endswith("accuracy")


def name_metric(metric: str) -> str:
    """A metric as a heading, with its unit."""
    return metric.replace("_", " ") + (" (%)" if is_share(metric) else "")


def format_metric(metric: str, value: float | None, error: float | None = None) -> str:
    """A metric, in percent if it is an accuracy, and its standard error."""
    if value is None or math.isnan(value):
        return NOTHING
    if is_share(metric):
        text = f"{100 * value:.2f}"
        return text if error is None or math.isnan(error) else f"{text} ± {100 * error:.2f}"
    text = format_value(float(value))
    return text if error is None or math.isnan(error) else f"{text} ± {error:.2g}"


def optima(of: Study) -> Rows:
    """One row for each group: heading -> text. Columns without any content are left out."""
    metric, rows = of.scores.metric, []
    for others, groups in of.lines:
        for group in groups:
            x = {} if of.x_field is None else {of.x_field: group.fields[of.x_field]}
            row = {of.name(path): format_value(value) for path, value in {**others, **x}.items()}
            best = group.optimum
            rate = best and best.learning_rate
            row["best learning rate" if of.is_tuned else "learning rate"] = format_value(rate)
            row["within 1 SE"] = NOTHING if rate is None or len(group.cells) == 1 else " to ".join(
                map(format_value, dict.fromkeys(group.interval)))
            row["edge of the grid"] = group.edge or NOTHING
            row["temperature"] = format_value(rate and group.temperature(rate))
            row["effective rate"] = format_value(rate and group.effective_rate(rate))
            k = of.scores.best_k
            row[name_metric(metric) + (f", best {k}" if k else "")] = (
                format_metric(metric, best.score, best.standard_error) if best else NOTHING)
            if k:
                row["plain mean"] = NOTHING if best is None else format_metric(
                    metric, best.mean, best.mean_standard_error)
            if of.train_scores is not None:
                row["train loss"] = format_metric("train_loss", *scoring.mean_and_error(
                    best.chosen if best else (), "train_loss"))
            row["runs there"] = count_statuses(best.rows) if best else NOTHING
            row["runs of the group"] = count_statuses(r for c in group.cells for r in c.rows)
            rows.append(row)
    return _without_empty(rows)


def scaling(of: Study) -> Rows:
    """The fits of the best learning rate against the batch size: heading -> text."""
    rows = []
    for (others, _), fits in zip(of.lines, of.scalings, strict=True):
        for kind, fitted in zip(("free", "fixed"), fits, strict=True):
            if fitted is not None:
                plateau, batch = 2.0**fitted.fit.plateau, 2.0**fitted.fit.break_at
                rows.append({
                    **{of.name(path): format_value(value) for path, value in others.items()},
                    "slope is": kind,
                    "slope s": _with_error(float(fitted.fit.slope),
                                           fitted.slope_error if kind == "free" else math.nan),
                    "plateau": format_value(float(plateau)),
                    "its log2": _with_error(float(fitted.fit.plateau), fitted.plateau_error),
                    "break at batch size": format_value(float(batch)),
                    "log2 of that": _with_error(float(fitted.fit.break_at), fitted.break_error),
                    "RMS residual (log2)": f"{fitted.fit.residual:.2g}",
                })
    return _without_empty(rows)


def failures(of: Study) -> tuple[Rows, int]:
    """Runs that crashed, diverged or are dead, heading -> text, and how many there are in all."""
    order = ("crashed", "diverged", "dead")
    found = sorted((row for row in of.table.rows if row["status"] in order),
                   key=lambda row: order.index(row["status"]))
    rows = [{"status": row["status"], "cell": row["cell"], **_fields(of, row),
             "diverged at step": format_value(row.get("diverged_at")),
             "error": row.get("error") or NOTHING} for row in found[:_MOST_FAILURES]]
    return _without_empty(rows), len(found)


def runs(of: Study) -> Rows:
    """Every run, heading -> text: the varied fields, what became of it, its final metrics."""
    metrics = [name for name in scoring.metrics(of.table)
               if name.endswith(("_accuracy", "_loss")) or name == of.scores.metric]
    return [{**_fields(of, row), "status": row["status"], "steps": format_value(row.get("steps")),
             **{name_metric(name): format_metric(name, row.get(name)) for name in metrics},
             "cell": row["cell"][:8]} for row in of.table.rows]


def headline(of: Study) -> dict[str, str]:
    """What the base config says about the study, and which values are varied."""
    base, varied = of.table.base, of.table.varied

    def say(path):
        if path in varied:
            values = dict.fromkeys(format_value(row[path]) for row in of.table.rows)
            return (f"varied: {', '.join(values)}" if len(values) <= 12 else
                    f"varied: {next(iter(values))} to {next(reversed(values))}, "
                    f"{len(values)} values")
        level = base
        for key in path.split("."):
            level = level.get(key) if isinstance(level, Mapping) else None
        return None if level is None else format_value(level)

    schedule = [f"{key} {say(f'schedule.{key}')}".replace("_", " ")
                for key in base.get("schedule", {}) if key != "name"
                if say(f"schedule.{key}") is not None]
    budget = [f"{say(path)} {path.removeprefix('num_')}" for path in BUDGETS if say(path)]
    said = {"task": say("task"), "network": say("network.name"), "data set": say("dataset.name"),
            "budget": ", ".join(budget), "batch size": say(BATCH_SIZE),
            "schedule": "; ".join([say("schedule.name") or "", *schedule]).strip("; ")}
    shown = {"task", "network.name", "dataset.name", *BUDGETS, BATCH_SIZE}
    said |= {of.name(path): say(path) for path in varied
             if path not in shown and not path.startswith("schedule.")}
    for path in ("optimizer.learning_rate", "optimizer.momentum", "optimizer.weight_decay"):
        said.setdefault(of.name(path), say(path))
    return {name: text for name, text in said.items() if text}


def rule(of: Study) -> str:
    """How the best learning rates were chosen, in sentences."""
    metric, k = of.scores.metric, of.scores.best_k
    most = max(len(cell.rows) for group in of.scores.groups for cell in group.cells)
    kind = "largest" if of.scores.larger_is_better else "smallest"
    if most == 1:
        sentences = [f"The best learning rate has the {kind} {metric}, of one run each."]
    else:
        seeds = f"the best {k} of {most} seeds" if k else f"all {most} seeds"
        sentences = [
            f"The best learning rate has the {kind} mean {metric} of {seeds}.",
            f"A learning rate fails where fewer than {k or most} of its runs survive.",
            "Within 1 SE: no worse than the best by more than the standard error of the best "
            "one's runs. ± is a standard error."]
    return " ".join(sentences)


def count_statuses(rows) -> str:
    """How many runs have which status, in words."""
    counts = Counter(row["status"] for row in rows)
    return ", ".join(f"{counts[status]} {status}" for status in scoring.STATUSES if counts[status])


def align(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of texts as lines, in aligned columns."""
    texts = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip()
                     for line in texts)


def _choose_x(table, scores) -> str | None:
    paths = list(scores.groups[0].fields)
    if BATCH_SIZE in paths:
        return BATCH_SIZE
    values = {path: {repr(g.fields[path]): g.fields[path] for g in scores.groups}.values()
              for path in paths}
    numeric = [path for path in paths if all(map(is_number, values[path]))]
    if numeric:
        return max(numeric, key=lambda path: len(values[path]))
    return paths[0] if paths else None


def _short(path: str) -> str:
    # 'network.name' is the network.
    parent, _, name = path.rpartition(".")
    return (parent.rpartition(".")[2] if name == "name" and parent else name).replace("_", " ")


def _fields(of: Study, row) -> dict[str, str]:
    return {of.name(path): format_value(row[path]) for path in of.table.varied}


def _with_error(value: float, error: float) -> str:
    if math.isnan(value):
        return NOTHING
    return f"{value:.2f}" if math.isnan(error) else f"{value:.2f} ± {error:.2f}"


def _without_empty(rows: Rows) -> Rows:
    kept = [name for name in (rows[0] if rows else ()) if any(row[name] != NOTHING for row in rows)]
    return [{name: row[name] for name in kept} for row in rows]
