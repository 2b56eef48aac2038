import csv
import html.parser
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from nfnets_jax.analysis import scoring
from nfnets_jax.reports import sweep, sweep_tables
from nfnets_jax.sweeps.table import Table
from tests.reports import sweeps
from tests.training import programs

CHROMIUM = shutil.which("chromium")


class Page(html.parser.HTMLParser):
    """The tables of a page, as lists of rows of texts."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.is_cell = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.is_cell = tag in ("td", "th")

    def handle_data(self, data):
        if self.is_cell:
            self.tables[-1][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of 3 batch sizes x 4 learning rates x 3 seeds x 2 momenta, with its table."""
    workdir = tmp_path_factory.mktemp("sweep")
    table = sweeps.batch_sizes((64, 256, 1024), (0.5, 4.0, 8.0, 32.0), range(3), (0.0, 0.5))
    sweeps.write_curves(workdir, table)
    page = sweep.write(workdir, table, workdir / "report", sweep.Options(best_k=2))
    assert page == workdir / "report" / "index.html"
    return table, page


def read_csv(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_page_stands_alone(report):
    _, page = report
    text = page.read_text()
    assert not re.search(r"https?://", text)
    assert not re.findall(r"<link(?![^>]*href=\"data:)|<script src|<iframe|@import|url\(", text)
    assert set(re.findall(r'src="(\w+):', text)) == {"data"}
    assert text.count("<img ") == 6
    assert {path.stem for path in (page.parent / "figures").glob("*.png")} == {
        path.stem for path in (page.parent / "figures").glob("*.csv")} == {
        "test_accuracy_at_best_learning_rate", "train_loss_at_best_learning_rate", "heat_map",
        "best_learning_rate", "temperature", "curves"}
    assert "first drop at half" in text and "Selected on the test set" in text


def test_the_tables_hold_the_numbers(report):
    table, page = report
    optima, scaling, failures, runs = Page(page.read_text()).tables
    heading, *rows = optima
    assert len(rows) == 6
    by_name = [dict(zip(heading, row, strict=True)) for row in rows]
    for row in by_name:
        m, b, rate = float(row["momentum"]), int(row["batch size"]), float(
            row["best learning rate"])
        values = sorted(r["test_accuracy"] for r in table.rows if r["batch_size"] == b
                        and r["optimizer.momentum"] == m and r["optimizer.learning_rate"] == rate)
        error = 100 * np.std(values[-2:], ddof=1) / math.sqrt(2)
        assert row["test accuracy (%), best 2"] == (
            f"{100 * np.mean(values[-2:]):.2f} ± {error:.2f}")
        assert float(row["plain mean"].split(" ±")[0]) == pytest.approx(
            100 * np.mean(values), abs=0.0051)
        assert float(row["temperature"]) == pytest.approx(rate / b / (1 - m), rel=1e-3)
        assert float(row["effective rate"]) == pytest.approx(rate / (1 - m), rel=1e-3)
    # Best at the effective rate B / 64 up to 8, of those on the grid, in either momentum.
    assert [(r["momentum"], r["batch size"], r["best learning rate"]) for r in by_name] == [
        ("0", "64", "0.5"), ("0", "256", "4"), ("0", "1024", "8"),
        ("0.5", "64", "0.5"), ("0.5", "256", "4"), ("0.5", "1024", "4")]
    assert [r["edge of the grid"] for r in by_name] == ["low", "–", "–", "low", "–", "–"]
    assert len(scaling) == 1 + 4
    assert len(failures) - 1 == sum(r["status"] != "done" for r in table.rows)
    assert failures[1][:2] == ["diverged", next(
        r["cell"] for r in table.rows if r["status"] == "diverged")]
    assert len(runs) - 1 == len(table.rows) == 72
    assert runs[0][:5] == ["batch size", "learning rate", "momentum", "seed", "status"]
    first = dict(zip(runs[0], runs[1], strict=True))
    assert first["test accuracy (%)"] == f"{100 * table.rows[0]['test_accuracy']:.2f}"


def test_csv_files_hold_the_numbers_of_the_figures(report):
    table, page = report
    scores = scoring.score(table, best_k=2, num_classes=10)
    folder = page.parent / "figures"
    groups = {(g.fields["optimizer.momentum"], g.batch_size): g for g in scores.groups}
    at_best = read_csv(folder / "test_accuracy_at_best_learning_rate.csv")
    rates = read_csv(folder / "best_learning_rate.csv")
    losses = read_csv(folder / "train_loss_at_best_learning_rate.csv")
    assert len(at_best) == len(rates) == len(losses) == 6
    for row, rate, loss in zip(at_best, rates, losses, strict=True):
        group = groups[float(row["optimizer.momentum"]), int(row["batch_size"])]
        best = group.optimum
        assert float(row["test_accuracy"]) == pytest.approx(best.score, rel=1e-12)
        assert float(row["standard_error"]) == pytest.approx(best.standard_error, rel=1e-9)
        assert float(rate["effective_rate"]) == group.effective_rate(best.learning_rate)
        assert (float(rate["low"]), float(rate["high"])) == tuple(
            map(group.effective_rate, group.interval))
        assert float(loss["train_loss"]) == pytest.approx(
            np.mean([r["train_loss"] for r in best.chosen]), rel=1e-12)
    cells = read_csv(folder / "heat_map.csv")
    assert len(cells) == 24
    assert {cell["state"] for cell in cells if float(cell["learning_rate"]) == 32} == {"failed"}
    assert sum(int(cell["best"]) for cell in cells) == 6
    assert sum(int(cell["diverged"]) for cell in cells) == sum(
        r["status"] == "diverged" for r in table.rows)
    for row in read_csv(folder / "temperature.csv"):
        expected = float(row["learning_rate"]) / int(row["batch_size"]) / (
            1 - float(row["optimizer.momentum"]))
        assert float(row["temperature"]) == pytest.approx(expected, rel=1e-12)
    rows = read_csv(page.parent / "runs.csv")
    assert [float(r["test_accuracy"]) for r in rows if r["test_accuracy"]] == [
        r["test_accuracy"] for r in table.rows if r["test_accuracy"] is not None]
    shown = {r["cell"]: r["shown_as"] for r in read_csv(folder / "curves.csv")}
    statuses = {r["cell"]: r["status"] for r in table.rows}
    assert set(shown.values()) == {"best", "median", "diverged"}
    assert all((statuses[cell] == "diverged") == (kind == "diverged")
               for cell, kind in shown.items())


def test_failed_cells_of_a_heat_map_are_grey(tmp_path):
    table = sweeps.batch_sizes((64, 256), (1.0, 32.0), range(2))
    page = sweep.write(tmp_path, table, tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    pixels = np.asarray(Image.open(tmp_path / "figures" / "heat_map.png").convert("RGB"), int)
    # A column of pixels through the cells of the first batch size.
    height, width, _ = pixels.shape
    column = pixels[:, width // 4]
    grey = np.all(np.abs(column - 191) <= 2, axis=-1)
    colored = np.ptp(column, axis=-1) > 60
    assert grey.sum() > 0.1 * height and colored.sum() > 0.1 * height
    assert np.flatnonzero(grey).mean() < np.flatnonzero(colored).mean()  # 32 is above 1


def test_ten_thousand_runs_stay_below_five_megabytes(tmp_path):
    rates = tuple(2.0**i for i in np.arange(-6, 6.5, 0.5))
    table = sweeps.batch_sizes(rates=rates, seeds=range(50))
    assert len(table.rows) == 10_000
    page = sweep.write(tmp_path, table, tmp_path / "report", sweep.Options(best_k=40))
    assert page.stat().st_size < 5e6
    assert len(Page(page.read_text()).tables[-1]) == 10_001


def depth_sweep(values, field):
    rows = []
    for value in values:
        for rate in (0.1, 0.2):
            for seed in (0, 1):
                rows.append({
                    "cell": f"{len(rows):08x}", field: value, "optimizer.learning_rate": rate,
                    "seed": seed, "status": "done", "test_loss": rate * len(str(value)) + seed})
    return Table(rows, (field, "optimizer.learning_rate", "seed"), {"task": "norm_change"})


@pytest.mark.parametrize("values, field, drawn", [
    ((8, 16, 100), "network.num_blocks", {"test_loss_at_best_learning_rate", "heat_map",
                                          "best_learning_rate"}),
    (("bn", "plain<b>"), "network.name", {"test_loss_at_best_learning_rate", "heat_map"}),
    ((1.0, 4.0), "num_epochs", {"test_loss_at_best_learning_rate", "heat_map",
                                "best_learning_rate_by_num_epochs"}),
    ((3,), "network.num_blocks", {"test_loss_at_best_learning_rate", "heat_map",
                                  "best_learning_rate"}),
])
def test_figures_follow_the_fields_that_are_varied(tmp_path, values, field, drawn):
    page = sweep.write(tmp_path, depth_sweep(values, field), tmp_path / "report")
    assert {path.stem for path in (page.parent / "figures").glob("*.png")} == drawn
    rows = read_csv(page.parent / "figures" / "test_loss_at_best_learning_rate.csv")
    assert [row[field] for row in rows] == list(map(str, values))
    assert [float(row["test_loss"]) for row in rows] == pytest.approx(
        [0.1 * len(str(value)) + 0.5 for value in values])
    assert "<b>" not in page.read_text()
    table = Page(page.read_text()).tables[0]
    assert table[0][-1] == "runs of the group" and table[1][-1] == "4 done"


def test_without_other_fields_the_score_is_drawn_against_the_learning_rate(tmp_path):
    table = Table(depth_sweep((8,), "x").rows, ("optimizer.learning_rate", "seed"), {})
    page = sweep.write(tmp_path, table, tmp_path)
    file, = (page.parent / "figures").glob("*.csv")
    assert file.stem == "test_loss_by_learning_rate"
    assert [float(row["score"]) for row in read_csv(file)] == pytest.approx([0.6, 0.7])


def test_two_fields_of_one_name_are_told_apart():
    rows = [{"a.width": a, "b.width": b, "status": "done", "test_loss": a / b}
            for a in (1, 2) for b in (1, 2)]
    of = sweep_tables.create_study(Table(rows, ("a.width", "b.width"), {}), "test", None, None)
    assert list(sweep_tables.optima(of)[0])[:2] == ["b.width", "a.width"]


def test_the_summary_is_a_table_in_text():
    table = sweeps.batch_sizes((64, 128, 256), (1.0, 2.0, 4.0), range(3), noise=0.0)
    text = sweep.summarize(table, sweep.Options(best_k=2))
    assert "the best 2 of 3 seeds" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["64", "1"] in [line[:2] for line in lines]
    assert ["256", "4"] in [line[:2] for line in lines]
    assert any(line[:4] == ["free", "1.00", "±", "0.00"] for line in lines)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_page_and_sorts_its_tables(report, tmp_path):
    _, page = report
    clicks = """
<script>
const runs = [...document.querySelectorAll("table")].at(-1);
const column = name => [...runs.tHead.rows[0].cells].findIndex(c => c.textContent === name);
const texts = name => [...runs.tBodies[0].rows].map(r => r.cells[column(name)].textContent.trim());
const result = {complete: [...document.images].every(i => i.complete && i.naturalWidth > 0)};
for (const name of ["test accuracy (%)", "status", "cell"]) {
  const heading = runs.tHead.rows[0].cells[column(name)];
  heading.click();
  result[name] = [texts(name)];
  heading.click();
  result[name].push(texts(name), heading.ariaSort);
}
document.title = JSON.stringify(result);
</script></body>"""
    driven = tmp_path / "driven.html"
    driven.write_text(page.read_text().replace("</body>", clicks))
    out = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
         "--dump-dom", driven.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in out.stderr, out.stderr
    result = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", out.stdout).group(1)))
    assert result["complete"]
    up, down, direction = result["test accuracy (%)"]
    numbers = [float(text) for text in up if text != "–"]
    assert numbers == sorted(numbers) and len(set(numbers)) > 10
    assert all(text == "–" for text in up[len(numbers):] + down[len(numbers):])
    assert [float(text) for text in down[:len(numbers)]] == numbers[::-1]
    assert direction == "descending"
    for name in ("status", "cell"):
        assert result[name][0] == sorted(result[name][0]) == result[name][1][::-1]


@pytest.fixture
def sweep_folder(tmp_path):
    table = sweeps.batch_sizes((64, 256), (1.0, 4.0), range(3))
    cells = [{name: row[name] for name in ("cell", "program", *table.varied)}
             for row in table.rows]
    (tmp_path / "sweep.json").write_text(json.dumps(
        {"varied": table.varied, "base": table.base, "cells": cells}))
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table.rows[:-1]))
    return tmp_path


def report_program(*flags):
    return programs.finish(programs.Program("report", ["sweep", *flags]))


def test_the_program_prints_the_optima_and_writes_the_page(sweep_folder):
    status, output = report_program(
        f"--workdir={sweep_folder}", "--best_k=2", "--select_on=train_loss")
    assert status == 0, output
    lines = [line.split() for line in output.splitlines()]
    # The made-up training loss falls with the learning rate; one run of the last cell is missing.
    assert [line[:2] for line in lines if line[:1] in (["64"], ["256"])] == [["64", "4"],
                                                                           ["256", "4"]]
    assert lines[-1] == ["wrote", str(sweep_folder / "report" / "index.html")]
    assert "1 missing" in output
    assert "Selected on the test set" not in (sweep_folder / "report" / "index.html").read_text()


@pytest.mark.parametrize("flags, message", [
    (["--best_k=4"], "error: --best_k=4: there are 3 seeds; use 1 to 3"),
    (["--select_on=valid"], "error: --select_on='valid': no run has it; there are train_loss"),
    (["--output=page.png"], "error: --output=page.png: the report of a sweep is a folder"),
    (["--workdir=nowhere"], "error: --workdir=nowhere: holds no sweep"),
])
def test_the_program_answers_wrong_flags_in_words(sweep_folder, flags, message):
    status, output = report_program(f"--workdir={sweep_folder}", *flags)
    assert status == 2 and output.startswith(message), output


def test_a_sweep_that_has_hardly_begun_has_a_page_too(tmp_path):
    table = sweeps.batch_sizes((64, 256), (1.0, 4.0), range(3))
    begun = [row if i == 0 else {name: row[name] for name in ("cell", "program", *table.varied)} |
             {"status": "missing"} for i, row in enumerate(table.rows)]
    page = sweep.write(tmp_path, table._replace(rows=begun), tmp_path / "report")
    optima, runs = Page(page.read_text()).tables
    assert [row[-1] for row in optima[1:]] == ["1 done, 5 missing", "6 missing"]
    assert {cell["state"] for cell in read_csv(tmp_path / "report/figures/heat_map.csv")} == {
        "unfinished"}
    first = table.rows[0]["test_accuracy"]
    assert runs[1][runs[0].index("test accuracy (%)")] == f"{100 * first:.2f}"
    with pytest.raises(ValueError, match="no run has ended with a metric yet"):
        sweep.write(tmp_path, table._replace(rows=begun[1:]), tmp_path / "report")


def test_base_learning_rates_have_no_temperature(tmp_path):
    table = sweeps.batch_sizes((64, 256), (1.0, 4.0), range(3))
    rate = "optimizer.learning_rate"
    rows = [{name.replace(rate, "optimizer.base_learning_rate"): value
             for name, value in row.items()} for row in table.rows]
    byol = Table(rows, ("batch_size", "optimizer.base_learning_rate", "seed"),
                 {"optimizer": {"momentum": 0.9}})
    page = sweep.write(tmp_path, byol, tmp_path / "report")
    assert "temperature" not in Page(page.read_text()).tables[0][0]
    assert not (tmp_path / "report" / "figures" / "temperature.png").exists()
