"""Which moments of a clip speak for which tag, by a tagger with self-attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.special import expit

from atbert_jax.evaluation import taggram
from atbert_jax.evaluation.taggram import LONGEST_TITLE
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.dataset import Split
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.taggers.attention_tagger import AttentionTagger
from atbert_jax.models.taggers.tagger import Tagger
from atbert_jax.models.taggers.tagger_frontend import decibels, power_spectrum
from atbert_jax.reporting import plots
from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering, shortened
from atbert_jax.reporting.report import Figure
from atbert_jax.training.trained import Trained
from atbert_jax.training.validation import Outputs

OBJECTIVE = "classification"
# Tags in a picture.
MOST_TAGS = 4
NOTE = (
    "Where the last layer's attention goes, and what is added to a tag's logit when all attention"
    " but that to one moment is taken away: red speaks for the tag, blue against it."
)


@dataclasses.dataclass(frozen=True)
class Contribution:
    """What T moments of a clip have to do with C tags.

    Attributes:
        title: Names the clip.
        names: (C,) of the tags.
        start: Where in the file it begins, in seconds.
        step: From one moment to the next, in seconds.
        log_mel: (F, frames) of the clip, in dB.
        hop: From one frame to the next, in seconds.
        attention: (T,) of the summary to each moment in the last layer, the mean over its heads.
        logits: (T, C) that each moment adds by itself.
        scores: (C,) probabilities of the clip.
    """

    title: str
    names: Sequence[str]
    start: float
    step: float
    log_mel: np.ndarray
    hop: float
    attention: np.ndarray
    logits: np.ndarray
    scores: np.ndarray

    def draw(self, most: int = MOST_TAGS) -> bytes:
        """Draws the attention, and the contributions to the most probable tags, over the log-mel.

        Returns:
            A PNG.
        """
        order = np.argsort(-self.scores, kind="stable")[:most]
        names = [self.names[c] for c in order]
        end = self.start + self.log_mel.shape[1] * self.hop
        extent = (self.start, end, 0, len(self.log_mel))
        # What is louder than the quiet half of the picture is told apart.
        grey = {"cmap": "Greys", "vmin": np.median(self.log_mel), "vmax": self.log_mel.max() + 10}
        edges = np.minimum(self.start + np.arange(len(self.attention) + 1) * self.step, end)
        edges[-1] = end
        largest = max(np.abs(self.logits[:, order]).max(), 1e-6)
        with lettering([*names, self.title], LONGEST_TITLE) as labels:
            figure = canvas(8.2, 1.3 * (len(order) + 1) + 0.8)
            rows = figure.subplots(len(order) + 1, 1, sharex=True)
            for axes in rows:
                axes.imshow(self.log_mel, origin="lower", aspect="auto", extent=extent, **grey)
                axes.set(yticks=[], xlim=(self.start, end))
            rows[0].set_title(labels[-1], fontsize=10, loc="left")
            rows[0].set_ylabel("attention", rotation=0, ha="right", va="center", fontsize=9)
            beside = rows[0].twinx()
            beside.stairs(100 * self.attention, edges, color=plots.ORANGE, lw=1.4)
            beside.set_ylim(0, 100 * max(self.attention.max(), 1e-6) * 1.1)
            beside.tick_params(labelsize=7)
            beside.set_ylabel("%", fontsize=8)
            for axes, label, c in zip(rows[1:], labels, order, strict=False):
                text = f"{shortened(label, 18)}\n{self.scores[c]:.2f}"
                axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)
                image = axes.pcolormesh(
                    edges,
                    [0, len(self.log_mel)],
                    self.logits[None, :, c],
                    cmap="RdBu_r",
                    vmin=-largest,
                    vmax=largest,
                    alpha=0.6,
                    linewidth=0,
                )
            rows[-1].set_xlabel("time (s)")
            bar = figure.colorbar(image, ax=rows[1:], pad=0.01, aspect=30)
            bar.set_label("added to the logit")
            return encode(figure)

    def save(self, stem: Path) -> None:
        """Writes `<stem>.contribution.png`, and `.npz` with the attributes under their names."""
        stem.with_name(f"{stem.name}.contribution.png").write_bytes(self.draw())
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        np.savez_compressed(stem.with_name(f"{stem.name}.contribution.npz"), **arrays)


def network_of(learner: nnx.Module) -> AttentionTagger | None:
    """The network of a tagger with self-attention that was trained on labels, or None."""
    if not isinstance(learner.model, Tagger) or OBJECTIVE not in learner.objectives:
        return None
    network = learner.model.network
    return network if isinstance(network, AttentionTagger) else None


class Contributions:
    """Asks a tagger with self-attention which moments its answers come from.

    Won et al. (2019) leave the last layer of a tagger only the attention to one moment, for each
    moment in turn, and see what it says then. So is it done here, but for two things: what the
    summary takes of itself stays, in the proportion that it had to that moment; and shown is the
    difference to the logit where it attends to no moment at all. What earlier layers have carried
    from one moment to another counts where it was carried to.

    Args:
        model: From `trained.load`.

    Raises:
        ValueError: if it is no such tagger.
    """

    def __init__(self, model: Trained) -> None:
        if network_of(model.learner) is None:
            raise ValueError(
                f"{model.workdir}: a {model.config.model.name} has no attention to draw, or was not"
                " trained on labels"
            )
        self.model = model
        contract = model.contract
        self.reader = Reader(contract.spectrogram.sample_rate, contract.segmenting)

        @jax.jit
        def ask(params: dict, statistics: dict, waveform: jax.Array) -> tuple[jax.Array, ...]:
            learner = nnx.merge(model.definition, params, statistics)
            power = power_spectrum(waveform[None], contract.spectrogram)
            log_mel = decibels(power @ contract.spectrogram.mel_matrix, 1e-10)[0].T
            return (log_mel, *moments(learner, waveform))

        self._ask = ask

    def of_chunk(self, record: Record, chunk: int) -> Contribution:
        """Of the first segment of a chunk of a record.

        Raises:
            AudioError: if the file is not readable.
        """
        contract, rate = self.model.contract, self.reader.sample_rate
        duration = self.reader.duration(record)
        start = contract.segmenting.starts(duration, rate, chunk)[0][0]
        waveform, _ = self.reader.segments(record, chunk)
        found = self._ask(self.model.params, self.model.statistics, jnp.asarray(waveform[0]))
        log_mel, attention, logits, whole = map(np.asarray, found)
        single = contract.labels.task == "single_label"
        hop = contract.spectrogram.hop_length / rate
        return Contribution(
            title=f"{record.id}, from {start:.1f} s",
            names=contract.labels.names,
            start=float(start),
            step=hop * network_of(self.model.learner).token_frames,
            log_mel=log_mel,
            hop=hop,
            attention=attention,
            logits=logits,
            scores=np.asarray(jax.nn.softmax(whole)) if single else expit(whole),
        )


def moments(learner: nnx.Module, waveform: jax.Array) -> tuple[jax.Array, ...]:
    """Attention and contributions of the moments of a waveform.

    Args:
        learner: Its trunk has a network that `network_of` gives.
        waveform: (samples,).

    Returns:
        Attention (T,), the contributions to the logits (T, C), and the logits themselves (C,).
    """
    network, objective = network_of(learner), learner.objectives[OBJECTIVE]
    batch, leading = waveform[None], network.leading_tokens
    tokens = network.embed(batch, jnp.ones(1), None)
    for layer in list(network.layers)[:-1]:
        tokens = layer(tokens, None, None)
    last, (first, sound) = network.layers[-1], jnp.split(tokens, [leading], axis=1)

    def logits(tokens: jax.Array) -> jax.Array:
        features = network.summarize(last(tokens, None, None)[:, 0])
        return objective.logits(Encoded(features[:, None], jnp.ones((len(features), 1))), None)

    each = jnp.swapaxes(sound, 0, 1)
    alone = jnp.concatenate([jnp.broadcast_to(first, (len(each), *first.shape[1:])), each], axis=1)
    attention = network.attention(batch)[0, -1].mean(axis=0)[0, leading:]
    return attention, logits(alone) - logits(first), logits(tokens)[0]


def telling_chunk(scores: np.ndarray, answer: np.ndarray) -> int:
    """The chunk (of K) whose score (K, C) of the clip's most probable label (C,) is the highest."""
    return int(scores[:, np.argmax(answer)].argmax())


def figures(model: Trained, split: Split, outputs: Mapping[str, Outputs]) -> list[Figure]:
    """Contributions in the most telling chunk of the first clips of a split.

    Args:
        model: That answered; nothing is drawn unless `network_of` gives its network.
        split: Its records.
        outputs: Of `split.answers`, by objective.
    """
    if network_of(model.learner) is None:
        return []
    asked, found = Contributions(model), []
    for record, scores, answer in taggram.clips(model, split, outputs, fewest=1):
        drawn = asked.of_chunk(record, telling_chunk(scores, answer))
        found.append(Figure(f"Contributions to labels: {record.id}", drawn.draw(), NOTE))
    return found
