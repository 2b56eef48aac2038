"""What a sweep will cost, before it is run."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from nfnets_jax import tasks
from nfnets_jax.sweeps.plan import Chunk
from nfnets_jax.training.population_run import PopulationRunner


class Cost(NamedTuple):
    """Of what is missing of one program.

    Attributes:
      missing: cells.
      steps: of each run.
      examples: of all missing runs.
      seconds: compiling included; None where nothing is missing.
      source: where the seconds come from, in words.
    """

    missing: int
    steps: int
    examples: int
    seconds: float | None
    source: str


def estimate(
    chunks: Sequence[Chunk],
    missing: Sequence[int],
    log: Sequence[dict],
    make_runner: Callable[[Chunk], PopulationRunner],
) -> Cost:
    """The cost of one program: from what its chunks took so far, or from a few steps of it.

    Args:
      chunks: of the program.
      missing: cells in each of them.
      log: of the sweep (`table.read_log`).
      make_runner: gives the programs of a chunk.
    """
    config = chunks[0].cells[0].config
    total = tasks.create(config).total_steps
    count = sum(missing)
    examples = count * total * config.get("batch_size", 0)
    if not count:
        return Cost(0, total, 0, None, "")
    past = [entry for entry in log
            if entry["program"] == chunks[0].program.key and entry.get("member_steps")]
    if past:
        per_step = sum(e["run_seconds"] for e in past) / sum(e["member_steps"] for e in past)
        return Cost(count, total, examples, per_step * total * count,
                    "as long as its other cells took")
    runner = make_runner(chunks[0])
    populations = sum(1 for number in missing if number)
    seconds = runner.compile().seconds + populations * total * runner.time_steps(0.2)
    return Cost(count, total, examples, seconds, "from a few steps")
