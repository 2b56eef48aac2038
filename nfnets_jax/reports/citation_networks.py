"""Citation networks of a run or of a sweep, beside the real one where it is replayed.

Shares are those of all runs of a setting together. In-degrees are those of the last checkpoint of a
run; a sweep keeps none, so that the network of the first seed of each setting is grown again, with
the same bits.
"""

import copy
import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.citations import metrics
from nfnets_jax.citations.trajectories import CATEGORIES
from nfnets_jax.reports import citations, sweep_tables
from nfnets_jax.reports.last_state import last_state
from nfnets_jax.sweeps import table as table_lib
from nfnets_jax.tasks import citation_arrivals, citation_growth
from nfnets_jax.training import loop
from nfnets_jax.training import workdir as workdir_lib

TASK = "citation_growth"
# The fields that a model reads, of those that not all models read.
OWN = {"ba": ("attractiveness",), "additive": ("fitness_exponent", "fitness_law"),
       "multiplicative": ("fitness_exponent", "fitness_law"),
       "lbm": ("fitness_exponent", "fitness_law", "gamma", "gamma_scale"),
       "lbm_g": ("fitness_exponent", "fitness_law", "gamma_scale", "skip", "sd")}
OF_SOME = frozenset(field for fields in OWN.values() for field in fields)
NICKNAMES = tuple(metrics.MERGED)[:-1]


class Network(NamedTuple):
    """The runs of a setting, or a real network.

    Attributes:
      counts: int [runs, 6], papers in each category.
      without_seeds: the same, of papers outside the seed network.
      in_degrees: int [N], of one run.
      law: `citation_growth.law_of`; None for models without.
      real: name of the network that is replayed; None for synthetic papers and for itself.
      left_out: what of the file is not in the network; None for synthetic papers.
    """

    counts: np.ndarray
    without_seeds: np.ndarray
    in_degrees: np.ndarray
    law: Callable[[np.ndarray], np.ndarray] | None = None
    real: str | None = None
    left_out: str | None = None

    def shares(self) -> metrics.Shares:
        """Of all runs together."""
        return metrics.shares_of_counts(self.counts.sum(axis=0))

    def deviations(self) -> np.ndarray:
        """[6], standard deviations of the shares between runs; NaN if there are not two."""
        totals = self.counts.sum(axis=1, keepdims=True)
        shares = (self.counts / np.maximum(totals, 1))[totals[:, 0] > 0]
        return shares.std(axis=0, ddof=1) if len(shares) > 1 else np.full(len(CATEGORIES), np.nan)


def collect(workdir: str | os.PathLike) -> dict[str, Network]:
    """The networks of a run or of a sweep, and the real ones behind them, by name.

    Raises:
      ValueError: if the task is another one, or if nothing is there yet.
      WorkdirError: if the folder holds neither.
    """
    workdir = Path(workdir)
    if (workdir / "sweep.json").exists():
        return _with_real(_of_sweep(table_lib.load(workdir)))
    config = config_lib.check_config(workdir_lib.read_config(workdir), device_count=1)
    _check_task(config)
    state = last_state(workdir, config).state
    if state.step == 0:
        raise ValueError("no paper has come yet")
    return _with_real({config["model"]: (config, _of_state(config, state))})


def _of_sweep(table: table_lib.Table) -> dict[str, tuple[dict, Network]]:
    _check_task(table.base)
    groups: dict[str, list[table_lib.Row]] = {}
    for row in table.rows:
        if row["status"] == "done":
            groups.setdefault(name_of(table, row), []).append(row)
    if not groups:
        raise ValueError("no run of the sweep is done yet")
    networks = {}
    for name, rows in groups.items():
        config = _config_of(table, rows[0])
        grown = _of_state(config, *grow_again(config, [config["seed"]]))
        networks[name] = config, grown._replace(
            counts=np.array([_counts_of(row, "") for row in rows]),
            without_seeds=np.array([_counts_of(row, "_without_seeds") for row in rows]))
    return networks


def name_of(table: table_lib.Table, row: Mapping[str, Any]) -> str:
    """The model of a run, and those of the varied fields that it reads, without the seed."""
    model = row.get("model", table.base["model"])
    fields = [path for path in table.varied if path not in ("model", "seed")
              and (path not in OF_SOME or path in OWN[model])]
    return ", ".join([model, *(f"{path.rpartition('.')[2].replace('_', ' ')} "
                               f"{sweep_tables.format_value(row[path])}" for path in fields)])


def grow_again(config: Mapping[str, Any], seeds: Iterable[int]
               ) -> Iterator[citation_growth.State]:
    """The ends of the runs of a checked config with these seeds, without their folders."""
    experiment = tasks.create(dict(config))
    functions = loop.run_functions(experiment.task)

    @jax.jit
    def run(seed, hyper):
        return jax.lax.fori_loop(0, experiment.total_steps,
                                 lambda _, state: functions.step(state, ())[0],
                                 functions.init(seed, hyper)).task

    hyper = {name: np.float32(value) for name, value in experiment.hyper.items()}
    for seed in seeds:
        yield jax.device_get(run(np.uint32(seed), hyper))


def rows(networks: Mapping[str, Network]) -> sweep_tables.Rows:
    """A table in words: shares in percent, and distances from the real network if there is one.

    L1 and Jensen-Shannon (in bits) are those of the six shares, KS that of the in-degrees.
    """
    any_real = any(network.real for network in networks.values())
    table = []
    for name, network in networks.items():
        shares = network.shares()
        row = {"network": name, "runs": str(len(network.counts)), "n_good": str(shares.num_good)}
        row |= {category: _percent(share) for category, share in zip(
            CATEGORIES, shares.all_six, strict=True)}
        row |= {nickname: _percent(share) for nickname, share in zip(
            NICKNAMES, shares.classified, strict=True)}
        if any_real:
            row |= {key: sweep_tables.format_value(round(value, 4))
                    for key, value in distances(networks, name).items()}
        table.append(row)
    return table


def distances(networks: Mapping[str, Network], name: str) -> dict[str, float]:
    """L1, Jensen-Shannon and KS of a network from its real one; NaN if it has none."""
    network = networks[name]
    if network.real is None:
        return dict.fromkeys(("L1", "JS", "KS"), float("nan"))
    real = networks[network.real]
    ours, theirs = network.shares().all_six, real.shares().all_six
    return {"L1": metrics.l1_distance(ours, theirs), "JS": metrics.jensen_shannon(ours, theirs),
            "KS": metrics.degree_distance(network.in_degrees, real.in_degrees)}


def remarks(networks: Mapping[str, Network]) -> list[str]:
    """What is empty, and what of the files is in no network."""
    found = [f"{name}: {network.shares().remark()}" for name, network in networks.items()
             if network.shares().remark()]
    return found + [f"{name}: {network.left_out}" for name, network in networks.items()
                    if network.left_out]


def draw(networks: Mapping[str, Network], directory: str | os.PathLike) -> list[Path]:
    """Draws categories.png and degrees.png, with the numbers in a CSV beside each."""
    directory = Path(directory)
    pictures = [directory / "categories.png", directory / "degrees.png"]
    citations.plot_categories(
        {name: network.shares() for name, network in networks.items()}, pictures[0],
        deviations={name: network.deviations() for name, network in networks.items()})
    citations.plot_degrees(
        {name: network.in_degrees for name, network in networks.items()}, pictures[1],
        laws={name: network.law for name, network in networks.items() if network.law})
    _write(pictures[0].with_suffix(".csv"), _category_rows(networks))
    table = []
    for name, network in networks.items():
        values, shares = metrics.ccdf(network.in_degrees)
        expected = network.law(values) if network.law else [""] * len(values)
        table += [{"network": name, "citations": k, "share_with_as_many_or_more": share,
                   "expected": law} for k, share, law in zip(values, shares, expected, strict=True)]
    _write(pictures[1].with_suffix(".csv"), table)
    return pictures


def _category_rows(networks: Mapping[str, Network]) -> list[dict[str, Any]]:
    table = []
    for name, network in networks.items():
        for papers, counts in (("all", network.counts), ("without seeds", network.without_seeds)):
            shares = metrics.shares_of_counts(counts.sum(axis=0))
            table.append({
                "network": name, "papers": papers, "runs": len(counts),
                "num_good": shares.num_good, "num_classified": shares.num_classified,
                **dict(zip(CATEGORIES, shares.all_six, strict=True)),
                **{f"classified_{nickname.replace(' ', '_')}": share for nickname, share in zip(
                    NICKNAMES, shares.classified, strict=True)},
                **(distances(networks, name) if papers == "all" else {})})
    return table


def _write(path: Path, table: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _of_state(config: Mapping[str, Any], state: citation_growth.State) -> Network:
    arrivals = citation_arrivals.create(config["arrivals"]).arrivals
    found = citation_growth.find(state, arrivals, config["papers_per_step"], config["classifier"])
    return _of_found(found)._replace(law=citation_growth.law_of(
        config, arrivals, len(found.in_degrees)))


def _of_found(found: citation_growth.Found) -> Network:
    counts, without = (np.rint(np.nan_to_num(shares.all_six) * shares.num_good)[None]
                       for shares in (found.shares, found.without_seeds))
    return Network(counts, without, found.in_degrees)


def _with_real(grown: Mapping[str, tuple[dict, Network]]) -> dict[str, Network]:
    """Adds the network that each config replays, once for each choice of papers and classifier."""
    networks, names = {}, {}
    for name, (config, network) in grown.items():
        papers = citation_arrivals.create(config["arrivals"])
        if papers.real is not None:
            choice = repr((config["arrivals"], config["classifier"]))
            if choice not in names:
                names[choice] = "real" if not names else f"real, as for {name}"
                real = citation_growth.find_real(papers.real, config["classifier"])
                networks[names[choice]] = _of_found(real)._replace(left_out=papers.left_out)
            network = network._replace(real=names[choice])
        networks[name] = network
    return networks


def _config_of(table: table_lib.Table, row: Mapping[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(table.base)
    for path in table.varied:
        *parents, field = path.split(".")
        place = config
        for parent in parents:
            place = place[parent]
        place[field] = row[path]
    return config


def _counts_of(row: Mapping[str, Any], ending: str) -> list[float]:
    """Papers in each category, from the shares of a row; shares of nothing are None or NaN."""
    good = row[f"test_num_good{ending}"]
    return [round(good * row[f"test_share_{name}{ending}"]) if good else 0 for name in CATEGORIES]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if np.isfinite(share) else sweep_tables.NOTHING


def _check_task(config: Mapping[str, Any]) -> None:
    if config.get("task") != TASK:
        raise ValueError(f"task={config.get('task')!r}: only {TASK} has citation networks")
