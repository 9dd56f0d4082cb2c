"""Search recordings that are indexed: `atbert search lib "sad piano"`.

By a text, by a clip (`--like clip.wav`), or by both; `--without "vocals"` takes something out. The
answers are the nearest windows, one of each recording.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from atbert_jax import command, index_commands
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible, visible_json

if TYPE_CHECKING:  # JAX is loaded after the flags are checked
    from atbert_jax.library.embedding_index import Hit

LIKE = flags.DEFINE_multi_string("like", [], "An audio file that is like what is wanted.")
WITHOUT = flags.DEFINE_multi_string("without", [], "A text of what is not wanted.")
TOP = flags.DEFINE_integer("top", 10, "How many are shown.", lower_bound=1)
WHERE = flags.DEFINE_multi_string("where", [], "column=value of the manifest that was indexed.")
WINDOWS = flags.DEFINE_bool("windows", False, "Show all windows that are near, not one of each.")
JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line for each answer.")
HTML = flags.DEFINE_string("html", None, "Write the answers as a page with players to this file.")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The model that made the index, where it is not at its place any more."
)


def as_json(hit: "Hit") -> dict:
    """An answer as `--json` prints it."""
    found = {"path": str(hit.record.path), "id": hit.record.id, "start": hit.start}
    found |= {"duration": hit.duration, "score": hit.score}
    return found | ({"columns": dict(hit.columns)} if hit.columns else {})


def write_page(page: Path, title: str, hits: "Sequence[Hit]", facts: dict) -> None:
    """Writes answers as a page that plays them."""
    from atbert_jax.reporting.report import Report, render
    from atbert_jax.reporting.tables import Sound, Table

    folder = page.absolute().parent
    columns = [name for name in (hits[0].columns if hits else ()) if name not in ("id", "path")]
    rows = [
        [Sound.of(h.window, folder), h.record.id, h.start, h.score, *map(h.columns.get, columns)]
        for h in hits
    ]
    table = Table("Answers", ["listen", "id", "start (s)", "cosine", *columns], rows)
    whole_file.write(page, render(Report(title=title, facts=facts, tables=[table])))


def main(arguments: list[str]) -> None:
    """Searches, and shows the answers."""
    if not arguments:
        raise ValueError('name the folder of an index, and what to search for: lib "sad piano"')
    chosen = index_commands.conditions(WHERE.value)
    from atbert_jax.library.embedding_index import Index
    from atbert_jax.reporting.tables import Table, print_table

    index = Index(arguments[0])
    index.where(chosen)
    model = index_commands.model_of(index, CHECKPOINT.value)
    query = model.query(arguments[1:], like=LIKE.value, without=WITHOUT.value)
    hits = index.search(query, TOP.value, where=chosen, each_window=WINDOWS.value)
    if not hits:
        raise ValueError(f"no recording has {', '.join(WHERE.value)}")
    if changed := index.changed(hits):
        logging.getLogger(__name__).warning(
            "%d of these %d are of files that are gone or have changed since they were indexed, as"
            " %s; run `atbert index` again",
            len(changed),
            len(hits),
            visible(str(changed[0].record.path)),
        )
    parts = [*arguments[1:], *(f"like {name}" for name in LIKE.value)]
    title = ", ".join([*parts, *(f"without {text}" for text in WITHOUT.value)])
    if HTML.value:
        facts = {"Index": index.folder, "Recordings": len(index.records), "Windows": len(index)}
        write_page(Path(HTML.value), title, hits, facts)
    if JSON.value:
        for hit in hits:
            print(visible_json(as_json(hit)))
    else:
        rows = [[str(hit.record.path), hit.start, hit.score] for hit in hits]
        print_table(Table(title, ["file", "start (s)", "cosine"], rows))


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
