"""Draws figures of a network before it is trained, of a run or of a sweep; exports its weights.

    python -m nfnets_jax.report signal_propagation --config=experiments/digits/nf_resnet.py
    python -m nfnets_jax.report signal_propagation --config=... --images=noise --output=plot.png
    python -m nfnets_jax.report curves --workdir=runs/digits --output=curves.png
    python -m nfnets_jax.report sweep --workdir=runs/batch_sizes --best_k=8 --select_on=valid
    python -m nfnets_jax.report quantized --workdir=runs/binary --output=weights.npz
    python -m nfnets_jax.report gradient_confusion --workdir=runs/widths
    python -m nfnets_jax.report citation_growth --workdir=runs/grow
    python -m nfnets_jax.report norm_change --workdir=runs/shock
    python -m nfnets_jax.report tipping_points

    signal_propagation    the three metrics of arXiv 2101.08692 for the config's network at
                          initialisation, block by block, beside the analytic prediction
    curves                loss, accuracy and learning rate of a finished or running run; of a
                          pretraining run the probes and the signs of collapse too
    sweep                 a page with the tables and figures of a sweep, finished or running; the
                          best learning rates are printed too
    quantized             the last checkpoint of a run with quantized weights, their bits packed
                          (`analysis.bits.load` reads the file); prints what each layer takes, and
                          the share of its weights that training has changed
    gradient_confusion    the cosines between gradients that `analysis.measures` found: of a sweep
                          a table of its networks, their training loss, the density of the cosines
                          and their minimum over depth or width; of a run the density at each step
    norm_change, tipping_points    infinite populations: shares in time, rates of change, fixed
                          points; with the --workdir of a sweep or run also trajectories, times
                          of transit against the need for coordination or the conformity, and the
                          lattices of one replica, as a picture and as a film
    citation_growth       of a run or a sweep the shapes of histories, as bars and as a table, the
                          in-degrees with the law of Price's model, and all numbers as CSV; a real
                          network that is replayed is there too, with the distances from it

    --config=FILE.py[:VARIANT], --config.FIELD=VALUE    as for nfnets_jax.train
    --images=data|noise   what is fed to the network: the training set, or N(0, 1) noise, which
                          needs no data set
    --output=FILE         .png, .pdf or .svg; default: signal_propagation.png or curves.png
                          of a sweep: a folder, or the page in it, ending in .html; default:
                          WORKDIR/report/index.html
                          of quantized weights: .npz; default: WORKDIR/quantized.npz
                          of gradient confusion: a folder; default: WORKDIR/gradient_confusion
                          of citation growth: a folder; default: WORKDIR/citation_growth
                          of norms: a folder; default: WORKDIR/norms, or without one norms
    --best_k=K            a learning rate of a sweep is scored by the mean of its best K seeds;
                          default: of all
    --select_on=test|valid|train_loss|METRIC    what it is scored by; test and valid stand for
                          the accuracy of that split, or its loss where there is none
"""

from absl import flags
from ml_collections import config_flags

from nfnets_jax import command_line
from nfnets_jax.reports import figures

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config(), optionally followed by :VARIANT.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept.")
_IMAGES = flags.DEFINE_enum("images", "data", ["data", "noise"], "What the network is shown.")
_OUTPUT = flags.DEFINE_string("output", None, "File to draw into.")
_BEST_K = flags.DEFINE_integer(
    "best_k", None, "How many seeds of a sweep count, the best ones; default: all.", lower_bound=1)
_SELECT_ON = flags.DEFINE_string(
    "select_on", "test", "What a sweep is scored by: test, valid, train_loss, or any metric.")


def main(argv: list[str]) -> None:
    """Runs the program; the arguments are above."""
    reports = {"signal_propagation": _signal_propagation, "curves": _curves}
    writers = {"sweep": _sweep, "quantized": _quantized,
               "gradient_confusion": _gradient_confusion,
               "citation_growth": _citation_growth,
               "norm_change": lambda: _norms("norm_change"),
               "tipping_points": lambda: _norms("tipping_points")}
    if len(argv) != 2 or argv[1] not in [*reports, *writers]:
        command_line.fail(f"name one report: {', '.join([*reports, *writers])}; see --help")
    if argv[1] in writers:
        writers[argv[1]]()
        return
    output = _OUTPUT.value or f"{argv[1]}.png"
    try:
        figures.check_format(output)
    except ValueError as error:
        command_line.fail(f"--output={error}")
    reports[argv[1]](output)
    print(f"drew {output}")


def _signal_propagation(output: str) -> None:
    given = command_line.read_config(_CONFIG)

    import jax

    from nfnets_jax import config as config_lib
    from nfnets_jax import data, nets, tasks
    from nfnets_jax.tasks import classification_figures
    from nfnets_jax.tasks.classification_network import create_network
    from nfnets_jax.training import compilation, loop, mesh

    compilation.enable_compilation_cache()
    config = config_lib.check_config(given, device_count=1)
    if config["task"] != "classification":
        command_line.fail(f"task={config['task']!r}: only classification has a network to measure")
    if not nets.is_tagged(config["network"]["name"]):
        command_line.fail(f"network.name={config['network']['name']!r}: has no residual blocks "
                          "that are marked for this figure; use a convolutional one")
    if _IMAGES.value == "data":
        try:
            experiment = tasks.create(config)
        except FileNotFoundError as error:
            command_line.fail(f"{error}\nor use --images=noise")
        programs = loop.map_task(experiment.task, mesh.make_mesh(devices=jax.devices()[:1]))
        state = loop.initialize(programs, experiment, config["seed"])
        measured = experiment.figures["signal_propagation"](jax.device_get(state.task), output)
    else:
        info = data.info(config["dataset"]["name"])
        network = create_network(config)
        key_images, key_init = jax.random.split(jax.random.key(config["seed"]))
        size = config["dataset"]["image_size"]
        count = classification_figures.num_measured_images(config)
        images = jax.random.normal(key_images, (count, size, size, info.channels))
        params, network_state = network.init(key_init, images[:2], True)
        measured = classification_figures.draw_signal_propagation(
            config, params, network_state, images, output)
    for name, values in measured.items():
        print(f"{name}: " + " ".join(f"{value:.3f}" for value in values))


def _curves(output: str) -> None:
    command_line.require(workdir=_WORKDIR.value)
    from nfnets_jax.analysis import embeddings
    from nfnets_jax.reports import curves
    from nfnets_jax.reports import embeddings as embeddings_report
    from nfnets_jax.training import workdir
    from nfnets_jax.training.metrics import read_metrics

    directory = workdir.expand(_WORKDIR.value)
    is_pretraining = workdir.read_config(directory).get("task") == "byol"
    plot = embeddings_report.plot_curves if is_pretraining else curves.plot
    try:
        plot(directory / "metrics.jsonl", output)
    except (ValueError, FileNotFoundError):
        command_line.fail(f"--workdir={directory}: nothing has been logged yet")
    measured = [r for r in read_metrics(directory / "metrics.jsonl") if "negative_cosine" in r]
    if measured:
        verdict = embeddings.verdict(measured[-1]) or "not collapsed"
        print(f"step {measured[-1]['step']}: {verdict}")


def _sweep() -> None:
    command_line.require(workdir=_WORKDIR.value)
    from nfnets_jax.reports import sweep
    from nfnets_jax.sweeps import table as table_lib
    from nfnets_jax.training import workdir

    directory = workdir.expand(_WORKDIR.value)
    output = workdir.expand(_OUTPUT.value) if _OUTPUT.value else directory / "report"
    if output.suffix in figures.FORMATS:
        command_line.fail(f"--output={output}: the report of a sweep is a folder, or a page whose "
                          "name ends in .html")
    options = sweep.Options(_SELECT_ON.value, _BEST_K.value)
    table = table_lib.load(directory)
    try:
        print(sweep.summarize(table, options))
    except ValueError as error:
        of_flag = str(error).startswith(options._fields)
        command_line.fail(f"--{error}" if of_flag else f"--workdir={directory}: {error}")
    print(f"wrote {sweep.write(directory, table, output, options)}")


def _quantized() -> None:
    command_line.require(workdir=_WORKDIR.value)
    from nfnets_jax.reports import quantized_weights
    from nfnets_jax.training import workdir

    directory = workdir.expand(_WORKDIR.value)
    output = workdir.expand(_OUTPUT.value) if _OUTPUT.value else directory / "quantized.npz"
    try:
        print(quantized_weights.export(directory, output))
    except ValueError as error:
        command_line.fail(f"--workdir={directory}: {error}")
    print(f"wrote {output}, {output.stat().st_size} bytes")


def _gradient_confusion() -> None:
    command_line.require(workdir=_WORKDIR.value)
    import numpy as np

    from nfnets_jax.reports import confusion_of_sweep, gradient_confusion, sweep_tables
    from nfnets_jax.training import workdir

    directory = workdir.expand(_WORKDIR.value)
    output = workdir.expand(_OUTPUT.value) if _OUTPUT.value else directory / "gradient_confusion"
    if (directory / "sweep.json").exists():
        try:
            networks = confusion_of_sweep.collect(directory)
        except ValueError as error:
            command_line.fail(f"--workdir={directory}: {error}")
        print(sweep_tables.align(confusion_of_sweep.rows(networks)))
        pictures = confusion_of_sweep.draw(networks, output)
    else:
        # What the run measured itself, or else what `nfnets_jax.analyze` did.
        folder = next((f for f in (directory / "analysis", directory / "analyze") if f.exists()),
                      directory)
        files = sorted(folder.glob("step_*.npz"),
                       key=lambda file: int(file.stem.removeprefix("step_")))
        cosines = {file.stem.replace("_", " "): arrays["cosines"] for file in files
                   if "cosines" in (arrays := np.load(file))}
        if not cosines:
            command_line.fail(f"--workdir={directory}: gradient confusion was not measured; train "
                              "with --config.analysis.measures=\"('gradient_confusion',)\", or "
                              "measure checkpoints with nfnets_jax.analyze")
        pictures = [output / "cosines.png"]
        gradient_confusion.plot_cosines(cosines, pictures[0])
    print("drew " + ", ".join(map(str, pictures)))


def _norms(study: str) -> None:
    from pathlib import Path

    from nfnets_jax.reports import norm_sweep, norm_theory
    from nfnets_jax.training import workdir

    directory = workdir.expand(_WORKDIR.value) if _WORKDIR.value else None
    output = (workdir.expand(_OUTPUT.value) if _OUTPUT.value
              else (directory or Path()) / "norms")
    pictures = [output / "mean_field.png"]
    if directory is not None:
        try:
            pictures += norm_sweep.draw(study, directory, output)
        except ValueError as error:
            command_line.fail(f"--workdir={directory}: {error}")
    draw = (norm_theory.plot_coordination if study == "norm_change"
            else norm_theory.plot_conformity)
    draw(pictures[0])
    print("drew " + ", ".join(map(str, pictures)))


def _citation_growth() -> None:
    command_line.require(workdir=_WORKDIR.value)
    from nfnets_jax.reports import citation_networks, sweep_tables
    from nfnets_jax.training import compilation, workdir

    compilation.enable_compilation_cache()
    directory = workdir.expand(_WORKDIR.value)
    output = workdir.expand(_OUTPUT.value) if _OUTPUT.value else directory / "citation_growth"
    try:
        networks = citation_networks.collect(directory)
    except ValueError as error:
        command_line.fail(f"--workdir={directory}: {error}")
    print(sweep_tables.align(citation_networks.rows(networks)))
    for remark in citation_networks.remarks(networks):
        print(remark)
    print("drew " + ", ".join(map(str, citation_networks.draw(networks, output))))


if __name__ == "__main__":
    command_line.run(main)
