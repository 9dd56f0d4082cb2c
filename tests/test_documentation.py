"""What README, docs, CONTRIBUTING and docstrings show is true: commands, code, names and links."""

import ast
import functools
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from atbert_jax.__main__ import VERBS
from atbert_jax.configs import defaults
from docs import pictures, reference_pages
from docs.commands import loaded
from tests.test_layers import LAYERS

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
# Programs that are not the project's own; what stands behind them is not looked at.
OTHERS = {"exit", "gcloud", "scontrol", "srun", "tensorboard", "[", "cd"}
# Flags of theirs that pages speak of.
OTHER_FLAGS = {"--environment_type", "--environment_config", "--gpus-per-task", "--signal"}
# Configs that a recipe of CONTRIBUTING makes.
IN_RECIPES = {"tagger:band_mean"}
LANGUAGES = {"bash", "diff", "python", "text"}

FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
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


SHOWN = [
    (f"{name_of(page)}: {' '.join(words)[:90]}", words)
    for page in PAGES
    for block in blocks(page)
    if block.language == "bash"
    for words in commands(block.text)
]
IN_DOCSTRINGS = [
    (f"{name_of(file)}: {' '.join(words)[:90]}", words)
    for file in SOURCES
    for words in commands(in_docstring(file))
]
# In the middle of a sentence a command may lack what is required.
IN_SENTENCES = [
    (f"{name_of(file)}: {code[:90]}", shlex.split(code))
    for file in [*PAGES, *SOURCES]
    for code in inline(
        prose(file) if file.suffix == ".md" else ast.get_docstring(ast.parse(text_of(file))) or ""
    )
    if code.startswith("atbert ") and "VERB" not in code and "..." not in code
]


def check(words: list[str], *, complete: bool = True) -> None:
    """Refuses a command whose program, verb, flags, config or overrides there are not."""
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    if not words:
        return
    program, *rest = words
    program = Path(program).name
    if program == "srun":
        check(rest)
    elif program == "gcloud":
        remote = [word for word in rest if "atbert" in word]
        assert remote, "a command for other machines that does nothing with this project"
        for inner in commands(remote[0].removeprefix("--command=")):
            check(inner)
    elif program == "atbert":
        check_verb(rest, complete=complete)
    elif program == "python":
        check_python(rest)
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
        assert set(rest) <= set(targets)
    elif program == "pip":
        check_pip(rest)
    else:
        assert program in OTHERS, f"{program} is no program of the project"


def check_verb(words: list[str], *, complete: bool = True) -> None:
    verb, *rest = words
    if verb in ("--help", "--version"):
        return
    assert verb in VERBS, f"no verb {verb}"
    if "--help" not in rest:
        with loaded(verb) as command:
            command.parse(rest, complete=complete)


def check_python(words: list[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        if words[0].startswith("benchmarks/"):
            with loaded(words[0]) as command:
                command.parse(words[1:])
        return
    module, *rest = words[1:]
    if module == "atbert_jax":
        check_verb(rest)
    elif module.startswith("atbert_jax."):
        assert module not in [name for name, _ in VERBS.values()], "say `atbert VERB`"
        # Verbs alone find configs by their names.
        configs = [flag for flag in rest if flag.startswith("configs/")]
        assert len(configs) == rest.count("--config")
        with loaded(module) as command:
            command.parse(rest)


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    for extras in re.findall(r"(?:^|\s)(?:\.|atbert-jax)\[([^]]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("words", [words for _, words in SHOWN], ids=[name for name, _ in SHOWN])
def test_commands_of_pages_parse(words):
    check(words)


@pytest.mark.parametrize(
    "words", [words for _, words in IN_DOCSTRINGS], ids=[name for name, _ in IN_DOCSTRINGS]
)
def test_commands_of_docstrings_parse(words):
    check(words)


@pytest.mark.parametrize(
    "words", [words for _, words in IN_SENTENCES], ids=[name for name, _ in IN_SENTENCES]
)
def test_commands_within_sentences_parse(words):
    check(words, complete=False)


def test_commands_are_found():
    verbs = {words[1] for _, words in SHOWN if words[0] == "atbert"}
    assert verbs >= VERBS.keys()
    assert len(SHOWN) > 80
    assert len(IN_DOCSTRINGS) > 20
    assert len(IN_SENTENCES) > 10


@pytest.mark.parametrize(
    "wrong",
    [
        "atbert trian --config atbert_pretrain --workdir a",
        "atbert train --config atbert_pretrian --workdir a",
        "atbert train --config atbert_pretrain:huge --workdir a",
        "atbert train --config atbert_pretrain --workdri a",
        "atbert train --config atbert_pretrain",
        "atbert train --config atbert_pretrain --workdir a --config.train.stpes=3",
        "atbert train --config atbert_pretrain --workdir a --config.train.steps=many",
        "atbert train --config atbert_pretrain --workdir a b",
        "atbert evaluate --checkpoint a --output b --split all",
        "atbert prepare esc50 --root a",
        "atbert prepare esc50 --root a --output b --shard",
        "atbert synthesize --output a --clips many",
        "python benchmarks/train_step.py --config atbert_pretrain:tiny --batches 2",
        "python benchmarks/nothing.py",
        "python -m atbert_jax.train --config atbert_pretrain --workdir a",
        "python -m atbert_jax.input_pipeline.batching.benchmark",
        "make lnt",
        "pip install '.[trian]'",
        "abtert train",
        "srun atbert train --config nothing --workdir a",
        "gcloud ssh --command='cd a && atbert train --config nothing --workdir b'",
    ],
)
def test_a_wrong_command_is_refused(wrong):
    (words,) = commands(wrong)
    with pytest.raises((SystemExit, AssertionError, ValueError)) as caught:
        check(words)
    assert getattr(caught.value, "code", 2) == 2


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
    module, _, rest = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return bool(module) and resolves(module) and hasattr(importlib.import_module(module), rest)
    return True


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
    """If this fails, draw them again: `python docs/pictures.py`."""
    picture = text_of(ROOT / "docs" / "images" / "layers.svg")
    assert picture == pictures.layers_picture(LAYERS)
    assert all(
        f">{name.split('.')[1]}</text>" in picture for layer in LAYERS[:-1] for name in layer
    )
    shown = pictures.accuracies(text_of(ROOT / "docs" / "results.md"))
    assert len(shown) == 12
    assert shown["harmonic_cnn"] == 0.953


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 160
