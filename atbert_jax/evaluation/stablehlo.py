"""A model as one program of StableHLO, which answers where this package is not installed.

The program has the front end, the network, its objectives and its arrays inside. It takes what
`Predictor` reads of a chunk, and gives the same numbers: `predict` puts chunks together.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export

from atbert_jax.evaluation.prediction import Predictor, ask, unknown_fields
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.objectives.views import AUDIO, MODALITIES, TEXT
from atbert_jax.training.trained import Trained
from atbert_jax.weights import engine, files

PROGRAM, ABOUT = "model.stablehlo", "model.json"
PLATFORMS = ("cpu", "cuda", "tpu")
SCHEMA = 1
# By the names of the inputs.
MEANINGS = {
    "waveform": "samples of each segment at `sample_rate`, silence behind the end",
    "frames": "musical features, as `atbert extract` computes them; 0 behind the end",
    "samples": "how many samples of each segment are real; 0: the segment is behind the end",
    "real": "1 for each frame that is real, 0 behind the end",
    "token_ids": "tokens of the text, by the tokenizer's files",
    "token_mask": "1 for each token that is real",
}


def write(model: Trained, folder: Path, platforms: Sequence[str] = PLATFORMS) -> dict[str, Any]:
    """Writes a model for programs that do not have this package.

    `model.stablehlo` is what `jax.export.deserialize` reads, and `model.json` says what it takes
    and gives; `weights.safetensors` has the same arrays by name, beside `config.json`,
    `contract.json` and the tokenizer.

    Args:
        model: Any run's.
        folder: New.
        platforms: What the program is for, some of `PLATFORMS`.

    Returns:
        What `model.json` holds.

    Raises:
        ValueError: if the folder has something in it.
    """
    with files.creating(folder) as draft:
        program = export_program(model, platforms)
        about = describe(model, program)
        (draft / PROGRAM).write_bytes(program.serialize())
        whole_file.write(draft / ABOUT, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        model.save(draft)
    return about


def export_program(model: Trained, platforms: Sequence[str]) -> export.Exported:
    """The program, for any number of chunks B at a time.

    It maps a dict of (B, ...), named as `MEANINGS` has them, to one of `embedding/VIEW` (B, D) and
    what each objective's `predict` gives, as `classification/audio` (B, C).
    """
    predictor = Predictor(model)
    reader, contract = predictor.reader, model.contract
    params, statistics = jax.device_get((model.params, model.statistics))
    given = _inputs(predictor)
    silence, nothing_real = reader.shapes

    def answers(given: dict[str, jax.Array]) -> dict[str, jax.Array]:
        rows = next(iter(given.values())).shape[0]
        no_text = jnp.zeros((rows, contract.max_tokens), jnp.int32)
        real = given.get(reader.tells, jnp.zeros((rows, *nothing_real), jnp.int32))
        batch = {
            reader.carries: given.get(reader.carries, jnp.zeros((rows, *silence), jnp.float32)),
            **reader.masks(real),
            "token_ids": given.get("token_ids", no_text),
            "token_mask": given.get("token_mask", no_text).astype(jnp.float32),
            **unknown_fields(contract, rows),
        }
        learner = nnx.merge(model.definition, params, statistics)
        outputs, embeddings = ask(learner, learner.prepare(batch, jax.random.key(0)))
        known = {view: embeddings[view] for view in predictor.views}
        return engine.flat(outputs, {"embedding": known})

    return export.export(jax.jit(answers), platforms=platforms)(given)


def describe(model: Trained, program: export.Exported) -> dict[str, Any]:
    """What a program takes and gives, for people and programs."""
    contract = model.contract
    reader = Predictor(model).reader
    (given,), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    shapes = {
        name: {
            "shape": [size if isinstance(size, int) else "B" for size in like.shape],
            "dtype": str(like.dtype),
        }
        for name, like in (given | outputs).items()
    }
    return {
        "schema": SCHEMA,
        "platforms": list(program.platforms),
        "inputs": {name: shapes[name] | {"meaning": MEANINGS[name]} for name in given},
        "outputs": {name: shapes[name] for name in outputs},
        "labels": [dataclasses.asdict(labels) for labels in contract.all_labels],
        "sample_rate": reader.sample_rate,
        "segments": dataclasses.asdict(contract.segmenting),
    }


def _inputs(predictor: Predictor) -> dict[str, jax.ShapeDtypeStruct]:
    """What the model knows, of any number of rows."""
    reader, contract = predictor.reader, predictor.model.contract
    (rows,) = export.symbolic_shape("b")
    known = set().union(*(MODALITIES[view] for view in predictor.views))
    sound, real = reader.shapes
    given = {}
    if AUDIO in known:
        given[reader.carries] = jax.ShapeDtypeStruct((rows, *sound), jnp.float32)
        given[reader.tells] = jax.ShapeDtypeStruct((rows, *real), jnp.int32)
    if TEXT in known:
        tokens = rows, contract.max_tokens
        given["token_ids"] = jax.ShapeDtypeStruct(tokens, jnp.int32)
        given["token_mask"] = jax.ShapeDtypeStruct(tokens, jnp.float32)
    return given
