"""The taggers in PyTorch, by the published names; in a process of its own (see `test_parity`)."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram

TAGS = 5
CONV = {1: nn.Conv1d, 2: nn.Conv2d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


def named(**parts: nn.Module) -> nn.Module:
    """A module that only holds others."""
    holder = nn.Module()
    for name, part in parts.items():
        holder.add_module(name, part)
    return holder


class Power(nn.Module):
    def __init__(self, spectrogram: Spectrogram) -> None:
        super().__init__()
        self.hop = spectrogram.hop_length
        self.register_buffer("window", torch.hann_window(spectrogram.n_fft))

    def forward(self, x):
        size = len(self.window)
        return torch.stft(x, size, self.hop, window=self.window, return_complex=True).abs() ** 2


class Bank(nn.Module):
    def __init__(self, spectrogram: Spectrogram) -> None:
        super().__init__()
        bank = torch.tensor(spectrogram.mel_matrix)
        self.register_buffer("fb", bank * (1 + 0.01 * torch.rand_like(bank)))


def decibels(power):
    return 10 * torch.log10(power.clamp(min=1e-10))


class Mel(nn.Module):
    def __init__(self, spectrogram: Spectrogram) -> None:
        super().__init__()
        self.spec = named(spectrogram=Power(spectrogram), mel_scale=Bank(spectrogram))

    def mel(self, x):
        power = self.spec.spectrogram(x).transpose(1, 2)
        return decibels(power @ self.spec.mel_scale.fb).transpose(1, 2)[:, None]


class Plain(nn.Module):
    def __init__(self, before, after, pool, kernel=3, stride=1, axes=2) -> None:
        super().__init__()
        self.conv = CONV[axes](before, after, kernel, stride, kernel // 2)
        self.bn, self.pool = NORM[axes](after), POOL[axes](pool)

    def forward(self, x):
        return self.pool(self.bn(self.conv(x)).relu())


class Residual(nn.Module):
    def __init__(self, before, after, pool=1, kernel=3, stride=1, axes=2, gate=False) -> None:
        super().__init__()
        conv, norm, half = CONV[axes], NORM[axes], kernel // 2
        self.conv_1, self.bn_1 = conv(before, after, kernel, stride, half), norm(after)
        self.conv_2, self.bn_2 = conv(after, after, kernel, 1, half), norm(after)
        self.changes = before != after or stride != 1
        if self.changes:
            self.conv_3, self.bn_3 = conv(before, after, kernel, stride, half), norm(after)
        self.gate = gate
        if gate:
            self.dense1, self.dense2 = nn.Linear(after, after), nn.Linear(after, after)
        self.pool = POOL[axes](pool)

    def forward(self, x):
        y = self.bn_2(self.conv_2(self.bn_1(self.conv_1(x)).relu()))
        if self.gate:
            y = y * self.dense2(self.dense1(y.mean(2)).relu()).sigmoid()[..., None]
        return self.pool((y + (self.bn_3(self.conv_3(x)) if self.changes else x)).relu())


class Tagger(Mel):
    """Blocks `layer1`, `layer2`, ..., a global maximum, a dense layer or none, the output."""

    def __init__(self, spectrogram, blocks: Sequence[nn.Module], width, *, mel=True, dense=True):
        nn.Module.__init__(self)
        if mel:
            super().__init__(spectrogram)
            self.spec_bn = nn.BatchNorm2d(1)
        for number, block in enumerate(blocks, start=1):
            self.add_module(f"layer{number}", block)
        self.count, self.has_dense = len(blocks), dense
        if self.has_dense:
            self.dense1, self.bn = nn.Linear(width, width), nn.BatchNorm1d(width)
            self.dense2 = nn.Linear(width, TAGS)
        else:
            self.dense = nn.Linear(width, TAGS)

    def hear(self, x):
        return self.spec_bn(self.mel(x))

    def blocks(self, x):
        for number in range(1, self.count + 1):
            x = getattr(self, f"layer{number}")(x)
        return x

    def forward(self, x):
        x = self.blocks(self.hear(x)).flatten(2).amax(2)
        if not self.has_dense:
            return x, self.dense(x)
        x = self.bn(self.dense1(x)).relu()
        return x, self.dense2(x)


class Samples(Tagger):
    def hear(self, x):
        return x[:, None]


class Harmonic(Tagger):
    def __init__(self, spectrogram: Spectrogram, blocks: Sequence[nn.Module], width: int) -> None:
        super().__init__(spectrogram, blocks, width, mel=False)
        self.hstft = named(spec=Power(spectrogram))
        self.hstft.bw_Q = nn.Parameter(torch.tensor([1.3]))
        self.hstft_bn = nn.BatchNorm2d(6)

    def hear(self, x):
        power = self.hstft.spec(x).double()
        notes = 24 + torch.arange(128).double() / 2
        centres = torch.outer(torch.arange(1, 7).double(), 440 * 2 ** ((notes - 69) / 12)).flatten()
        width = (0.1079 * centres + 24.7) / self.hstft.bw_Q
        bins = torch.linspace(0, 8000, power.shape[1]).double()[:, None]
        up, down = 2 * (bins - centres) / width + 1, -2 * (bins - centres) / width + 1
        bank = torch.minimum(up, down).clamp(min=0)
        bands = decibels((power.transpose(1, 2) @ bank).transpose(1, 2)).float()
        return self.hstft_bn(bands.unflatten(1, (6, 128)))


def attend(query, key, value):
    query, key, value = (x.unflatten(2, (8, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(3)
    return (weights @ value).transpose(1, 2).flatten(2), weights


class Bert(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()

        def norm():
            return nn.LayerNorm(width, eps=1e-12)

        maps = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
        output = named(dense=nn.Linear(width, width), LayerNorm=norm())
        self.attention = nn.ModuleDict({"self": named(**maps), "output": output})
        self.intermediate = named(dense=nn.Linear(width, 4 * width))
        self.output = named(dense=nn.Linear(4 * width, width), LayerNorm=norm())

    def forward(self, x):
        maps, output = self.attention["self"], self.attention["output"]
        y, weights = attend(maps.query(x), maps.key(x), maps.value(x))
        x = output.LayerNorm(x + output.dense(y))
        y = self.output.dense(nn.functional.gelu(self.intermediate.dense(x)))
        return self.output.LayerNorm(x + y), weights


class SelfAttention(Tagger):
    def __init__(self, spectrogram: Spectrogram, blocks: Sequence[nn.Module], width: int) -> None:
        super().__init__(spectrogram, blocks, width, dense=False)
        self.encoder = named(layer=nn.ModuleList(Bert(width) for _ in range(2)))
        self.pooler = named(dense=nn.Linear(width, width))
        self.first = torch.tensor(np.random.RandomState(0).random_sample(width)).float()

    def forward(self, x):
        x, found = self.blocks(self.hear(x)).squeeze(2).transpose(1, 2), []
        x = torch.cat([self.first.expand(len(x), 1, -1), x], 1)
        for layer in self.encoder.layer:
            x, weights = layer(x)
            found.append(weights)
        x = self.pooler.dense(x[:, 0]).tanh()
        return x, self.dense(x), torch.stack(found, 1)


class MusicTransformer(Mel):
    def __init__(self, spectrogram: Spectrogram, width: int) -> None:
        super().__init__(spectrogram)
        pools = {"layer1": (2, 2), "layer2": (2, 2), "layer3": (2, 1)}
        blocks = {
            name: Residual(1 if name == "layer1" else 128, 128, pool)
            for name, pool in pools.items()
        }
        fc = nn.Linear(16 * 128, width)
        self.frontend = named(input_bn=nn.BatchNorm2d(1), **blocks, fc=fc)
        self.pos_embedding = nn.Parameter(torch.randn(1, 513, width))
        self.cls_token = nn.Parameter(torch.randn(width))

        def layer():
            attention = named(to_qkv=nn.Linear(width, 3 * width, bias=False))
            attention.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout())
            ffn = named()
            gelu, inner = nn.GELU(), nn.Linear(width, 4 * width)
            outer = nn.Linear(4 * width, width)
            ffn.net = nn.Sequential(inner, gelu, nn.Dropout(), outer, nn.Dropout())
            parts = (named(norm=nn.LayerNorm(width), fn=each) for each in (attention, ffn))
            return nn.ModuleList(named(fn=each) for each in parts)

        self.transformer = named(layers=nn.ModuleList(layer() for _ in range(4)))
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, TAGS))

    def forward(self, x):
        front, found = self.frontend, []
        x = front.layer3(front.layer2(front.layer1(front.input_bn(self.mel(x)))))
        x = front.fc(x.permute(0, 3, 1, 2).flatten(2))
        x = torch.cat([self.cls_token.expand(len(x), 1, -1), x], 1)
        x = x + self.pos_embedding[:, : x.shape[1]]
        for attention, ffn in self.transformer.layers:
            maps = attention.fn.fn.to_qkv(attention.fn.norm(x)).chunk(3, 2)
            y, weights = attend(*maps)
            found.append(weights)
            x = x + attention.fn.fn.to_out(y)
            x = x + ffn.fn.fn.net(ffn.fn.norm(x))
        x = self.mlp_head[0](x[:, 0])
        return x, self.mlp_head[1](x), torch.stack(found, 1)


def build(name: str, spectrogram: Spectrogram) -> nn.Module:
    if name in ("sample_cnn", "se_cnn"):
        widths = (1, 128, 128, 128, *[256] * 6, 512, 512)
        gated = name == "se_cnn"
        kind, options = (Residual, {"gate": True}) if gated else (Plain, {})
        blocks = []
        for number in range(11):
            sizes = {"kernel": 1 if number == 10 else 3, "stride": 3 if number == 0 else 1}
            pool = 1 if number in (0, 10) else 3
            pair = widths[number : number + 2]
            blocks.append(kind(*pair, pool, axes=1, **sizes, **options))
        return Samples(spectrogram, blocks, 512, mel=False, dense=gated)
    if name == "harmonic_cnn":
        blocks = [Plain(6, 128, 2), *(Residual(128, 128, 2) for _ in range(3)), Plain(128, 256, 2)]
        blocks += [Residual(256, 256, (2, 3)) for _ in range(2)]
        return Harmonic(spectrogram, blocks, 256)
    if name == "self_attention":
        widths, strides = (1, 128, 128, *[256] * 5), (*[2] * 3, *[(2, 1)] * 4)
        pairs = zip(widths[:-1], widths[1:], strides, strict=True)
        blocks = [Residual(before, after, stride=stride) for before, after, stride in pairs]
        return SelfAttention(spectrogram, blocks, 256)
    if name == "music_transformer":
        return MusicTransformer(spectrogram, 64)
    widths = (1, 128, 128, 256, 256, 256, 256, 512)
    pairs = list(itertools.pairwise(widths))
    if name == "short_chunk":
        return Tagger(spectrogram, [Plain(*pair, 2) for pair in pairs], 512)
    return Tagger(spectrogram, [Residual(*pair, stride=2) for pair in pairs], 512)


def write(folder: str, name: str, spectrogram: Spectrogram, waveform: np.ndarray) -> None:
    """A network of random arrays: its state dict, and what it computes."""
    torch.manual_seed(0)
    model, waveform = build(name, spectrogram), torch.tensor(waveform)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                module.weight += 0.3 * torch.randn_like(module.weight)
                module.bias += 0.3 * torch.randn_like(module.bias)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                # The running statistics become those of this batch.
                module.momentum = None
        model.train()(waveform)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                # Four clips leave some channels nearly constant, whose rounding would be amplified.
                module.running_var.clamp_(min=module.running_var.mean())
        features, logits, *weights = model.eval()(waveform)
    state = model.state_dict()
    if name == "music_transformer":
        state = {f"network.{key}": value for key, value in state.items()}
        state["teacher_network.cls_token"] = torch.zeros(64)
    torch.save(state, f"{folder}/{name}.pth")
    outputs = {"features": features, "probabilities": logits.sigmoid()}
    np.savez(f"{folder}/{name}.npz", **outputs, **({"weights": weights[0]} if weights else {}))
