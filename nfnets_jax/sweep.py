"""Runs a sweep: many runs of one config, few programs, one table.

    python -m nfnets_jax.sweep --config=FILE.py --workdir=runs/sweep --dry_run
    python -m nfnets_jax.sweep --config=FILE.py --workdir=runs/sweep
    python -m nfnets_jax.report sweep --workdir=runs/sweep

The config file has, beside get_config(), a get_sweep() that returns a list of dicts, each the
fields of one run that differ from the config:

    from nfnets_jax import sweeps

    def get_sweep():
        return sweeps.product({"optimizer.learning_rate": sweeps.powers(2, -6, 2)},
                              {"seed": range(5)})

Runs that differ only in seeds and traced scalars (learning rate, momentum, weight decay, ...) are
trained at once, by one compiled program. The same command again runs exactly what is missing,
whatever ended it, also after the grid or the seeds have grown. Several workers, on any machines
that share the folder, may run the same command (the same grid and --members) at once.

    --config=FILE.py[:VARIANT]    VARIANT is passed to get_config() and get_sweep()
    --config.FIELD=VALUE          changes one field of the config that the sweep varies
    --workdir=DIR                 table.jsonl (a line for each run, for pandas), curves/, the plan
    --dry_run                     prints the cells, the programs and the estimated cost, then stops
    --mapping=auto|vmap|map|N     how a population is mapped over its members: all at once, one
                                  after the other, N at a time; auto measures what is fastest
    --members=N                   largest population
    --devices_per_member=N        devices that share the batch of one member
    --cpu_devices=N               devices that the CPU is divided into; default: its cores
    --retry=crashed               runs crashed cells again
    --extend=N                    widens the learning rates up to N times where the best one is at
                                  the edge; --best_k and --select_on as for the report
    --backend=ray                 workers on the machines of a Ray cluster (--ray_address) or of a
                                  local one; --num_workers, each with --cpus_per_worker and
                                  --gpus_per_worker

Exit status: 0 if all cells have run, 1 if some crashed, 2 for a mistake in the command, 130 after
Ctrl-C; SIGTERM saves what is running and exits with 0.
"""

import inspect
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from nfnets_jax import command_line

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config() and get_sweep(), optionally followed by :VARIANT.",
    lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Prints cells and cost, and stops.")
_MAPPING = flags.DEFINE_string("mapping", "auto", "auto, vmap, map, or members at a time.")
_MEMBERS = flags.DEFINE_integer("members", 256, "Largest population.", lower_bound=1)
_DEVICES_PER_MEMBER = flags.DEFINE_integer(
    "devices_per_member", 1, "Devices that share one member's batch.", lower_bound=1)
_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", None, "Devices that the CPU is divided into.", lower_bound=1)
_RETRY = flags.DEFINE_list("retry", [], "Statuses whose cells are run again: crashed.")
_EXTEND = flags.DEFINE_integer("extend", 0, "How often learning rates are widened.", lower_bound=0)
_BEST_K = flags.DEFINE_integer("best_k", None, "Best runs of a cell that count; default: all.")
_SELECT_ON = flags.DEFINE_string("select_on", "test", "test, valid or train_loss.")
_LEASE = flags.DEFINE_float("lease_seconds", 60.0, "After which a silent worker is given up.")
_CHECKPOINT = flags.DEFINE_float("checkpoint_seconds", 300.0, "Between saves of a population.")
_BACKEND = flags.DEFINE_enum("backend", "local", ["local", "ray"], "Where the workers run.")
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", None, "Of a Ray cluster; default: $RAY_ADDRESS or a local one.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 2, "Workers of the Ray back end.", lower_bound=1)
_CPUS = flags.DEFINE_float("cpus_per_worker", 1.0, "CPUs that Ray sets aside for a worker.")
_GPUS = flags.DEFINE_integer(
    "gpus_per_worker", 0, "GPUs that Ray sets aside for a worker.", lower_bound=0)


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    given = command_line.read_config(_CONFIG)
    command_line.require(workdir=_WORKDIR.value)
    overrides = _load_sweep(sys.argv)
    mapping = _check_flags()

    import jax

    from nfnets_jax.sweeps import plan as plan_lib
    from nfnets_jax.training import compilation, mesh, workdir

    jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value or os.cpu_count())
    directory = workdir.expand(_WORKDIR.value)
    plan = plan_lib.make_plan(given, overrides, _DEVICES_PER_MEMBER.value)
    if _BACKEND.value == "ray" and not _DRY_RUN.value:
        from nfnets_jax.sweeps import ray_backend, table

        jax.config.update("jax_platforms", "cpu")  # the accelerators are for the workers
        status = ray_backend.run(
            sys.argv[1:], directory, plan, address=_RAY_ADDRESS.value,
            num_workers=_NUM_WORKERS.value, cpus_per_worker=_CPUS.value,
            gpus_per_worker=_GPUS.value)
        sys.exit(_summarise(table.load(directory), directory) if status is None else status)
    compilation.enable_compilation_cache()
    devices = len(jax.local_devices())
    if devices % _DEVICES_PER_MEMBER.value:
        command_line.fail(f"--devices_per_member={_DEVICES_PER_MEMBER.value}: does not divide the "
                          f"{devices} devices")
    grid = mesh.make_mesh(devices // _DEVICES_PER_MEMBER.value, jax.local_devices())
    if _DRY_RUN.value:
        _print_cost(plan, directory, grid, mapping)
        return
    sys.exit(_run(given, plan, directory, grid, mapping))


def _run(given, plan, directory: Path, grid, mapping) -> int:
    from nfnets_jax.sweeps import extension, table, worker
    from nfnets_jax.sweeps.progress import SweepProgress
    from nfnets_jax.training.preemption import StopRequest

    worker.open_sweep(directory, plan)
    with StopRequest() as stop:
        for round_number in range(_EXTEND.value + 1):
            chunks = _chunks(plan, grid)
            rows = table.read_rows(directory)
            missing = sum(sum(worker.missing_cells(chunk, _RETRY.value, rows)) for chunk in chunks)
            cells = len(plan.cells)
            print(f"{cells} runs in {len(plan.programs)} programs; {cells - missing} are done, "
                  f"{missing} to go", flush=True)
            with SweepProgress(plan, missing) as progress:
                settings = worker.Settings(
                    grid, mapping, tuple(_RETRY.value), _LEASE.value, _CHECKPOINT.value,
                    lambda: stop.signal is not None, progress)
                one = worker.Worker(directory, plan, chunks, settings)
                complete = one.run()
            if not complete:
                print(f"stopped by {stop.signal.name}; the same command continues", flush=True)
                status = 130 if stop.signal.name == "SIGINT" else 0
                if one.is_compiling:  # an ordinary exit would wait for it
                    os._exit(status)
                return status
            if round_number == _EXTEND.value:
                break
            try:
                wider = extension.widen(table.assemble(directory, plan), best_k=_BEST_K.value,
                                        select_on=_SELECT_ON.value)
            except ValueError as error:
                command_line.fail(f"--extend={_EXTEND.value}: {error}")
            if not wider:
                break
            print(f"the best learning rate is at the edge: {len(wider)} more runs", flush=True)
            plan = extension.extend(given, plan, wider, _DEVICES_PER_MEMBER.value)
            worker.open_sweep(directory, plan)
    return _summarise(table.assemble(directory, plan), directory)


def _summarise(swept, directory: Path) -> int:
    import collections

    counts = collections.Counter(row["status"] for row in swept.rows)
    print(", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
          + f"; the table is {directory / 'table.jsonl'}")
    print(f"python -m nfnets_jax.report sweep --workdir={directory}    draws the report")
    crashed = [row for row in swept.rows if row["status"] == "crashed"]
    if not crashed:
        return 0
    print(f"error: {len(crashed)} runs crashed, the first with {crashed[0]['error']}; "
          "--retry=crashed runs them again", file=sys.stderr)
    return 1


def _chunks(plan, grid):
    from nfnets_jax.sweeps import plan as plan_lib
    from nfnets_jax.training import mapping, mesh

    return plan_lib.make_chunks(
        plan, _MEMBERS.value, mapping.GROUP * grid.shape[mesh.POPULATION])


def _print_cost(plan, directory: Path, grid, mapping) -> None:
    import functools

    from rich.console import Console
    from rich.table import Table

    from nfnets_jax.sweeps import cost, table, worker
    from nfnets_jax.sweeps.progress import describe_program
    from nfnets_jax.training import mapping as mapping_lib
    from nfnets_jax.training import mesh

    rows = table.read_rows(directory)
    chunks = _chunks(plan, grid)
    log = table.read_log(directory)
    mapping = worker.read_mapping(directory) if mapping == "auto" else mapping

    def make_runner(chunk):
        nonlocal mapping
        make = functools.partial(worker.make_runner, chunks, chunk, grid)
        if mapping is not None:
            return make(mapping)
        runner, _ = mapping_lib.choose(make, chunk.size // grid.shape[mesh.POPULATION])
        mapping = runner.mapping
        return runner

    shown = Table("program", "runs", "missing", "steps", "examples", "seconds", "estimated",
                  title=f"{len(plan.cells)} runs in {len(plan.programs)} programs "
                        f"({plan.num_given} given); varied: {', '.join(plan.varied)}",
                  title_justify="left")
    for column in shown.columns[1:6]:
        column.justify = "right"
    total = 0.0
    for program in plan.programs:
        own = [chunk for chunk in chunks if chunk.program.key == program.key]
        missing = [sum(worker.missing_cells(chunk, _RETRY.value, rows)) for chunk in own]
        one = cost.estimate(own, missing, log, make_runner)
        total += one.seconds or 0.0
        shown.add_row(describe_program(plan, own[0]), str(len(program.cells)), str(one.missing),
                      str(one.steps), f"{one.examples:.3g}",
                      "" if one.seconds is None else f"{one.seconds:.1f}", one.source)
    Console(width=None if sys.stdout.isatty() else 120).print(shown)
    print(f"about {total:.0f} s in all with one worker on "
          f"{grid.devices.size} x {grid.devices.flat[0].device_kind}")


def _load_sweep(argv: Sequence[str]) -> list[dict]:
    file, _, variant = command_line.config_flag(argv).partition(":")
    try:
        get_sweep = runpy.run_path(file).get("get_sweep")
        if get_sweep is None:
            command_line.fail(
                f"--config={file}: the file has no get_sweep(); --help shows how one is written")
        takes_variant = variant and inspect.signature(get_sweep).parameters
        return list(get_sweep(variant) if takes_variant else get_sweep())
    except Exception as error:
        command_line.fail(f"--config={file}: get_sweep(): {type(error).__name__}: {error}")


def _check_flags() -> str | int:
    """Checks the flags that are more than a type; returns the mapping."""
    mapping = _MAPPING.value
    if mapping.isdecimal() and int(mapping) > 0:
        mapping = int(mapping)
    elif mapping not in ("auto", "vmap", "map"):
        command_line.fail(f"--mapping={mapping}: must be auto, vmap, map or a number of members")
    for status in _RETRY.value:
        if status != "crashed":
            command_line.fail(f"--retry={status}: only crashed runs can be run again; the others "
                              "would come to the same")
    if _SELECT_ON.value not in ("test", "valid", "train_loss"):
        command_line.fail(f"--select_on={_SELECT_ON.value}: must be test, valid or train_loss")
    for name, flag in (("lease_seconds", _LEASE), ("checkpoint_seconds", _CHECKPOINT),
                       ("cpus_per_worker", _CPUS)):
        if not flag.value > 0:
            command_line.fail(f"--{name}={flag.value}: must be above 0")
    return mapping


if __name__ == "__main__":
    command_line.run(main)
