"""What the programs share: reading their flags, and turning errors into messages."""

import logging as standard_logging
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_dict

from nfnets_jax.config import ConfigError, unknown_field
from nfnets_jax.training.workdir import WorkdirError


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a program's `main`; a mistake of its user ends it with one message and status 2."""

    def guarded(argv):
        if not flags.FLAGS["verbosity"].present:
            # Orbax and TFDS report every file they touch; what this library logs is for the user.
            logging.set_verbosity(logging.ERROR)
            standard_logging.getLogger("nfnets_jax").setLevel(standard_logging.INFO)
        try:
            return main(argv)
        except (ConfigError, WorkdirError, OSError) as error:
            fail(error)

    app.run(guarded, flags_parser=_parse)


def fail(error: Exception | str, status: int = 2) -> None:
    """Prints `error: ...` and ends the program."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(status)


def require(**values) -> None:
    """Ends the program if a flag that it needs was not given."""
    for name, value in values.items():
        if value is None:
            fail(f"--{name} is missing; --help shows what this program takes")


def read_config(flag: flags.FlagHolder) -> config_dict.ConfigDict:
    """The config that `--config` names; ends the program if it was not given or has errors."""
    given = config_flag(sys.argv)
    if given is None:
        require(config=None)
    if not isinstance(flag.value, Mapping | config_dict.ConfigDict):
        load_config(given)  # says what is wrong with it
    return config_dict.ConfigDict(flag.value)


def load_config(given: str) -> config_dict.ConfigDict:
    """Runs the config file `FILE.py[:VARIANT]`, or ends the program with what is wrong with it."""
    file, _, variant = given.partition(":")
    try:
        get_config = runpy.run_path(file).get("get_config")
        if get_config is None:
            fail(f"--config={given}: the file has no get_config()")
        config = get_config(variant) if variant else get_config()
    except FileNotFoundError as error:
        fail(f"--config={given}: {error.strerror}: {error.filename}")
    except Exception as error:
        reason = " ".join(str(error).split())
        fail(f"--config={given}: {type(error).__name__}: {reason}")
    if not isinstance(config, Mapping | config_dict.ConfigDict):
        fail(f"--config={given}: get_config() returned {config!r}, not a config")
    return config_dict.ConfigDict(config)


def _parse(argv: Sequence[str]) -> list[str]:
    # A field that the config does not have, or a config file that cannot be run, would end in a
    # traceback through absl and ml_collections.
    try:
        return flags.FLAGS(list(argv))
    except Exception as error:
        given = config_flag(argv)
        if given is not None:
            _check_overrides(argv, load_config(given))
        reason = str(error).strip().splitlines()
        fail(f"{reason[0] if reason else repr(error)}; --help shows what this program takes")


def config_flag(argv: Sequence[str]) -> str | None:
    """The value of `--config` among the arguments of a program."""
    for index, argument in enumerate(argv[1:], 1):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            return value if equals else (argv[index + 1] if index + 1 < len(argv) else None)
    return None


def _check_overrides(argv: Sequence[str], config: config_dict.ConfigDict) -> None:
    """Ends the program if one of the `--config.FIELD` in `argv` names no field of the config."""
    for argument in argv[1:]:
        if not argument.startswith("-") or not argument.lstrip("-").startswith("config."):
            continue
        keys = argument.lstrip("-").partition("=")[0].removeprefix("config.").split(".")
        level = config
        for depth, key in enumerate(keys):
            known = list(level) if isinstance(level, config_dict.ConfigDict) else []
            if key not in known:
                fail(unknown_field(".".join(keys[: depth + 1]), known))
            level = level[key]


def choose_checkpoint(checkpoints: Any, given: str, workdir: str) -> int:
    """The step that `--checkpoint` means; ends the program if there is no such checkpoint.

    Args:
      checkpoints: `training.checkpoints.Checkpoints` of the run.
      given: latest, best or a step.
      workdir: as given on the command line, for the message.
    """
    steps = checkpoints.steps()
    if not steps:
        fail(f"--workdir={workdir}: has no checkpoint yet")
    if given == "latest":
        return steps[-1]
    if given == "best":
        best = checkpoints.best_step()
        return steps[-1] if best is None else best
    if not given.isdecimal() or int(given) not in steps:
        fail(f"--checkpoint={given}: must be latest, best or one of {', '.join(map(str, steps))}")
    return int(given)


def fail_to_read(step: int, error: Exception) -> None:
    """Ends the program over a checkpoint that is damaged or gone."""
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    fail(f"the checkpoint of step {step} cannot be read ({reason})")
