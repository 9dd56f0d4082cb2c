"""What the commands take, asked of themselves; for the reference pages and for tests."""

import argparse
import contextlib
import dataclasses
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from absl import app, flags

from atbert_jax import command
from atbert_jax.__main__ import VERBS

ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a command, or one of its arguments.

    Attributes:
        name: With its dashes; without any of an argument.
        default: As text; empty if there is none.
        meaning: The help.
        is_required: Whether it must be given.
    """

    name: str
    default: str
    meaning: str
    is_required: bool = False


class Command:
    """A command whose flags are defined, but which does not run.

    Args:
        defined: Names of absl's flags that it has defined.
        required: Which of them must be given.
        takes_arguments: Whether it takes others than flags.
        parser: That of argparse, where it has one.
    """

    def __init__(
        self,
        defined: Sequence[str],
        required: Sequence[str] = (),
        takes_arguments: bool = False,
        parser: argparse.ArgumentParser | None = None,
    ) -> None:
        self.defined, self.required = defined, required
        self.takes_arguments, self.parser = takes_arguments, parser

    @property
    def flags(self) -> list[Flag]:
        """All of its flags, in the order in which they are defined."""
        if self.parser:
            return [
                Flag(
                    (action.option_strings or [action.dest])[-1],
                    "" if action.default in (None, "", False) else str(action.default),
                    (action.help or "").replace(" (default: %(default)s)", ""),
                    action.required,
                )
                for action in self.parser._actions
                if action.dest != "help" and action.help != argparse.SUPPRESS
            ]
        found = [flags.FLAGS[name] for name in self.defined]
        return [
            Flag(
                f"--{flag.name}",
                "" if flag.default in (None, "", False, []) else str(flag.default),
                flag.help,
                flag.name in self.required,
            )
            for flag in found
        ]

    def parse(self, arguments: Sequence[str], *, complete: bool = True) -> None:
        """Parses arguments as the command does.

        Args:
            arguments: Behind the command's name.
            complete: Whether all that is required must be there.

        Raises:
            SystemExit: as the command does if something is wrong, with a line on stderr.
        """
        if self.parser:
            self._parse_with_argparse(list(arguments), complete)
            return
        if complete:
            flags.mark_flags_as_required(self.required)
        # Overrides of a config are read off the command line itself.
        with mock.patch.object(sys, "argv", ["command", *arguments]):
            rest = command._parse(sys.argv)
        if len(rest) > 1 and not self.takes_arguments:
            command.fail(f"unexpected argument {rest[1]!r}", 2)

    def _parse_with_argparse(self, arguments: list[str], complete: bool) -> None:
        if not complete:
            for action in self.parser._actions:
                action.required = False
        self.parser.allow_abbrev = False  # what people read has whole names
        # Only a runner of Beam has flags that are not the command's own.
        has_runner = any(argument.startswith("--runner") for argument in arguments)
        parse = self.parser.parse_known_args if has_runner else self.parser.parse_args
        parse(arguments)


class _Found(BaseException):
    """Ends a command where it would begin to run."""


@contextlib.contextmanager
def loaded(name: str) -> Iterator[Command]:
    """A command, ready to parse.

    Args:
        name: A verb, a module, or the path of a script within the repository.
    """
    module = VERBS[name][0] if name in VERBS else name
    found = {}

    def run(
        main: object,
        *,
        required: Sequence[str] = (),
        takes_arguments: bool = False,
        **_: object,
    ) -> None:
        found.update(required=required, takes_arguments=takes_arguments)

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        found["parser"] = parser
        raise _Found

    # Two commands have flags of the same name, so each starts without those of others.
    others = {name: flags.FLAGS[name] for name in flags.FLAGS if _is_ours(name)}
    flags.FLAGS.remove_flag_values(list(others))
    before, was_parsed = set(flags.FLAGS), flags.FLAGS.is_parsed()
    # What scripts share defines flags where it is imported.
    for shared in [each for each in sys.modules if each.startswith("benchmarks")]:
        del sys.modules[shared]
    patched, parser = mock.patch.object, argparse.ArgumentParser
    try:
        with (
            patched(command, "run", run),
            patched(app, "run", lambda main: None),
            patched(parser, "parse_args", stop),
            patched(parser, "parse_known_args", stop),
            contextlib.suppress(_Found),
        ):
            if name.endswith(".py"):
                runpy.run_path(str(ROOT / name), run_name="__main__")
            else:
                runpy.run_module(module, run_name="__main__")
        yield Command([each for each in flags.FLAGS if each not in before], **found)
    finally:
        flags.FLAGS.remove_flag_values([each for each in flags.FLAGS if each not in before])
        flags.FLAGS.unparse_flags()
        for other, flag in others.items():
            flags.FLAGS[other] = flag
        if was_parsed:
            flags.FLAGS.mark_as_parsed()


def _is_ours(flag: str) -> bool:
    """Whether a flag is a command's, and not a library's; of those put back none knows a module."""
    module = flags.FLAGS.find_module_defining_flag(flag, "")
    return not module or module.startswith(("atbert_jax", "benchmarks"))
