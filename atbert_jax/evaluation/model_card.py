"""The card of a model: what it hears and tells, how good it is, and how to use it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atbert_jax.evaluation.compared_reports import EVALUATED
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible
from atbert_jax.reporting.tables import Table, is_number, markdown
from atbert_jax.training.trained import Trained
from atbert_jax.weights import engine, hub

FILE, METRICS, DATA = "README.md", "metrics.json", "data_card.html"
# Labels and figures that the card shows.
SHOWN_LABELS, SHOWN_FIGURES = 100, 40
# Parts of `metrics.json` that are no figures.
LEFT_OUT = ("chosen", EVALUATED)


def card(
    model: Trained,
    place: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    data: Path | None = None,
    license_id: str = "",
) -> str:
    """The card as Markdown, with the fields that the Hugging Face hub reads at its top.

    Names of labels and figures are shown as they are, and do nothing.

    Args:
        model: That is given away.
        place: Where the model goes: `hub:owner/name`, or a folder, whose name the card tells.
        metrics: What `metrics.json` of an evaluation holds.
        data: A Markdown file about the data, which becomes a part of the card; or the page that
            `atbert prepare` writes, which lies beside it as `DATA`.
        license_id: As the hub names it, `cc-by-4.0` say; empty if it is not said.

    Raises:
        ValueError: if the licence is no name, or the data's card neither of the two.
    """
    parts = [_fields(model, license_id), f"# {Path(place).name}", _about(model)]
    parts += [_of_labels(labels) for labels in model.contract.all_labels if labels.names]
    parts += ["## Use", _use(model, place)]
    if rows := list(_figures(metrics or {})):
        note = f"The first {SHOWN_FIGURES} of {len(rows)}." if len(rows) > SHOWN_FIGURES else ""
        table = Table("By `atbert evaluate`", ["figure", "value"], rows[:SHOWN_FIGURES], note)
        parts += ["## Figures", markdown(table)]
    if data is not None:
        parts += ["## Data", _of_data(data)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _fields(model: Trained, license_id: str) -> str:
    if license_id and not re.fullmatch(r"[\w.-]+", license_id):
        raise ValueError(f"{license_id!r} is no licence as the hub names them, cc-by-4.0 say")
    tasks = {labels.task for labels in model.contract.all_labels}
    tells = bool(tasks & {"single_label", "multi_label"})
    kind = "audio-classification" if tells else "feature-extraction"
    lines = ["library_name: atbert_jax", f"pipeline_tag: {kind}", "tags: [audio, jax, atbert_jax]"]
    lines += [f"license: {license_id}"] if license_id else []
    return "\n".join(["---", *lines, "---"])


def _about(model: Trained) -> str:
    contract, learner = model.contract, model.learner
    size = sum(x.size for x in engine.flat(model.params).values())
    segmenting, rate = contract.segmenting, contract.spectrogram.sample_rate
    knows = " and ".join(learner.model.modalities)
    name = _code(model.config.model.name)
    return (
        f"A model of `atbert_jax`: {name} with {size:,} parameters, trained on"
        f" {', '.join(map(_code, learner.objectives))}. It knows {knows}, and hears {rate:,} Hz"
        f" in chunks ({segmenting}). Any rate, number of channels and"
        " length can be given: what has to be done with a file is a part of the model."
    )


def _of_labels(labels: Labels) -> str:
    what = {"regression": "numbers", "multi_label": "tags", "single_label": "labels"}[labels.task]
    names = ", ".join(map(_code, labels.names[:SHOWN_LABELS]))
    more = len(labels.names) - SHOWN_LABELS
    title = f"{what.capitalize()} of {_code(labels.name)}" if labels.name else what.capitalize()
    return f"**{title}** ({len(labels.names)}): {names}" + (f" and {more} more" * (more > 0))


def _use(model: Trained, place: str) -> str:
    has_labels = any(labels.names for labels in model.contract.all_labels)
    ask = 'model.predict("song.mp3")' if has_labels else 'model.embed_audio("song.mp3")'
    if "audio" not in model.learner.model.modalities:
        ask = 'model.embed_text("slow piano")'
    # Where the folder is on this disk is nobody's business, and of no use elsewhere.
    shown = place if place.startswith(hub.PREFIX) else Path(place).name
    lines = [
        "```python",
        "import atbert_jax",
        "",
        f'model = atbert_jax.load("{shown}")',
        ask,
        "```",
    ]
    return "\n".join(lines)


def _figures(values: Mapping[str, Any], before: str = "") -> Iterator[list]:
    """A row for each number, also of parts; of lists there is none."""
    for name, value in values.items():
        if isinstance(value, Mapping) and (before or name not in LEFT_OUT):
            yield from _figures(value, f"{before}{name}/")
        elif is_number(value) and value is not None:
            yield [_code(f"{before}{name}"), value]


def read_metrics(report: Path) -> dict[str, Any]:
    """What `metrics.json` in the folder of an evaluation holds.

    Raises:
        ValueError: if there is none, or it is damaged.
    """
    path = report / METRICS
    if not path.is_file():
        raise ValueError(f"{report}: no {METRICS} here; give the --output of `atbert evaluate`")
    return whole_file.read_json(path, "evaluate again")


def _of_data(data: Path) -> str:
    if data.suffix == ".html":
        return f"See [what is in it]({DATA})."
    if data.suffix != ".md":
        raise ValueError(f"{data}: give a text as .md, or the card.html of `atbert prepare`")
    return data.read_text(encoding="utf-8")


def _code(name: str) -> str:
    """A name from outside as a span of code, in which nothing is markup."""
    shown = visible(name)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"
