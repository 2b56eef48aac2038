"""Populations: many runs in one program.

The members of a population share a compiled program; seeds and hyper-parameters are traced. A run
is a function `member -> member` of many steps, and the population is that function mapped over the
members, which are spread over the mesh axis `'population'`; each member's batch is spread over
`'data'`. Whatever the mapping, member k makes the steps that the same run makes alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from nfnets_jax.nets import conv
from nfnets_jax.tasks.task import Experiment
from nfnets_jax.training.loop import RunState, run_functions
from nfnets_jax.training.mesh import DATA, POPULATION, REPLICATED, SHARDED, map_over_devices

# A run has diverged when its training loss is this many times what it was at first.
DIVERGENCE_FACTOR = 10.0

MEMBERS = P(POPULATION)
# Of what the steps are made with: [seeds, steps, batch, ...].
INPUTS = P(None, None, DATA)

# 'vmap', 'map' (one member after the other) or how many members are vmapped at a time.
Mapping = str | int


class Member(NamedTuple):
    """One run of a population; with a leading axis [members], all of them.

    Attributes:
      run: the state that the same run would have alone.
      is_training: bool scalar; False for a member that has diverged, or fills up the population.
        Its state stays what it was.
      initial_loss: float32 scalar, that of the training split before the first step.
      loss_sum: float32 scalar, of the steps since the last evaluation.
      seed_index: int32 scalar, the row of the inputs that belongs to its seed.
    """

    run: RunState
    is_training: jax.Array
    initial_loss: jax.Array
    loss_sum: jax.Array
    seed_index: jax.Array


class PopulationPrograms(NamedTuple):
    """What is compiled for a population.

    Attributes:
      init: `(seeds [members], hyper {name: [members, ...]}, seed_index [members], is_training
        [members]) -> members`.
      advance: `(members, inputs, arrays, num_steps) -> members`, so many steps later. The members
        are donated. `inputs` is a tree of [seeds, steps, batch, ...] with at least `num_steps`
        steps, `arrays` those of the resident data.
      evaluate: `(members, batch) -> sums {name: [members]}`.
      check: `members -> [members]`, whether all numbers of a state are finite.
    """

    init: Callable
    advance: Callable
    evaluate: Callable
    check: Callable


def map_population(experiment: Experiment, mesh: Mesh, mapping: Mapping) -> PopulationPrograms:
    """Makes the programs of a population for the devices of a mesh.

    Args:
      experiment: of any member.
      mesh: from `mesh.make_mesh`; the number of members is a multiple of its axis `'population'`.
      mapping: over the members of a device.
    """
    run = run_functions(experiment.task)
    resident = experiment.resident

    def init(seeds, hyper, seed_index, is_training):
        def one(seed, hyper, seed_index, is_training):
            zero = jnp.float32(0.0)
            return Member(run.init(seed, hyper), is_training, zero, zero, seed_index)

        # One at a time whatever the mapping, so that all of them begin with the same bits.
        return map_members(one, "map")(seeds, hyper, seed_index, is_training)

    def advance(members, inputs, arrays, num_steps):
        def make_step(state):
            i, member = state
            drawn = jax.tree.map(lambda x: x[member.seed_index, i], inputs)
            batch = drawn if resident is None else resident.batch(arrays, drawn)
            with conv.for_loops():
                new_run, metrics = run.step(member.run, batch)
            loss = metrics["loss"].astype(jnp.float32)
            is_training = jnp.isfinite(loss)
            if experiment.exact_step_loss:
                is_training &= loss <= DIVERGENCE_FACTOR * member.initial_loss
            return i + 1, member._replace(
                run=new_run, is_training=is_training, loss_sum=member.loss_sum + loss)

        def goes_on(state):
            i, member = state
            return (i < num_steps) & member.is_training

        def one(member):
            # A member that has diverged is left alone: under `vmap` its old state is selected.
            return jax.lax.while_loop(goes_on, make_step, (jnp.int32(0), member))[1]

        return map_members(one, mapping)(members)

    def evaluate(members, batch):
        return map_members(lambda member: run.evaluate(member.run, batch), mapping)(members)

    def check(members):
        def one(member):
            return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(
                member.run.task) if jnp.issubdtype(x.dtype, jnp.floating)]))

        return jax.vmap(one)(members)

    return PopulationPrograms(
        init=map_over_devices(init, mesh, MEMBERS, MEMBERS),
        advance=map_over_devices(
            advance, mesh, (MEMBERS, INPUTS, REPLICATED, REPLICATED), MEMBERS, donate_argnums=(0,)),
        evaluate=map_over_devices(evaluate, mesh, (MEMBERS, SHARDED), MEMBERS),
        check=map_over_devices(check, mesh, MEMBERS, MEMBERS),
    )


def map_members(function: Callable, mapping: Mapping) -> Callable:
    """Maps a function of one member over the leading axis of its arguments."""
    if mapping == "vmap":
        return jax.vmap(function)
    size = None if mapping == "map" else mapping

    def mapped(*arguments):
        return jax.lax.map(lambda one: function(*one), arguments, batch_size=size)

    return mapped
