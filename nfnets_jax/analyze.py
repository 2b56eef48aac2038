"""Measures the loss of a run's checkpoints: gradient confusion, curvature, gradient noise.

    python -m nfnets_jax.analyze --workdir=runs/digits
    python -m nfnets_jax.analyze --workdir=runs/digits --checkpoint=all --measures=curvature
    python -m nfnets_jax.analyze --workdir=runs/digits --set=num_pairs=400 --set=gradients=examples

    --workdir=DIR                     as given to nfnets_jax.train; its run is left alone
    --checkpoint=latest|best|STEP|all which one
    --measures=NAME,NAME              any of gradient_confusion, curvature, gradient_noise;
                                      default: those of the config, or all
    --set=FIELD=VALUE                 another value for a field of the config's `analysis`:
                                      num_examples, batch_size, batch_norm, gradients, num_pairs,
                                      sampling, num_products; may be given several times
    --output=DIR                      where arrays (.npz) and figures (.png) are put; default:
                                      WORKDIR/analyze

Prints one JSON line for each checkpoint. The same is measured during training with
`--config.analysis.measures`, and `--config.analysis.every`.
"""

import ast
import json

from absl import flags

from nfnets_jax import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "latest, best, a step, or all.")
_MEASURES = flags.DEFINE_list("measures", None, "What to measure; default: as configured, or all.")
_SET = flags.DEFINE_multi_string("set", [], "FIELD=VALUE of the config's `analysis`.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for arrays and figures.")


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above. Prints one JSON line for each checkpoint."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)

    from nfnets_jax import config as config_lib
    from nfnets_jax import tasks
    from nfnets_jax.analysis import diagnostics
    from nfnets_jax.reports import findings
    from nfnets_jax.training import checkpoints as checkpoints_lib
    from nfnets_jax.training import compilation, loop, workdir
    from nfnets_jax.training import mesh as mesh_lib

    compilation.enable_compilation_cache()
    directory = workdir.expand(_WORKDIR.value)
    config = workdir.read_config(directory)
    config["analysis"] = _settings(config.get("analysis", {}), config_lib.MEASURES)
    config = config_lib.check_config(config, device_count=1)
    experiment = tasks.create(config)
    mesh = mesh_lib.make_mesh()
    measurements = diagnostics.create(experiment, config, mesh)
    programs = loop.map_task(experiment.task, mesh)
    like = loop.abstract_state(programs, experiment, config["seed"], mesh)
    checkpoints = checkpoints_lib.Checkpoints(
        directory / "checkpoints", read_only=True, best_metric=experiment.best_metric,
        best_is_smallest=experiment.best_is_smallest)
    output = workdir.expand(_OUTPUT.value) if _OUTPUT.value else directory / "analyze"
    steps = checkpoints.steps() if _CHECKPOINT.value == "all" else [
        command_line.choose_checkpoint(checkpoints, _CHECKPOINT.value, _WORKDIR.value)]
    for step in steps:
        try:
            state = checkpoints.restore(step, like).state
        except Exception as error:  # whatever a damaged or deleted file makes the reader raise
            command_line.fail_to_read(step, error)
        found = measurements.measure(state.task, config["seed"], step)
        findings.save(found, output, step)
        print(json.dumps({"step": step, **found.values}), flush=True)


def _settings(configured: dict, measures: tuple[str, ...]) -> dict:
    """The run's `analysis` with what the flags change."""
    chosen = _MEASURES.value or configured.get("measures") or measures
    settings = {**configured, "measures": chosen}
    for text in _SET.value:
        field, equals, value = text.partition("=")
        if not equals:
            command_line.fail(f"--set={text}: must be FIELD=VALUE, such as num_pairs=200")
        try:
            settings[field] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[field] = value
    return settings


if __name__ == "__main__":
    command_line.run(main)
