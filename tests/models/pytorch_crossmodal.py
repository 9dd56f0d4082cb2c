"""The cross-modal transformer in PyTorch, with its own attention; runs in a process of its own."""

import math

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ffn, self.ffn_output = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, source, padded, hidden):
        x, source = self.norm(x), self.norm(source)
        attended, _ = self.attention(
            x, source, source, key_padding_mask=padded, attn_mask=hidden, need_weights=False
        )
        x = self.ffn_norm(x + attended)
        return x + self.ffn_output(torch.relu(self.ffn(x)))


class Stack(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def place(self, x):
        half = x.shape[-1] // 2
        rates = torch.exp(-torch.arange(half) * (math.log(10_000) / (half - 1)))
        angles = torch.arange(1, x.shape[1] + 1)[:, None] * rates
        return math.sqrt(x.shape[-1]) * x + torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, x, padded, other=None, other_padded=None):
        x = self.place(x)
        source = None if other is None else self.place(other)
        keys = padded if other is None else other_padded
        length = (x if other is None else other).shape[1]
        ones = torch.ones(x.shape[1], length, dtype=torch.bool)
        hidden = torch.triu(ones, diagonal=1) if self.causal else None
        for block in self.blocks:
            x = block(x, x if source is None else source, keys, hidden)
        return x


class CrossModal(nn.Module):
    """Both streams up to the logits, or with one width alone the audio."""

    def __init__(self, mfccs, text, width, heads, layers, classes, causal, merge) -> None:
        super().__init__()
        self.merge, self.both = merge, bool(text)
        if self.both:
            self.audio_conv = nn.Conv1d(mfccs, width, 3, bias=False)
            self.text_conv = nn.Conv1d(text, width, 3, bias=False)
            names = ("audio_with_text", "text_with_audio", "audio_stack", "text_stack")
        else:
            width, names = mfccs, ("audio_stack",)
        for name in names:
            setattr(self, name, Stack(width, heads, layers, causal))
        features = width * (1 + self.both)
        self.dense, self.residual = nn.Linear(features, features), nn.Linear(features, features)
        self.output = nn.Linear(features, classes)

    def merged(self, x, padded):
        if self.merge == "last":
            return x[torch.arange(len(x)), (~padded).sum(1) - 1]
        real = (~padded)[..., None]
        return (x * real).sum(1) / real.sum(1)

    def forward(self, audio, audio_padded, text, text_padded):
        if self.both:
            audio = self.audio_conv(audio.transpose(1, 2)).transpose(1, 2)
            text = self.text_conv(text.transpose(1, 2)).transpose(1, 2)
            audio_padded, text_padded = audio_padded[:, 2:], text_padded[:, 2:]
            heard = self.audio_with_text(audio, audio_padded, text, text_padded)
            read = self.text_with_audio(text, text_padded, audio, audio_padded)
            streams = [
                self.merged(self.audio_stack(heard, audio_padded), audio_padded),
                self.merged(self.text_stack(read, text_padded), text_padded),
            ]
            features = torch.cat(streams, dim=1)
        else:
            features = self.merged(self.audio_stack(audio, audio_padded), audio_padded)
        return self.output(features + self.residual(torch.relu(self.dense(features))))


def write(folder: str, sizes: dict) -> None:
    """Reads `inputs.npz`, and writes random arrays and the logits that they give."""
    torch.manual_seed(0)
    model = CrossModal(**sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        inputs = {name: torch.tensor(x) for name, x in np.load(f"{folder}/inputs.npz").items()}
        logits = model(
            inputs["audio"], inputs["audio_mask"] == 0, inputs["text"], inputs["text_mask"] == 0
        )
    arrays = {name: x.numpy() for name, x in model.state_dict().items()}
    np.savez(f"{folder}/outputs.npz", logits=logits.numpy(), **arrays)
