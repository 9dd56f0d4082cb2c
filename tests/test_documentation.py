"""What README, docs, CONTRIBUTING and docstrings show is true: commands, code, names and links."""

import ast
import contextlib
import functools
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from atbert_jax.__main__ import VERBS
from atbert_jax.configs import defaults
from docs import drawings, reference_pages
from docs.command_flags import loaded
from tests.documents import (
    LANGUAGES,
    PAGES,
    ROOT,
    blocks,
    inline,
    name_of,
    prose,
    text_of,
)
from tests.test_documented_commands import check
from tests.test_layers import LAYERS

# Flags of theirs that pages speak of.
OTHER_FLAGS = {"--environment_type", "--environment_config", "--gpus-per-task", "--signal"}
OTHER_FLAGS |= {"--user", "--network", "--memory"}  # of docker
# Configs that a recipe of CONTRIBUTING makes.
IN_RECIPES = {"tagger:band_mean"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert text_of(page).count("```") == 2 * len(blocks(page))
    indented = re.findall(r"^ {4}(?:atbert|make|pip|python) .*", prose(page), re.MULTILINE)
    assert not indented, "commands stand in fences"


PYTHON = [
    (f"{name_of(page)}: {block.title or block.text[:40]!r}", block.text)
    for page in PAGES
    for block in blocks(page)
    if block.language == "python"
]


@pytest.mark.parametrize("text", [text for _, text in PYTHON], ids=[name for name, _ in PYTHON])
def test_python_compiles_and_its_imports_resolve(text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert resolves(f"{node.module}.{alias.name}")
    if "def get_config(" in text:
        space = {}
        exec(compile(tree, "page", "exec"), space)
        space["get_config"]()


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    # Not imported, for two commands may have flags of the same name.
    with contextlib.suppress(ModuleNotFoundError):
        if importlib.util.find_spec(name):
            return True
    module, _, rest = name.rpartition(".")
    return bool(module) and resolves(module) and hasattr(importlib.import_module(module), rest)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_of_modules_and_files_are_there(page):
    text = text_of(page)
    for name in set(re.findall(r"\batbert_jax(?:\.[A-Za-z_]\w*)+", prose(page))):
        assert resolves(name), name
    for path in set(re.findall(r"`([\w.]+(?:/[\w.]+)+\.(?:py|md|toml))`", text)):
        written = any(block.title == path for block in blocks(page))
        assert written or (ROOT / path).is_file(), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_fields_of_the_config_are_there(page):
    config = defaults.get_config().to_dict()
    for code in inline(prose(page)):
        found = re.fullmatch(r"(?:--)?config\.([\w.]+)(?:=.*)?", code)
        # The names of objectives are free, and a run's folder has files that are called so, too.
        if not found or found[1].startswith("objectives.") or found[1] in ("json", "py"):
            continue
        inner = config
        for part in found[1].split("."):
            assert part in inner, code
            inner = inner[part]


def test_configs_within_sentences_are_there():
    names = [
        code.removeprefix("--config ")
        for page in PAGES
        for code in inline(prose(page))
        if code.startswith("--config ")
    ]
    assert len(names) > 3
    for name in names:
        # Recipes and files of one's own are not here.
        if not name.partition(":")[0].endswith(".py") and name not in IN_RECIPES:
            check(["atbert", "train", "--config", name, "--workdir", "a"])


@functools.cache
def all_flags() -> set[str]:
    names = set(OTHER_FLAGS)
    for name in [*VERBS, *(name_of(file) for file in (ROOT / "benchmarks").glob("*.py"))]:
        with loaded(name) as command:
            own = {flag.name for flag in command.flags}
            names |= own | {f"--no{flag[2:]}" for flag in own}
    return names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_are_there(page):
    for code in inline(prose(page)):
        found = re.match(r"--(?!config\.|xla_)[a-z][\w-]*", code)
        assert not found or found[0] in all_flags(), code


def test_the_page_of_commands_has_every_flag():
    found = reference_pages.commands_page()
    for verb in VERBS:
        section = found.partition(f"## atbert {verb}\n")[2].partition("\n## ")[0]
        with loaded(verb) as command:
            assert all(f"| `{flag.name}` |" in section for flag in command.flags)
    assert "| `--workdir` | required | Folder that the run writes into. |" in found
    assert "| `--clips` | `720` | number of clips |" in found


def test_the_page_of_configs_has_every_field():
    found = reference_pages.configs_page()
    names = list(reference_pages.leaves(defaults.get_config().to_dict()))
    assert len(names) > 150
    assert all(f"| `config.{name}` |" in found for name in names)
    assert found.count("\n| `config.") == len(names)
    unexplained = re.findall(r"^\| `config\.(.*?)` .*\| *\|$", found, re.MULTILINE)
    assert [name for name in unexplained if not name.startswith("objectives.")] == []
    for file in (ROOT / "configs").glob("*.py"):
        is_config = "def get_config" in text_of(file) and file.stem != "defaults"
        assert (f"\n| `{file.stem}` |" in found) == is_config
    # Said behind a field, above it, and in the docstring of a dataclass.
    for field, meaning in {
        "data.root": "folder that paths are relative to",
        "data.bucketing": "sorted together, 32 say. 0: every batch",
        "masked_language.with_audio": "whether the clip is in view",
        "augmentation.gain_db": "Largest change of level up or down, in dB.",
        "features.n_mfcc": "Number of MFCCs.",
    }.items():
        (row,) = re.findall(rf"^\| `config\.{field}` .*$", found, re.MULTILINE)
        assert meaning in row


def anchors(page: Path) -> set[str]:
    """Of the headings, as Python-Markdown makes them."""
    text = re.sub(r'--8<-- "(.+)"', lambda found: prose(ROOT / found[1]), prose(page))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    kept = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_resolve(page):
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_pictures_show_what_they_are_drawn_from():
    """If this fails, draw them again: `python docs/drawings.py`."""
    picture = text_of(ROOT / "docs" / "images" / "layers.svg")
    assert picture == drawings.layers_picture(LAYERS)
    assert all(
        f">{name.split('.')[1]}</text>" in picture for layer in LAYERS[:-1] for name in layer
    )
    shown = drawings.accuracies(text_of(ROOT / "docs" / "results.md"))
    assert len(shown) == 12
    assert shown["harmonic_cnn"] == 0.953


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 160
