"""Fills the reference pages from the code: flags of the commands, configs, and config fields.

MkDocs calls `on_page_markdown` for each page; see `hooks` in mkdocs.yml.
"""

import ast
import functools
import html
import importlib
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import ml_collections

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from atbert_jax.__main__ import VERBS  # noqa: E402
from atbert_jax.configs import defaults  # noqa: E402
from docs.command_flags import Flag, loaded  # noqa: E402

# Packages whose modules declare settings beside their code.
OWNERS = ("models", "objectives", "parallel", "training")


def on_page_markdown(markdown: str, page: object, **_: object) -> str:
    """What MkDocs calls: a page's text, and behind it what is generated."""
    makers = {"reference/commands.md": commands_page, "reference/configs.md": configs_page}
    maker = makers.get(page.file.src_uri)
    return f"{markdown}\n\n{maker()}" if maker else markdown


def commands_page() -> str:
    """A section for each verb: what it does, and its flags."""
    parts = []
    for verb, (module, what) in VERBS.items():
        text = docstring_of(ROOT / f"{module.replace('.', '/')}.py")
        with loaded(verb) as command:
            rows = [row_of(flag) for flag in command.flags]
        parts += [f"## atbert {verb}", f"{what[0].upper()}{what[1:]}.", as_markdown(text)]
        parts.append(table(("flag", "default", "meaning"), rows) if rows else "It has no flags.")
    return "\n\n".join(parts)


def row_of(flag: Flag) -> tuple[str, str, str]:
    """The row of a flag."""
    default = "required" if flag.is_required else f"`{flag.default}`" if flag.default else ""
    return f"`{flag.name}`", default, html.escape(flag.meaning, quote=False)


def configs_page() -> str:
    """The configs by name, and every field with its default and its meaning."""
    parts = ["## Configs by name", table(("name", "what it is"), named_configs())]
    for section, fields in sections(defaults.get_config()).items():
        said, about = explained(section, fields)
        order = [*said, *(name for name in fields if name not in said)]
        dotted = f"{section}." if section else ""
        rows = [
            (f"`config.{dotted}{name}`", f"`{fields[name]!r}`", said.get(name, ""))
            for name in order
        ]
        parts += [f"## config.{section}" if section else "## config", about]
        if rows:
            parts.append(table(("field", "default", "meaning"), rows))
    return "\n\n".join(filter(None, parts))


def sections(config: ml_collections.ConfigDict) -> dict[str, dict[str, object]]:
    """The fields of each section by its dotted name, '' being the whole; in defaults' order."""
    found: dict[str, dict[str, object]] = {}
    for name, value in leaves(config.to_dict()).items():
        section, _, field = name.rpartition(".")
        found.setdefault(section, {})[field] = value
    source = inspect.getsource(defaults.get_config)

    def place(name: str) -> tuple[bool, int]:
        where = source.find(f"config.{name.partition('.')[0]}")
        return where < 0, where

    return {name: found[name] for name in sorted(found, key=place)}


def leaves(values: dict[str, object]) -> dict[str, object]:
    """The fields of nested dicts by their dotted names; an empty dict is a field."""
    found = {}
    for key, value in values.items():
        inner = leaves(value) if isinstance(value, dict) else {}
        found |= {f"{key}.{name}": each for name, each in inner.items()} or {key: value}
    return found


def named_configs() -> Iterator[tuple[str, str]]:
    """Name of each config, with the first line about it and what it takes behind its colon."""
    for file in sorted((ROOT / "configs").glob("*.py")):
        module = importlib.import_module(f"atbert_jax.configs.{file.stem}")
        function = getattr(module, "get_config", None)
        if not function or module is defaults:
            continue
        given = next(iter(inspect.signature(function).parameters), "")
        text = inspect.getdoc(function).partition(f"{given}: ")[2] if given else ""
        text = " ".join(text.partition("\n\n")[0].split())
        what = docstring_of(file).partition("\n")[0]
        yield f"`{file.stem}`", f"{what} Behind a colon: {text}" if text else what


def names_in(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Dotted names of all fields, those of configs within it too."""
    for name in config:
        inner = config[name]
        if isinstance(inner, ml_collections.ConfigDict) and len(inner):
            yield from (f"{name}.{deeper}" for deeper in names_in(inner))
        else:
            yield name


class Settings(NamedTuple):
    """Some settings as they are declared.

    Attributes:
        values: By name; `...` for what is no literal.
        said: What is said of each.
        about: What is said of all.
        section: Which they are of; None where the place does not say.
        is_class: Whether a dataclass declares them.
    """

    values: dict[str, object]
    said: dict[str, str]
    about: str = ""
    section: str | None = None
    is_class: bool = False

    def are_of(self, section: str, fields: dict[str, object]) -> bool:
        """Whether they are those of a section of the config, as its fields and their values are."""
        if self.section is not None:
            return self.section == section
        if self.is_class:
            return self.values.keys() == fields.keys()
        is_known = bool(self.values) and self.values.keys() <= fields.keys()
        return is_known and all(v in (..., fields[name]) for name, v in self.values.items())


def explained(section: str, fields: dict[str, object]) -> tuple[dict[str, str], str]:
    """What the sources say of the fields of a section, in their order there, and of all of it."""
    said, about = {}, ""
    for settings in declared():
        if settings.are_of(section, fields):
            new = {name: text for name, text in settings.said.items() if name in fields}
            said |= {name: text or said.get(name, "") for name, text in new.items()}
            about = about or settings.about
    return said, about


@functools.cache
def declared() -> list[Settings]:
    """All settings that are declared in configs/defaults.py, or beside the code that reads them."""
    files = [ROOT / "configs" / "defaults.py"]
    for folder in ("input_pipeline", *(f"atbert_jax/{name}" for name in OWNERS)):
        files += sorted((ROOT / folder).rglob("*.py"))
    found = []
    for file in files:
        source = file.read_text(encoding="utf-8")
        remarks = Remarks(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found += of_class(node)
            elif isinstance(node, ast.Assign):
                found += of_assignment(node, remarks)
    return found


class Remarks:
    """The comments of a file.

    Args:
        source: Its text.
    """

    def __init__(self, source: str) -> None:
        lines = source.splitlines()
        self.behind: dict[int, str] = {}
        self.alone: dict[int, str] = {}
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                kind = self.behind if lines[row - 1][:column].strip() else self.alone
                kind[row] = token.string.removeprefix("#").strip()

    def above(self, row: int) -> str:
        """The comment in lines of its own above a line; '' if there is none."""
        found = []
        while (row := row - 1) in self.alone:
            found.insert(0, self.alone[row])
        return " ".join(found)

    def of(self, first: int, last: int) -> str:
        """That at the end of the line `last`, or else above the line `first`."""
        return self.behind.get(last) or self.above(first)


def of_assignment(node: ast.Assign, remarks: Remarks) -> Iterator[Settings]:
    """Those of `DEFAULTS = {...}`, of `config.section = ConfigDict({...})` and `config.a.b = 1`."""
    target = ast.unparse(node.targets[0])
    whole, _, name = target.removeprefix("config.").rpartition(".")
    is_config = target.startswith("config.")
    value, above = node.value, remarks.above(node.lineno)
    if isinstance(value, ast.Call) and value.args:
        value = value.args[0]
    if is_config:
        yield Settings({}, {}, above, name)
        said = remarks.of(node.lineno, node.end_lineno)
        yield Settings({name: literal(value)}, {name: said}, "", whole)
    if isinstance(value, ast.Dict) and (is_config or target == "DEFAULTS"):
        about, section = (above, name) if is_config else ("", None)
        yield from of_dict(value, remarks, about, section)


def of_dict(
    node: ast.Dict, remarks: Remarks, about: str, section: str | None
) -> Iterator[Settings]:
    """Those of a dict, and of the dicts in it."""
    values, said = {}, {}
    pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key]
    for number, (key, value) in enumerate(pairs):
        if isinstance(value, ast.Dict) and value.keys:
            inner = f"{section}.{key.value}" if section else None
            yield from of_dict(value, remarks, remarks.above(key.lineno), inner)
            continue
        # Of several on a line the comment behind them is that of the last.
        last = value.end_lineno
        is_last = number + 1 == len(pairs) or pairs[number + 1][0].lineno != last
        behind = remarks.behind.get(last, "") if is_last else ""
        values[key.value] = literal(value)
        said[key.value] = behind or (remarks.above(key.lineno) if key.lineno > node.lineno else "")
    yield Settings(values, said, about, section)


def of_class(node: ast.ClassDef) -> Iterator[Settings]:
    """Those of a dataclass: its fields with their defaults, and what its docstring says of each."""
    fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
    listed = (ast.get_docstring(node) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    said = {}
    for line in listed.splitlines():
        name = re.match(r" {4}(\w+): (.*)", line)
        if name:
            said[name[1]] = name[2]
        elif said:
            said[list(said)[-1]] += f" {line.strip()}"
    if said:
        yield Settings({line.target.id: ... for line in fields}, said, is_class=True)


def literal(node: ast.expr) -> object:
    """Its value; `...` if it is no literal."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def docstring_of(file: Path) -> str:
    """That of a module, without importing it."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def as_markdown(docstring: str) -> str:
    """A module's docstring without its first line, and its commands as code."""
    parts = []
    for part in docstring.partition("\n")[2].strip().split("\n\n"):
        is_command = part.startswith(("atbert ", "python "))
        parts.append(f"```bash\n{part}\n```" if is_command else part)
    return "\n\n".join(parts)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    escaped = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)
