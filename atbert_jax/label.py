"""Label by listening: `atbert label lib "sad piano" --output music/piano.csv`.

A text or a clip (`--like clip.wav`) begins it. After each answer a linear model is fitted on the
vectors of the index; the windows of which it is most and least sure are asked about in turns. One
key says yes (y), no (n) or skip (s), hears it again (r), takes the last answer back (u) or quits
(q). The result is a manifest for `atbert probe` and `atbert train`; the same command goes on.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from atbert_jax import command, index_commands

if TYPE_CHECKING:  # JAX is loaded after the flags are checked
    from atbert_jax.input_pipeline.progress import Terminal
    from atbert_jax.library.label_session import LabelSession

OUTPUT = flags.DEFINE_string("output", None, "Manifest to write, with the extension .csv.")
LABEL = flags.DEFINE_string(
    "label", "", "Name of what is sought; by default that of the manifest, as `piano` of piano.csv."
)
LIKE = flags.DEFINE_multi_string("like", [], "An audio file that is like what is sought.")
WHERE = flags.DEFINE_multi_string("where", [], "column=value of the manifest that was indexed.")
PLAYER = flags.DEFINE_string(
    "player", "", "Command that plays a file, or none; by default one that the system has."
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The model that made the index, where it is not at its place any more."
)


def main(arguments: list[str]) -> None:
    """Asks, and writes what is said."""
    if not arguments:
        raise ValueError('name the folder of an index, and what to begin with: lib "sad piano"')
    chosen = index_commands.conditions(WHERE.value)
    from atbert_jax.input_pipeline.progress import Terminal
    from atbert_jax.library import listening
    from atbert_jax.library.embedding_index import Index
    from atbert_jax.library.label_file import LabelFile
    from atbert_jax.library.label_session import LabelSession

    words = listening.find_player(PLAYER.value)
    file = LabelFile(Path(OUTPUT.value), LABEL.value)
    index, query = Index(arguments[0]), None
    with file.locked():
        file.read()  # what is wrong with it is said before the model is loaded
        if arguments[1:] or LIKE.value:
            model = index_commands.model_of(index, CHECKPOINT.value)
            query = model.query(arguments[1:], like=LIKE.value)
        session, console = LabelSession(index, file, query, chosen), Terminal()
        with listening.keys() as keys, listening.Player(words) as player:
            listening.label(session, keys, player, console)
        show(session, console)


def show(session: "LabelSession", console: "Terminal") -> None:
    """What it has come to."""
    counts, file = session.counts, session.file
    console.print(
        f"{file.manifest}: {counts.yes} {file.label}, {counts.no} not, {counts.skipped} skipped"
    )
    if (found := session.found()) is not None:
        console.print(f"{found} windows that were not heard sound like {file.label}, too")
    if counts.lost:
        console.print(f"{counts.lost} are of files that are gone, and have no row")
    if counts.outside:
        console.print(
            f"{counts.outside} are outside of {file.manifest.parent}: probe and train with"
            " --config.data.allow_outside"
        )


if __name__ == "__main__":
    command.run(main, required=("output",), takes_arguments=True)
