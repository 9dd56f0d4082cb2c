"""Fills the reference pages from the code: flags of the commands, configs, and config fields.

MkDocs calls `on_page_markdown` for each page; see `hooks` in mkdocs.yml.
"""

import ast
import html
import importlib
import inspect
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import ml_collections

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from atbert_jax.__main__ import VERBS  # noqa: E402
from atbert_jax.configs import defaults  # noqa: E402
from docs.commands import Flag, loaded  # noqa: E402

SHARED = ("__init__", "defaults", "tagger_recipes")


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
    config, said = defaults.get_config(), comments(inspect.getsource(defaults))
    order = list(said)  # that of the source; a config has its fields by the alphabet

    def in_order(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: order.index(name) if name in order else -1)

    single = [name for name in config if not isinstance(config[name], ml_collections.ConfigDict)]
    parts += [
        "## config",
        table(("field", "default", "meaning"), rows_of(config, in_order(single), said)),
    ]
    for section in in_order(config):
        if section in single:
            continue
        names = in_order(f"{section}.{name}" for name in names_in(config[section]))
        parts += [f"## config.{section}", said.get(section, "")]
        if names:
            parts.append(table(("field", "default", "meaning"), rows_of(config, names, said)))
    return "\n\n".join(filter(None, parts))


def named_configs() -> Iterator[tuple[str, str]]:
    """Name of each config, with the first line about it and what it takes behind its colon."""
    for file in sorted((ROOT / "configs").glob("*.py")):
        if file.stem in SHARED:
            continue
        function = importlib.import_module(f"atbert_jax.configs.{file.stem}").get_config
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


def rows_of(
    config: ml_collections.ConfigDict, names: Iterable[str], said: dict[str, str]
) -> list[tuple[str, str, str]]:
    """A row for each of these fields."""
    flat = config.to_dict()

    def value(name: str) -> object:
        found = flat
        for part in name.split("."):
            found = found[part]
        return found

    return [(f"`config.{name}`", f"`{value(name)!r}`", said.get(name, "")) for name in names]


def comments(source: str) -> dict[str, str]:
    """What comments say of each field, and of each section, by its dotted name.

    A comment stands at the end of a field's line, or in lines of its own above the field.
    """
    lines = source.splitlines()
    behind, alone = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            is_alone = not lines[row - 1][:column].strip()
            (alone if is_alone else behind)[row] = token.string.removeprefix("#").strip()

    def above(row: int) -> str:
        found = []
        while (row := row - 1) in alone:
            found.insert(0, alone[row])
        return " ".join(found)

    said: dict[str, str] = {}

    def note(name: str, first: int, last: int) -> None:
        said[name] = behind.get(last) or above(first)

    def walk(name: str, entries: ast.Dict) -> None:
        for number, (key, value) in enumerate(zip(entries.keys, entries.values, strict=True)):
            field = f"{name}.{key.value}"
            follows = entries.keys[number + 1].lineno if number + 1 < len(entries.keys) else 0
            # Of several fields on a line the comment behind them is that of the last.
            note(field, key.lineno, value.end_lineno if follows != value.end_lineno else 0)
            if isinstance(value, ast.Dict):
                walk(field, value)

    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        name = ast.unparse(node.targets[0]).removeprefix("config.")
        note(name, node.lineno, node.end_lineno)
        given = node.value.args if isinstance(node.value, ast.Call) else []
        if given and isinstance(given[0], ast.Dict):
            said[name] = above(node.lineno)
            walk(name, given[0])
    return said


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
