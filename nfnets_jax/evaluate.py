"""Evaluates a checkpoint of a finished or running training run.

    python -m nfnets_jax.evaluate --workdir=runs/digits
    python -m nfnets_jax.evaluate --workdir=runs/digits --checkpoint=best --split=train

    --workdir=DIR                     as given to nfnets_jax.train; nothing is written there
    --checkpoint=latest|best|STEP     which one
    --split=NAME                      of the data set; default: the one evaluated in training
    --follow                          evaluates every new checkpoint until the run is complete
"""

import json
import sys
import time

from absl import flags

from nfnets_jax import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "latest, best or a step.")
_SPLIT = flags.DEFINE_string("split", None, "Split to evaluate; default: that of the config.")
_FOLLOW = flags.DEFINE_bool("follow", False, "Wait for new checkpoints until the run is complete.")
_SECONDS_BETWEEN_LOOKS = 5.0


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above. Prints one JSON line for each checkpoint."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)

    import jax

    from nfnets_jax import config as config_lib
    from nfnets_jax import tasks
    from nfnets_jax.training import compilation, loop, workdir
    from nfnets_jax.training import mesh as mesh_lib
    from nfnets_jax.training.checkpoints import Checkpoints

    compilation.enable_compilation_cache()
    directory = workdir.expand(_WORKDIR.value)
    # Checked as for one device: the size of the training batch does not matter here.
    config = config_lib.check_config(workdir.read_config(directory), device_count=1)
    if "evaluation_batch_size" in config:  # a simulation has none
        devices = jax.device_count()
        config["evaluation_batch_size"] = -(-config["evaluation_batch_size"] // devices) * devices
    experiment = tasks.create(config)
    split = _SPLIT.value or experiment.evaluation_split
    try:
        experiment.evaluation_batches(split)
    except ValueError as error:
        command_line.fail(f"--split={split}: {error}")
    mesh = mesh_lib.make_mesh()
    programs = loop.map_task(experiment.task, mesh)
    like = loop.abstract_state(programs, experiment, config["seed"], mesh)
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True,
                              best_metric=experiment.best_metric,
                              best_is_smallest=experiment.best_is_smallest)

    def evaluate(step):
        try:
            state = checkpoints.restore(step, like).state
        except Exception as error:  # whatever a damaged or deleted file makes the reader raise
            if not _FOLLOW.value:
                command_line.fail_to_read(step, error)
            return  # the run has deleted it by now
        values, remark = loop.evaluate_split(programs, experiment, state, split, mesh)
        print(json.dumps({"step": step, "split": split, **values}), flush=True)
        if remark:
            print(remark, file=sys.stderr, flush=True)

    evaluated = command_line.choose_checkpoint(checkpoints, _CHECKPOINT.value, _WORKDIR.value)
    evaluate(evaluated)
    while _FOLLOW.value and evaluated < experiment.total_steps:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        newest = max(checkpoints.steps(), default=0)
        if newest > evaluated:
            evaluate(newest)
            evaluated = newest


if __name__ == "__main__":
    command_line.run(main)
