"""How a citation network grows, and what shapes the citations of its papers take over the years.

    papers      arrive in the order of their years, with given numbers of references
    references  go to older papers, by the weights of a model (`citations.weights`)
    step        a block of papers; with the exact sampler its size changes nothing but the speed
    evaluation  papers by the shape of their history (`citations.trajectories`), and in-degrees

The models and the default classifier are those of the repository behind arXiv 2002.06628, whose
text could not be read; the synthetic arrivals are ours. Papers of the seed network count in that
repository and change the shares much, so that all shares are given with and without them.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.citations import growth as growth_lib
from nfnets_jax.citations import histories, metrics, theory, trajectories, weights
from nfnets_jax.citations.arrivals import Arrivals
from nfnets_jax.citations.histories import Histories
from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.reports import citations as report
from nfnets_jax.tasks import citation_arrivals, simulations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.task import Experiment, Hyper, Measurement, Metrics, Task

FIELDS: Fields = {
    "arrivals": citation_arrivals.FIELDS,
    "model": text("ba", weights.MODELS),
    "sampler": text("exact", growth_lib.SAMPLERS),
    "papers_per_step": integer(1000, 1),
    "attractiveness": number(0.1, 0, open_below=True),  # of ba
    "fitness_exponent": number(1.0, 0, open_below=True),
    "fitness_law": text("lomax", weights.FITNESS_LAWS),
    "gamma": text("log", tuple(weights.GAMMAS)),  # of lbm
    "gamma_scale": number(1.0, 0),  # of lbm and lbm_g
    "sd": number(0.1, 0),  # of lbm_g
    # Of lbm_g: papers between jumps of the centre; negative: months.
    "skip": integer(-1, -1200),
    "classifier": {
        "window": integer(5, 0, 1000),
        "threshold": number(0.75, 0, 1, open_below=True),
        "rules": text("code", trajectories.RULES),
        "origin": text("first_cited", trajectories.ORIGINS),
    },
}

HYPER = {name: name for name in growth_lib.HYPER}


class State(NamedTuple):
    """A network on its way.

    Attributes:
      step: int32 scalar, how many blocks of papers have come.
      network: of the papers that have.
      hyper: the traced scalars.
    """

    step: jax.Array
    network: growth_lib.Network
    hyper: Hyper


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Fills in the defaults of the arrivals, and checks that they can grow into a network.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    config["arrivals"] = citation_arrivals.check(config["arrivals"])
    try:
        create_growth(config)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return config


def create_growth(config: Mapping[str, Any]) -> growth_lib.Growth:
    """How the network of a checked config grows."""
    return growth_lib.create_growth(
        citation_arrivals.create(config["arrivals"]).arrivals, config["model"],
        **{name: config[name] for name in ("sampler", "papers_per_step", "gamma", "skip",
                                           "fitness_law")})


def create_task(growth: growth_lib.Growth, arrivals: Arrivals, papers_per_step: int) -> Task:
    """A network that grows by a block of papers a step; the batch is ().

    Args:
      growth: of these arrivals, in blocks of that size.
      arrivals: of all papers.
      papers_per_step: size of a block.
    """
    num_papers = len(arrivals.years)

    def init(key: jax.Array, hyper: Hyper) -> State:
        return State(jnp.zeros((), jnp.int32), growth.init(key, hyper), hyper)

    def step(state: State, batch: tuple, key: jax.Array) -> tuple[State, Metrics]:
        del batch, key  # a reference is drawn with the network's key and its paper's number
        state = State(state.step + 1, growth.step(state.network, state.hyper, state.step),
                      state.hyper)
        return state, step_metrics(state)

    def step_metrics(state: State) -> Metrics:
        papers = jnp.minimum(arrivals.num_seeds + state.step * papers_per_step, num_papers)
        degrees = state.network.degrees
        return {
            "loss": jnp.sum(degrees == 0, dtype=jnp.int32) / num_papers,
            "papers": papers.astype(jnp.float32),
            "max_in_degree": jnp.max(degrees).astype(jnp.float32),
        }

    def evaluate(state: State, batch: tuple) -> Metrics:
        """As `loss`, the share of all papers, also those to come, that nobody has cited."""
        del batch
        return {**step_metrics(state), "count": jnp.ones(())}

    return Task(init, step, evaluate)


class Found(NamedTuple):
    """What is measured of the papers that have come.

    Attributes:
      in_degrees: int32 [n].
      shares: of the categories.
      without_seeds: the same, of papers outside the seed network.
    """

    in_degrees: np.ndarray
    shares: metrics.Shares
    without_seeds: metrics.Shares


def find(state: State, arrivals: Arrivals, papers_per_step: int,
         classifier: Mapping[str, Any]) -> Found:
    """Classifies the papers of a state by their citations so far.

    Args:
      state: of the task.
      arrivals: of all papers.
      papers_per_step: of the task.
      classifier: arguments of `trajectories.classify`, without the arrays.
    """
    present = min(arrivals.num_seeds + int(state.step) * papers_per_step, len(arrivals.years))
    arrivals = arrivals._replace(years=arrivals.years[:present],
                                 num_references=arrivals.num_references[:present])
    counts = histories.citations_per_year(state.network.targets, arrivals)
    return _classify(np.asarray(state.network.degrees)[:present], counts, arrivals.years,
                     np.arange(present) < arrivals.num_seeds, classifier)


def find_real(real: Histories, classifier: Mapping[str, Any]) -> Found:
    """The same of the network that is replayed."""
    return _classify(real.counts.sum(axis=1), *real, classifier)


def _classify(in_degrees, counts, published, is_seed, classifier) -> Found:
    categories = np.asarray(trajectories.classify(
        counts, **classifier,
        published=published if classifier["origin"] == "publication" else None))
    return Found(in_degrees, metrics.shares(categories), metrics.shares(categories[~is_seed]))


def law_of(config: Mapping[str, Any], arrivals: Arrivals, num_papers: int
           ) -> Callable[[np.ndarray], np.ndarray] | None:
    """`in_degrees -> share of papers with as many or more`, expected; None for fitness models.

    Args:
      config: checked.
      arrivals: of all papers.
      num_papers: those that have come.
    """
    if config["model"] != "ba":
        return None
    return functools.partial(
        theory.expected_ccdf, num_references=arrivals.num_references[:num_papers],
        a=config["attractiveness"],
        seed_in_degrees=np.bincount(arrivals.seed_targets, minlength=arrivals.num_seeds))


def metrics_of(found: Found) -> dict[str, float]:
    """The numbers of an evaluation; NaN where there is nothing to divide by.

    `num_good` papers have a history that is long enough. `share_NAME` is of these, for the six
    categories, and `share_early_riser` is PeakInit and MonDec together. `classified_NAME` are the
    four nicknames' shares of the papers that are not Oth. All of them come a second time with
    `_without_seeds`.
    """
    numbers = {"unreferenced_fraction": float(np.mean(found.in_degrees == 0)),
               "top_1_percent_share": metrics.top_share(found.in_degrees)}
    for shares, ending in ((found.shares, ""), (found.without_seeds, "_without_seeds")):
        numbers[f"num_good{ending}"] = shares.num_good
        numbers |= {f"share_{name}{ending}": float(share) for name, share in zip(
            trajectories.CATEGORIES, shares.all_six, strict=True)}
        nicknames = [name.replace(" ", "_") for name in metrics.MERGED]
        numbers[f"share_early_riser{ending}"] = float(shares.merged[0])
        numbers |= {f"classified_{name}{ending}": float(share) for name, share in zip(
            nicknames[:-1], shares.classified, strict=True)}
    return numbers


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    papers, growth = citation_arrivals.create(config["arrivals"]), create_growth(config)
    arrivals = papers.arrivals
    papers_per_step = config["papers_per_step"]

    def find_in(state):
        return find(state, arrivals, papers_per_step, config["classifier"])

    def measure(state, means, split, mesh) -> Measurement:
        del means, split, mesh
        found = find_in(state)
        remarks = [f"{who}: {shares.remark()}" for who, shares in (
            ("all papers", found.shares), ("without seeds", found.without_seeds))
            if shares.remark()]
        if papers.left_out:
            remarks.append(f"{config['arrivals']['path']}: {papers.left_out}")
        return Measurement(metrics_of(found), "; ".join(remarks) or None)

    def networks(state):
        """The grown network and, where there is one, the real one that it replays."""
        found = {config["model"]: find_in(state)}
        if papers.real is not None:
            found["real"] = find_real(papers.real, config["classifier"])
        return found

    def degrees(state, path):
        if state.step == 0:
            return None
        found = {f"{name}, {len(of.in_degrees)} papers": of.in_degrees
                 for name, of in networks(state).items()}
        name, in_degrees = next(iter(found.items()))
        law = law_of(config, arrivals, len(in_degrees))
        report.plot_degrees(found, path, laws={name: law} if law else {})
        return {"in_degrees": in_degrees}

    def categories(state, path):
        if state.step == 0:
            return None
        shares = {name: of for network, found in networks(state).items() for name, of in (
            (f"{network}, all papers ({found.shares.num_good})", found.shares),
            (f"{network}, without seeds ({found.without_seeds.num_good})", found.without_seeds))}
        report.plot_categories(shares, path)
        return {name: of.all_six for name, of in shares.items()}

    return Experiment(
        task=create_task(growth, arrivals, papers_per_step),
        hyper=read_hyper(config),
        total_steps=growth.num_steps,
        examples_per_step=0,
        train_batches=simulations.train_batches,
        evaluation_batches=simulations.evaluation_batches,
        evaluation_split=simulations.SPLIT,
        best_metric="loss",
        figures={"degrees": degrees, "categories": categories},
        measure=measure,
        best_is_smallest=True,
    )
