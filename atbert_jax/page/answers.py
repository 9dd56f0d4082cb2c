"""What a page answers, as functions of what was typed and sent, without a server or a browser."""

import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library.embedding_index import Index
from atbert_jax.library.label_session import LabelSession
from atbert_jax.model import Model
from atbert_jax.page import markup
from atbert_jax.page.sounds import Sounds
from atbert_jax.page.uploads import Limits, accept

TOP = 10
# Between labels that are typed.
COMMA = ","
NO_LABELLING = (
    "To label by listening here, start the server with --output, the manifest to write:"
    " atbert serve lib --checkpoint M --output piano.csv"
)


def told(function: Callable) -> Callable:
    """One request at a time; what is wrong with it is told on the page."""

    @functools.wraps(function)
    def guarded(self: "Answers", *given: Any) -> Any:
        with self.lock:
            try:
                return function(self, *given)
            except (ValueError, OSError) as error:
                return self.refused(function.__name__, self.message(error))

    return guarded


class Answers:
    """Answers the requests of a page.

    Args:
        model: That made the index.
        index: That is searched.
        uploads: The folder that the server puts uploads into, and no other one.
        sounds: That can be played.
        limits: Of uploads.
        session: That is labelled; None where nothing is.
    """

    def __init__(
        self,
        model: Model,
        index: Index,
        uploads: Path,
        sounds: Sounds,
        limits: Limits,
        session: LabelSession | None = None,
    ) -> None:
        self.model, self.index, self.session = model, index, session
        self.uploads, self.sounds, self.limits = uploads, sounds, limits
        self.lock = threading.Lock()

    def message(self, error: Exception) -> str:
        """What an error says, without the folder of the uploads."""
        return str(error).replace(f"{self.uploads.resolve()}{os.sep}", "")

    def refused(self, name: str, message: str) -> Any:
        """What a function gives where it has nothing to give."""
        if name in ("begin", "say", "undo"):
            return markup.note(message), None
        return markup.note(message)

    @told
    def search(self, text: str, without: str, upload: str | None) -> str:
        """The recordings that are nearest to a text, a clip, or both."""
        hits = self.index.search(self._query(text, upload, without), TOP)
        return markup.hits([(hit, self.sounds.add(hit.window)) for hit in hits])

    @told
    def listen(self, upload: str | None, labels: str, template: str) -> str:
        """The labels of a clip by time, and how well others fit that the model was not taught."""
        path = accept(upload, self.uploads, self.limits)
        if path is None:
            raise ValueError("choose a file first")
        shown = [f"<h2>{markup.text(path.name)}</h2>"]
        number = self.sounds.add(Record(path.name, path), self.limits.seconds)
        try:
            shown.append(markup.taggram(self.model.tag(path, by_time=True), number))
        except ValueError as error:
            shown += [markup.player(number), markup.note(self.message(error))]
        names = [name.strip() for name in labels.split(COMMA) if name.strip()]
        if names:
            try:
                (found,) = self.model.zero_shot(path, names, template=template or "{}")
                shown.append(markup.probabilities("Labels of yours", found))
            except ValueError as error:  # what was found until here is shown all the same
                shown.append(markup.note(f"Labels of yours: {self.message(error)}"))
        return "".join(shown)

    @told
    def begin(self, text: str, upload: str | None) -> tuple[str, int | None]:
        """What to hear first, for a text or a clip; without either, what comes next."""
        if self.session and (text.strip() or upload):
            self.session.ask(self._query(text, upload))
        return self._next()

    @told
    def say(self, window: int | None, says: str) -> tuple[str, int | None]:
        """Keeps what is said of the window that was shown; what to hear next, and its number."""
        if self.session and window is not None:
            self.session.say(window, says)
        return self._next()

    @told
    def undo(self) -> tuple[str, int | None]:
        """Takes the last answer back, and asks again."""
        if self.session:
            self.session.undo()
        return self._next()

    def _query(self, text: str, upload: str | None, without: str = "") -> Any:
        path = accept(upload, self.uploads, self.limits)
        return self.model.query(
            [text.strip()] if text.strip() else [],
            like=[path] if path else [],
            without=[without.strip()] if without.strip() else [],
        )

    def _next(self) -> tuple[str, int | None]:
        if self.session is None:
            return markup.note(NO_LABELLING), None
        offer, counts, label = self.session.offer(), self.session.counts, self.session.file.label
        said = (
            f"<p>{markup.text(label)}: {counts.yes} yes, {counts.no} no,"
            f" {counts.skipped} skipped</p>"
        )
        if offer is None:
            return said + markup.note("Nothing is left to hear."), None
        sure = "" if offer.hit.score != offer.hit.score else f", {offer.hit.score:.2f}"
        shown = (
            f'<div class="offer"><h3>Is this {markup.text(label)}?</h3>'
            f"{markup.player(self.sounds.add(offer.record), starts=True)}"
            f"<p>{markup.text(offer.hit.record.path.name)}, {offer.hit.start:.2f} to"
            f" {offer.end:.2f} s <small>({markup.text(offer.reason)}{sure})</small></p></div>"
        )
        return shown + said, offer.window
