"""Pages and docstrings, and what is shown in them."""

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SOURCES = [
    file
    for folder in ("atbert_jax", "benchmarks", "configs", "docs", "input_pipeline")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
LANGUAGES = {"bash", "diff", "python", "text"}

FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
OPERATORS = "();<>|&\n"


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@functools.cache
def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    return [Block(*found.groups(default="")) for found in FENCE.finditer(text_of(page))]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", text_of(page))


def inline(text: str) -> list[str]:
    return [" ".join(code.split()) for code in INLINE.findall(text)]


def commands(script: str) -> Iterator[list[str]]:
    """The words of each command of a script, variables as they are."""
    script = re.sub(r"(^|\s)#[^\n]*", r"\1", script.replace("\\\n", " "))
    lexer = shlex.shlex(script, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words = []
    for word in [*lexer, "\n"]:
        if word.strip(OPERATORS):
            words.append(word)
        elif words:
            yield words
            words = []


def in_docstring(file: Path) -> str:
    """The lines of a module's docstring that are commands."""
    text = (ast.get_docstring(ast.parse(text_of(file))) or "").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if re.match(r"(\w+=\S+ )*(atbert|python) ", line))
