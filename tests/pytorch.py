"""What PyTorch programs write, without PyTorch: tiny ALBERTs, BERTs and ResNets, random arrays."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

VOCABULARY, EMBEDDING, HIDDEN, HEADS, FFN, POSITIONS = 24, 8, 16, 2, 32, 12
ALBERT_CONFIG = {
    "model_type": "albert",
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 3,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "intermediate_size": FFN,
    "embedding_size": EMBEDDING,
    "hidden_act": "gelu_new",
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "layer_norm_eps": 1e-12,
}


def albert(*, head: bool = True, vocabulary: int = VOCABULARY) -> dict[str, np.ndarray]:
    """The arrays of `AlbertForPreTraining`, or of `AlbertModel` where there is no head."""
    layer = "encoder.albert_layer_groups.0.albert_layers.0."
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, EMBEDDING),
        "embeddings.position_embeddings.weight": (POSITIONS, EMBEDDING),
        "embeddings.token_type_embeddings.weight": (2, EMBEDDING),
        **_layer("embeddings.LayerNorm", EMBEDDING),
        **_layer("encoder.embedding_hidden_mapping_in", HIDDEN, EMBEDDING),
        **_layer(f"{layer}attention.query", HIDDEN, HIDDEN),
        **_layer(f"{layer}attention.key", HIDDEN, HIDDEN),
        **_layer(f"{layer}attention.value", HIDDEN, HIDDEN),
        **_layer(f"{layer}attention.dense", HIDDEN, HIDDEN),
        **_layer(f"{layer}attention.LayerNorm", HIDDEN),
        **_layer(f"{layer}ffn", FFN, HIDDEN),
        **_layer(f"{layer}ffn_output", HIDDEN, FFN),
        **_layer(f"{layer}full_layer_layer_norm", HIDDEN),
        **_layer("pooler", HIDDEN, HIDDEN),
    }
    if head:
        shapes = {f"albert.{name}": shape for name, shape in shapes.items()}
        shapes |= _layer("predictions.dense", EMBEDDING, HIDDEN)
        shapes |= _layer("predictions.LayerNorm", EMBEDDING)
        shapes |= {"predictions.bias": (vocabulary,)}
        shapes |= _layer("sop_classifier.classifier", 2, HIDDEN)
    return _random(shapes)


BERT_CONFIG = {
    "model_type": "bert",
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 3,
    "intermediate_size": FFN,
    "hidden_act": "gelu",
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "layer_norm_eps": 1e-12,
}


def bert(*, head: bool = True, vocabulary: int = VOCABULARY) -> dict[str, np.ndarray]:
    """The arrays of `BertForPreTraining`, or of `BertModel` where there is no head."""
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        **_layer("embeddings.LayerNorm", HIDDEN),
        **_layer("pooler.dense", HIDDEN, HIDDEN),
    }
    for number in range(BERT_CONFIG["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _layer(f"{layer}attention.{part}", HIDDEN, HIDDEN)
        shapes |= _layer(f"{layer}attention.output.LayerNorm", HIDDEN)
        shapes |= _layer(f"{layer}intermediate.dense", FFN, HIDDEN)
        shapes |= _layer(f"{layer}output.dense", HIDDEN, FFN)
        shapes |= _layer(f"{layer}output.LayerNorm", HIDDEN)
    if head:
        shapes = {f"bert.{name}": shape for name, shape in shapes.items()}
        shapes |= _layer("cls.predictions.transform.dense", HIDDEN, HIDDEN)
        shapes |= _layer("cls.predictions.transform.LayerNorm", HIDDEN)
        shapes |= {"cls.predictions.bias": (vocabulary,)}
        shapes |= _layer("cls.seq_relationship", 2, HIDDEN)
    return _random(shapes)


def resnet(depths: tuple[int, ...], width: int, names: str) -> dict[str, np.ndarray]:
    """The arrays of a ResNet by 'torchvision' or 'hugging_face', the same in both."""
    ours = names == "torchvision"
    shapes = _convolution(
        ("conv1", "bn1")
        if ours
        else ("embedder.embedder.convolution", "embedder.embedder.normalization"),
        (width, 3, 7, 7),
    )
    inputs = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        for position in range(depth):
            parts = [(inner, inputs, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)]
            for number, shape in enumerate(parts):
                if ours:
                    block = f"layer{stage + 1}.{position}."
                    pair = f"{block}conv{number + 1}", f"{block}bn{number + 1}"
                else:
                    block = f"encoder.stages.{stage}.layers.{position}."
                    part = f"{block}layer.{number}."
                    pair = f"{part}convolution", f"{part}normalization"
                shapes |= _convolution(pair, shape)
            if not position:
                tail = ("downsample.0", "downsample.1")
                if not ours:
                    tail = ("shortcut.convolution", "shortcut.normalization")
                pair = block + tail[0], block + tail[1]
                shapes |= _convolution(pair, (4 * inner, inputs, 1, 1))
            inputs = 4 * inner
    shapes |= _layer("fc" if ours else "classifier.1", 10, inputs)
    arrays = _random(shapes)
    if ours:
        return arrays
    return {
        name if name.startswith("classifier") else f"resnet.{name}": array
        for name, array in arrays.items()
    }


def save(folder: Path, arrays: dict[str, np.ndarray], config: dict | None = None) -> Path:
    """Writes a folder as `save_pretrained` does, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    if config:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def save_albert(folder: Path, *, head: bool = True, vocabulary: int = VOCABULARY) -> Path:
    """A folder with an ALBERT that fits `tiny.MODEL`."""
    config = ALBERT_CONFIG | {"vocab_size": vocabulary}
    return save(folder, albert(head=head, vocabulary=vocabulary), config)


def save_bert(folder: Path, *, vocabulary: int = VOCABULARY) -> Path:
    """A folder with a BERT that fits the text stream of `ear.MULAP`."""
    return save(folder, bert(vocabulary=vocabulary), BERT_CONFIG | {"vocab_size": vocabulary})


def _layer(name: str, *shape: int) -> dict[str, tuple]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _convolution(names: tuple[str, str], shape: tuple) -> dict[str, tuple]:
    norm = names[1]
    return {
        f"{names[0]}.weight": shape,
        **_layer(norm, shape[0]),
        f"{norm}.running_mean": shape[:1],
        f"{norm}.running_var": shape[:1],
        f"{norm}.num_batches_tracked": (),
    }


def _random(shapes: dict[str, tuple]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    # A variance is not negative, and a count of steps is no float.
    arrays |= {n: np.abs(x) + 0.1 for n, x in arrays.items() if n.endswith("running_var")}
    return arrays | {n: np.array(7) for n in arrays if n.endswith("num_batches_tracked")}
