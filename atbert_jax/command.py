"""What every command shares: flags, and errors that end in one clear line."""

import errno
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from logging import LogRecord
from pathlib import Path

from absl import app, flags, logging
from ml_collections.config_flags.config_flags import is_config_flag

from atbert_jax import choices, extras
from atbert_jax.input_pipeline.audio.allocation import keep_freed_memory, use_huge_pages
from atbert_jax.input_pipeline.text.visible import visible
from atbert_jax.parallel import stopping
from atbert_jax.parallel.xla_flags import set_xla_flags

# Where the configs lie that are found by their names.
CONFIGS = Path(__file__).with_name("configs")
# Flags whose values are words; those of all others can be paths.
WORDS = ("text", "template")
HELP = {"-h": True, "-help": True, "--help": True, "--helpshort": True, "--helpfull": False}


def run(
    main: Callable[..., None],
    *,
    required: Sequence[str] = (),
    takes_arguments: bool = False,
    resumes: bool = False,
) -> None:
    """Parses the flags, runs `main`, and turns its expected errors into one line on stderr.

    Expected are ValueError and OSError, which say where, what and the way out; set
    ATBERT_TRACEBACK=1 to see where they come from. The exit code is 1 then, and 2 for a wrong flag.
    A flag of a config takes its path, or the name of one of the package's, as `atbert_finetune`.

    Ctrl-C ends it with one line too. Where the same command `resumes`, SIGTERM does so as well, and
    the exit code is `stopping.STOPPED`.
    """
    use_huge_pages()
    show_all_names()
    if resumes:
        stopping.leave_at_once()
    asked = next((argument for argument in sys.argv[1:] if argument in HELP), None)
    if asked:
        app.usage(shorthelp=HELP[asked], writeto_stdout=True)
        sys.exit(0)
    set_environment()
    # Else TensorFlow imports Keras 3, which takes as long and as much memory as all the rest of it.
    # In Python it is left to the person, who may want `tf.keras`.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    keep_freed_memory()
    flags.mark_flags_as_required(required)

    def guarded(arguments: list[str]) -> None:
        if len(arguments) > 1 and not takes_arguments:
            fail(f"unexpected argument {arguments[1]!r}; see --help", 2)
        # What libraries are doing is not what a person wants to read between the lines of progress.
        logging.set_verbosity(logging.WARNING)
        logging.get_absl_handler().addFilter(_is_for_people)
        sys.unraisablehook = show_unraisable
        main(arguments[1:]) if takes_arguments else main()

    try:
        app.run(guarded, flags_parser=_parse)
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C", 128 + signal.SIGINT)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if os.environ.get("ATBERT_TRACEBACK"):
            raise
        fail(explain(error), 1)


def set_environment() -> None:
    """What JAX and TensorFlow read when they are imported, where a person has not set it."""
    # Programs that were compiled once are found again, by the next command too.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "atbert_jax"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it announces itself on every start
    set_xla_flags()


def _is_for_people(record: LogRecord) -> bool:
    """Not what Orbax logs of errors that it raises too, once for each array."""
    return record.name != "asyncio" and "orbax" not in Path(record.pathname).parts


def show_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """As Python does, but not what reads of Orbax's say that end after one of them has failed.

    Each has a traceback then, for the event loop that it would answer is closed.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def explain(error: Exception) -> str:
    """What an error says, with the way out of a full disk, and of a package that is missing."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error}: make room on the disk, and run the same command again"
    return extras.way_out(error) or str(error)


def _parse(arguments: list[str]) -> list[str]:
    """Absl's parser, with configs by their names, and errors of overrides as one line too."""
    try:
        return flags.FLAGS(_with_config_files(_with_homes(arguments)))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        # What a config itself refuses comes wrapped, with its traceback as a part of the text.
        while "Error whilst parsing config file" in str(error) and error.__context__:
            error = error.__context__
        # A KeyError's text is the representation of its argument, here of another error.
        while isinstance(error, Exception) and error.args:
            error = error.args[0]
        fail(str(error), 2)


def _with_homes(arguments: list[str]) -> list[str]:
    """The command line, in which `~` is a home folder behind `=` too, where shells leave it."""
    found = arguments[:1]
    for before, argument in itertools.pairwise(arguments):
        flag, equals, value = argument.partition("=")
        if equals and argument.startswith("-") and flag.lstrip("-") not in WORDS:
            homes = ",".join(map(os.path.expanduser, value.split(",")))  # several manifests
            argument = flag + equals + homes
        elif before.lstrip("-") not in WORDS:
            argument = os.path.expanduser(argument)  # noqa: PTH111  (it need not be a path)
        found.append(argument)
    return found


def _with_config_files(arguments: list[str]) -> list[str]:
    """The command line, in which configs that are given by name are given by path."""
    named = {
        dashes + name
        for name in flags.FLAGS
        if is_config_flag(flags.FLAGS[name])
        for dashes in ("-", "--")
    }
    found = list(arguments)
    for place, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in named and equals:
            found[place] = f"{flag}={config_file(value)}"
        elif flag in named and place + 1 < len(arguments):
            found[place + 1] = config_file(arguments[place + 1])
    return found


def config_file(given: str) -> str:
    """The path of a config that is given by path or by name, with the words behind its colon.

    Raises:
        ValueError: if a name is none of the package's; the message lists these.
    """
    name, colon, words = given.partition(":")
    if name.endswith(".py"):
        return given
    choices.require("config", name, (*config_names(), "a path ending in .py"))
    return f"{CONFIGS / name}.py{colon}{words}"


def config_names() -> list[str]:
    """Those that the package has, without what they share."""
    shared = {"__init__", "defaults", "tagger_recipes", "words"}
    return sorted({path.stem for path in CONFIGS.glob("*.py")} - shared)


def show_all_names() -> None:
    """Lets names of files be printed that are no text, with their bytes escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what stands in their place may lack it
            stream.reconfigure(errors="backslashreplace")


def fail(message: str, code: int) -> None:
    """Ends the program with one line on stderr."""
    sys.stderr.write(f"error: {visible(' '.join(message.split()))}\n")
    sys.exit(code)
