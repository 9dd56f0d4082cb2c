"""Find recordings that are there more than once: `atbert duplicates lib`.

Copies are told by their bytes, near-duplicates (another encoding, a shorter edit) by the cosine of
their vectors.
"""

from typing import TYPE_CHECKING

from absl import flags

from atbert_jax import command
from atbert_jax.input_pipeline.text.visible import visible_json

if TYPE_CHECKING:  # JAX is loaded after the flags are checked
    from atbert_jax.library.near_duplicates import Member

THRESHOLD = flags.DEFINE_float(
    "threshold",
    0.99,
    "Cosine from which on two recordings are near-duplicates; 2: copies alone.",
    lower_bound=0,
)
JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line for each group.")


def as_json(members: "list[Member]") -> dict:
    """A group as `--json` prints it."""
    return {
        "recordings": [
            {
                "path": str(member.record.path),
                "id": member.record.id,
                "seconds": member.seconds,
                "cosine": member.cosine,
                "copy": member.is_copy,
            }
            for member in members
        ]
    }


def main(arguments: list[str]) -> None:
    """Shows the groups."""
    if len(arguments) != 1:
        raise ValueError("name the folder of one index, as lib")
    from atbert_jax.library.embedding_index import Index
    from atbert_jax.library.near_duplicates import groups
    from atbert_jax.reporting.tables import Table, print_table

    found = groups(Index(arguments[0]), THRESHOLD.value)
    if JSON.value:
        for members in found:
            print(visible_json(as_json(members)))
        return
    rows = [
        [str(number), str(m.record.path), m.seconds, "copy" if m.is_copy else "near", m.cosine]
        for number, members in enumerate(found, start=1)
        for m in members
    ]
    columns = ["group", "file", "seconds", "as the first", "cosine"]
    print_table(Table(f"{len(found)} groups of duplicates", columns, rows))


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
