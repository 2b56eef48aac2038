"""Citation networks that grow paper by paper, with exact draws unless asked otherwise.

exact              different papers per list of references, drawn one after the other in proportion
                   to weights that change after every paper
block_synchronous  the same with weights that change after a block of papers only; an approximation,
                   good to the noise between seeds for blocks of up to 0.5 % of the papers
with_replacement   another model, in which a paper may cite the same paper several times ('ba' only)
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.citations import arrivals as arrivals_lib
from nfnets_jax.citations import pointer_jump, sampling, weights
from nfnets_jax.citations.arrivals import Arrivals

SAMPLERS = ("exact", "block_synchronous", "with_replacement")
HYPER = {"attractiveness": 0.1, "fitness_exponent": 1.0, "gamma_scale": 1.0, "sd": 0.1}
MAY_BE_ZERO = ("gamma_scale", "sd")
TILE = 8  # members of every group whose weights are computed at a time
PAPERS_AT_A_TIME = 64  # of a block


class Network(NamedTuple):
    """A network that grows.

    Attributes:
      key: uint32 [2], of the references.
      targets: int32 [>= E], what the papers cite, one after the other; right up to the papers that
        have arrived.
      degrees: int32 [N], how often each is cited.
      log_fitness: float32 [N]; () for 'ba'.
      locations: float32 [2, P], padded; () for models without.
      log_weights: float32 [P], `weights.log_attraction`, `sampling.ABSENT` for papers that
        have not arrived; () where it is not needed.
      groups: float32 [G], their sums over the groups of `sampling.draw_distinct`; () where it is
        not needed.
    """

    key: jax.Array
    targets: jax.Array
    degrees: jax.Array
    log_fitness: jax.Array | tuple[()]
    locations: jax.Array | tuple[()]
    log_weights: jax.Array | tuple[()]
    groups: jax.Array | tuple[()]


class Growth(NamedTuple):
    """How a network grows.

    Attributes:
      init: `(key, hyper) -> Network`, the seeds.
      step: `(network, hyper, index) -> Network`, with one block of papers more; `index` counts the
        blocks from 0.
      num_steps: until all papers have arrived.
    """

    init: Callable[[jax.Array, Mapping[str, Any]], Network]
    step: Callable[[Network, Mapping[str, Any], jax.Array], Network]
    num_steps: int


def create_growth(
    arrivals: Arrivals,
    model: str = "ba",
    *,
    sampler: str = "exact",
    papers_per_step: int = 1000,
    gamma: str = "log",
    skip: int = -1,
    fitness_law: str = "lomax",
) -> Growth:
    """The functions of a model.

    Their `hyper` holds the scalars of `HYPER`: `attractiveness` a of 'ba', `fitness_exponent`,
    `gamma_scale`, a factor of gamma, and `sd` of 'lbm_g'.

    Args:
      arrivals: of all papers.
      model: one of `weights.MODELS`.
      sampler: one of `SAMPLERS`.
      papers_per_step: size of a block. Only 'block_synchronous' depends on it.
      gamma: of 'lbm', a key of `weights.GAMMAS`; that of 'lbm_g' is 'log'.
      skip: of 'lbm_g', see `weights.center_jumps`.
      fitness_law: see `weights.draw_log_fitness`.

    Raises:
      ValueError: for an unknown name, for arrivals that do not fit, and for a model or a block
        size that the sampler does not have.
    """
    for name, value, known in (("model", model, weights.MODELS), ("sampler", sampler, SAMPLERS),
                               ("gamma", gamma, tuple(weights.GAMMAS)),
                               ("fitness_law", fitness_law, weights.FITNESS_LAWS)):
        if value not in known:
            raise ValueError(f"{name}={value!r}: must be one of {', '.join(known)}")
    if sampler == "with_replacement" and model != "ba":
        raise ValueError(f"sampler='with_replacement' has the model 'ba' only, not {model!r}")
    if papers_per_step < 1:
        raise ValueError(f"papers_per_step={papers_per_step}: must be at least 1")
    arrivals_lib.check(arrivals, distinct=sampler != "with_replacement")
    first_paper, num_papers = arrivals.num_seeds, len(arrivals.years)
    offsets = arrivals_lib.offsets_of(arrivals)
    counts = arrivals.num_references
    largest_count = max(int(counts[first_paper:].max(initial=0)), 1)
    if sampler == "block_synchronous":
        most = np.maximum.reduceat(counts, np.arange(first_paper, num_papers, papers_per_step))
        present = first_paper + np.arange(len(most)) * papers_per_step
        if np.any(most > present):
            raise ValueError(
                f"papers_per_step={papers_per_step}: a paper of the block that follows paper "
                f"{present[np.argmax(most > present)] - 1} has {most[np.argmax(most > present)]} "
                "references, more than the papers that the block can cite; use fewer")
    has_weights = sampler == "block_synchronous" or (sampler == "exact" and model != "ba")
    has_locations = model in weights.WITH_LOCATIONS
    if model == "lbm_g":
        gamma = "log"
        weights.center_jumps(arrivals, skip)  # so that a wrong `skip` is refused here
    num_groups = 1 << max(int(np.sqrt(num_papers)) - 1, 0).bit_length()
    num_members = -(-num_papers // (num_groups * TILE)) * TILE
    padded = num_groups * num_members
    block_edges = pointer_jump.largest_block(offsets, first_paper, papers_per_step)
    # What is written beyond the papers of a step is overwritten by the next one.
    num_targets = int(offsets[-1]) + (
        block_edges if sampler == "with_replacement" else largest_count)

    def weigh(degrees, log_fitness, hyper):
        return weights.log_attraction(model, degrees, log_fitness, hyper["attractiveness"])

    def weigh_all(network, hyper, present):
        log_weights = jnp.where(np.arange(num_papers) < present,
                                weigh(network.degrees, network.log_fitness, hyper), sampling.ABSENT)
        log_weights = jnp.pad(log_weights, (0, padded - num_papers),
                              constant_values=sampling.ABSENT)
        groups = () if has_locations else sampling.log_total(
            log_weights.reshape(num_members, num_groups))
        return network._replace(log_weights=log_weights, groups=groups)

    def init(key, hyper):
        key_references, key_fitness, key_locations = jax.random.split(key, 3)
        targets = jnp.zeros(num_targets, jnp.int32).at[:len(arrivals.seed_targets)].set(
            arrivals.seed_targets)
        degrees = jnp.zeros(num_papers, jnp.int32).at[arrivals.seed_targets].add(1)
        log_fitness, locations = (), ()
        if model != "ba":
            log_fitness = weights.draw_log_fitness(
                key_fitness, num_papers, hyper["fitness_exponent"], fitness_law)
        if has_locations:
            locations = jnp.pad(weights.draw_locations(
                key_locations, model, arrivals, hyper["sd"], skip).T,
                ((0, 0), (0, padded - num_papers)))
        network = Network(jax.random.key_data(key_references), targets, degrees, log_fitness,
                          locations, (), ())
        return weigh_all(network, hyper, first_paper) if has_weights else network

    def draw(network, hyper, paper, count, present):
        """Different papers among those before `present`, int32 [largest_count]."""
        columns = network.log_weights.reshape(num_members, num_groups)
        if not has_locations:
            return sampling.draw_distinct(
                network.key, paper, count, network.groups, lambda group: columns[:, group],
                num_members, largest_count)
        here = network.locations[:, paper]
        scale = hyper["gamma_scale"] * weights.GAMMAS[gamma](paper.astype(jnp.float32))
        there = network.locations.reshape(2, num_members, num_groups)

        def near(log_weights, locations):
            x, y = locations[0] - here[0], locations[1] - here[1]
            return log_weights - scale * jnp.sqrt(x * x + y * y)

        def add_tile(tile, carry):
            largest, total = carry
            log_weights = near(
                jax.lax.dynamic_slice_in_dim(columns, tile * TILE, TILE),
                jax.lax.dynamic_slice_in_dim(there, tile * TILE, TILE, axis=1))
            new = jnp.maximum(largest, jnp.max(log_weights, axis=0))
            return new, (total * jnp.exp(largest - new)
                         + jnp.sum(jnp.exp(log_weights - new), axis=0))

        largest, total = jax.lax.fori_loop(
            0, (present + TILE * num_groups - 1) // (TILE * num_groups), add_tile,
            (jnp.full(num_groups, sampling.ABSENT), jnp.zeros(num_groups)))
        return sampling.draw_distinct(
            network.key, paper, count, largest + jnp.log(total),
            lambda group: near(columns[:, group], there[:, :, group]), num_members, largest_count)

    def add_paper(paper, network, hyper):
        count, start = jnp.asarray(counts)[paper], jnp.asarray(offsets)[paper]
        if has_weights:
            drawn = draw(network, hyper, paper, count, paper)
        else:
            drawn = sampling.copy_distinct(network.key, paper, count, start, network.targets,
                                           hyper["attractiveness"], largest_count)
        is_drawn = np.arange(largest_count) < count
        network = network._replace(
            targets=jax.lax.dynamic_update_slice(network.targets, drawn, (start,)),
            degrees=network.degrees.at[jnp.where(is_drawn, drawn, num_papers)].add(
                1, mode="drop"))
        if not has_weights:
            return network
        # The weights of the papers that were cited, and of the one that has come.
        changed = jnp.append(jnp.where(is_drawn, drawn, padded), paper)
        at = jnp.minimum(changed, num_papers - 1)
        log_weights = network.log_weights.at[changed].set(
            weigh(network.degrees[at], network.log_fitness[at] if model != "ba" else (), hyper),
            mode="drop")
        network = network._replace(log_weights=log_weights)
        if has_locations:
            return network
        group = changed % num_groups
        return network._replace(groups=network.groups.at[
            jnp.where(changed < padded, group, num_groups)].set(sampling.log_total(
                log_weights.reshape(num_members, num_groups)[:, group]), mode="drop"))

    def step_exact(network, hyper, index):
        first = first_paper + index * papers_per_step
        return jax.lax.fori_loop(first, jnp.minimum(first + papers_per_step, num_papers),
                                 lambda paper, network: add_paper(paper, network, hyper), network)

    def step_synchronous(network, hyper, index):
        first = first_paper + index * papers_per_step
        papers = first + jnp.arange(papers_per_step, dtype=jnp.int32)
        at = jnp.minimum(papers, num_papers - 1)
        here = jnp.where(papers < num_papers, jnp.asarray(counts)[at], 0)
        drawn = jax.lax.map(lambda x: draw(network, hyper, *x, first), (at, here),
                            batch_size=min(PAPERS_AT_A_TIME, papers_per_step))
        lanes = np.arange(largest_count)
        is_drawn = lanes < here[:, None]
        place = jnp.where(is_drawn, jnp.asarray(offsets)[at][:, None] + lanes, num_targets)
        network = network._replace(
            targets=network.targets.at[place].set(drawn, mode="drop"),
            degrees=network.degrees.at[jnp.where(is_drawn, drawn, num_papers)].add(
                1, mode="drop"))
        return weigh_all(network, hyper, first + papers_per_step)

    def step_with_replacement(network, hyper, index):
        first = first_paper + index * papers_per_step
        start = jnp.asarray(offsets)[first]
        if np.all(counts[first_paper:] == largest_count):
            paper = first + np.arange(block_edges, dtype=np.int32) // largest_count
            older = start + (paper - first) * largest_count
        else:
            papers = jnp.minimum(first + jnp.arange(papers_per_step), num_papers - 1)
            paper = jnp.repeat(papers, jnp.asarray(counts)[papers],
                               total_repeat_length=block_edges)
            older = jnp.asarray(offsets)[paper]
        targets = pointer_jump.draw_block(network.key, network.targets, start, paper, older,
                                          hyper["attractiveness"])
        end = jnp.asarray(offsets)[jnp.minimum(first + papers_per_step, num_papers)]
        lanes = np.arange(block_edges)
        drawn = jax.lax.dynamic_slice_in_dim(targets, start, block_edges)
        degrees = network.degrees.at[jnp.where(lanes < end - start, drawn, num_papers)].add(
            1, mode="drop")
        return network._replace(targets=targets, degrees=degrees)

    step = {"exact": step_exact, "block_synchronous": step_synchronous,
            "with_replacement": step_with_replacement}[sampler]
    return Growth(init, step, -(-(num_papers - first_paper) // papers_per_step))


def grow(arrivals: Arrivals, model: str = "ba", *, seed: int = 0,
         hyper: Mapping[str, float] | None = None, **options) -> Network:
    """Grows a whole network.

    Args:
      arrivals: of all papers.
      model: one of `weights.MODELS`.
      seed: of everything random but the arrivals.
      hyper: changes to `HYPER`.
      **options: of `create_growth`.

    Returns:
      The network; its first E targets belong to the offsets of `arrivals.offsets_of`.

    Raises:
      ValueError: see `create_growth`; or if `hyper` has another name, or a value out of range.
    """
    hyper = {**HYPER, **(hyper or {})}
    for name, value in hyper.items():
        if name not in HYPER:
            raise ValueError(f"hyper has {name!r}: must be one of {', '.join(HYPER)}")
        if not (value > 0 or value == 0 and name in MAY_BE_ZERO):
            bound = "at least 0" if name in MAY_BE_ZERO else "above 0"
            raise ValueError(f"{name}={value:g}: must be {bound}")
    growth = create_growth(arrivals, model, **options)
    return jax.jit(lambda seed, hyper: run(growth, jax.random.key(seed), hyper))(
        np.uint32(seed), hyper)


def run(growth: Growth, key: jax.Array, hyper: Mapping[str, Any]) -> Network:
    """All steps of a growth; traceable."""
    return jax.lax.fori_loop(0, growth.num_steps, lambda i, network: growth.step(
        network, hyper, i), growth.init(key, hyper))
