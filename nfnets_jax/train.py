"""Trains what a config describes.

    python -m nfnets_jax.train --config=experiments/digits/nf_resnet.py --workdir=runs/digits

    --config=FILE.py[:VARIANT]      the config; VARIANT is passed to its get_config()
    --config.FIELD=VALUE            changes one field, e.g. --config.optimizer.learning_rate=0.2
    --workdir=DIR                   config, metrics, checkpoints and figures go here

The same command again continues an interrupted run, and ends with the same parameters, bit for
bit, as one that was never interrupted. SIGTERM saves and exits with status 0, Ctrl-C with 130.

On several machines run the same command on each; on a TPU pod or under Slurm the processes find
each other, elsewhere give --coordinator_address, --num_processes and --process_id.
"""

import os
import sys
import traceback

from absl import flags
from ml_collections import config_flags

from nfnets_jax import command_line

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config(), optionally followed by :VARIANT.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0, if the run has several processes.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes of the run.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    given = command_line.read_config(_CONFIG)
    command_line.require(workdir=_WORKDIR.value)

    # JAX and the library are loaded after the flags are known to be right.
    import jax

    from nfnets_jax import config as config_lib
    from nfnets_jax import tasks
    from nfnets_jax.training import compilation, distributed, loop, mesh, workdir
    from nfnets_jax.training.checkpoints import DamagedCheckpointError
    from nfnets_jax.training.preemption import StopRequest

    try:
        place = distributed.initialize(
            _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    except ValueError as error:
        command_line.fail(error)
    cache = compilation.enable_compilation_cache()
    is_writer = jax.process_index() == 0
    config, refusal = None, None
    try:
        config = config_lib.check_config(given, jax.device_count())
        directory = workdir.expand(_WORKDIR.value)
        experiment = tasks.create(config, jax.process_index(), jax.process_count())
        if is_writer:
            lock = workdir.open_workdir(directory, config)
    except (config_lib.ConfigError, workdir.WorkdirError, OSError) as error:
        refusal = str(error)
    # One process must not wait for another that has given up.
    refusal = distributed.reason_not_to_start(str(config), refusal)
    if refusal:
        command_line.fail(refusal)
    if is_writer:
        print(f"{place}, {jax.device_count()} x {jax.devices()[0].device_kind}; "
              f"compilation cache {cache}", flush=True)
    try:
        with StopRequest() as stop:
            result = loop.train(experiment, config, directory, mesh.make_mesh(), stop)
    except loop.NonFiniteLossError as error:
        command_line.fail(error, status=3)
    except (OSError, workdir.WorkdirError, DamagedCheckpointError) as error:
        # An ordinary exit would try to write what is left, or wait for the other processes.
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)
    except Exception:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    if is_writer:
        if result.stopped_by is None:
            name = experiment.best_metric
            value = f"{result.metrics[name]:{'.2%' if name == 'accuracy' else '.5g'}}"
            print(f"{experiment.evaluation_split} {name.replace('_', ' ')} {value} after "
                  f"{result.step} steps; figures are in {directory / 'figures'}")
            if result.conclusion:
                print(result.conclusion)
        os.close(lock)
    if result.stopped_by == "SIGINT":
        sys.exit(130)


if __name__ == "__main__":
    command_line.run(main)
