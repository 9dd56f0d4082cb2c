"""Converted ResNets compute what PyTorch's do."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.conversion.test_parity import command, in_pytorch, make_config, start

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
    ),
]

DEPTHS, WIDTH = (2, 1, 1, 1), 4


def log_mels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 16, 24)).astype(np.float32)


def write_resnet(folder: str, stem: str, suffix: str) -> None:
    """A ResNet whose stem has no stride and no pooling, with what it computes."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    widths = [4 * WIDTH * 2**stage for stage in range(len(DEPTHS))]
    config = ResNetConfig(embedding_size=WIDTH, hidden_sizes=widths, depths=list(DEPTHS))
    model = ResNetForImageClassification(config).eval()
    stage = model.resnet.embedder
    stage.pooler = torch.nn.Identity()
    if stem == "9x9":
        stage.embedder.convolution = torch.nn.Conv2d(1, WIDTH, 9, padding=4, bias=False)
        stage.num_channels = 1
    stage.embedder.convolution.stride = (1, 1)
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if "normalization" in name and "num" not in name:
                array += 0.3 * torch.rand_like(array)
    if suffix == ".bin":
        torch.save(model.state_dict(), Path(folder, "pytorch_model.bin"))
        config.save_pretrained(folder)
    else:
        model.save_pretrained(folder)
    pictures = torch.tensor(log_mels())[:, None].expand(-1, stage.num_channels, -1, -1)
    with torch.no_grad():
        features = model.resnet(pictures).pooler_output.flatten(1)
    np.savez(f"{folder}/outputs.npz", features=features)


@pytest.mark.parametrize(
    ("stem", "suffix"), [("9x9", ".safetensors"), ("9x9", ".bin"), ("7x7", ".safetensors")]
)
def test_a_converted_resnet_equals_transformers(tmp_path, stem, suffix):
    """A stem of 9x9 is taken as it is; one of 7x7 sees a grey picture and is adapted."""
    source, folder = tmp_path / "torch", tmp_path / "converted"
    source.mkdir()
    in_pytorch(write_resnet, source, stem, suffix)
    command("-m", "atbert_jax.convert", "resnet", source, folder)
    model = start(
        make_config(**{"model.depths": DEPTHS, "model.width": WIDTH, "init.audio": str(folder)}),
        tiny.VOCABULARY,
    )
    expected = np.load(source / "outputs.npz")["features"]
    found = model.audio_cnn(log_mels(), np.ones(5, np.float32), None)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert expected.std() > 0.01
