"""What the programs share: reading their flags, and turning errors into messages."""

import logging as standard_logging
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

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
    require(config=flag.value)
    try:
        return config_dict.ConfigDict(flag.value.to_dict())
    except Exception as error:  # a file that is not there answers every access with its error
        fail(" ".join(str(error).split()))


def _parse(argv: Sequence[str]) -> list[str]:
    # absl answers what it knows to be wrong; a field that the config does not have, or a config
    # file that cannot be run, would end in a traceback through ml_collections.
    try:
        return app.parse_flags_with_usage(list(argv))
    except Exception as error:
        file = [a for a in argv[1:] if a.lstrip("-").startswith("config=")]
        if not file:
            raise
        _explain_config(argv, file)
        fail(error)


def _explain_config(argv: Sequence[str], file: list[str]) -> None:
    """Ends the program with the reason why the config flags in `argv` cannot be read, if known."""
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    alone = [argv[0], file[-1]]
    given, sys.argv = sys.argv, alone  # ml_collections looks for overrides there
    try:
        values(alone)
    except Exception as error:
        fail(f"{file[-1]}: {type(error).__name__}: {error}")
    finally:
        sys.argv = given
    config = read_config(holder)
    for argument in argv[1:]:
        if not argument.lstrip("-").startswith("config."):
            continue
        path = argument.lstrip("-").partition("=")[0].removeprefix("config.")
        level = config
        for depth, key in enumerate(keys := path.split(".")):
            if not isinstance(level, config_dict.ConfigDict) or key not in level:
                known = list(level) if isinstance(level, config_dict.ConfigDict) else []
                fail(unknown_field(".".join(keys[: depth + 1]), known))
            level = level[key]
