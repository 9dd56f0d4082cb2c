"""The published taggers in PyTorch, in the names of their state dicts; for processes of their own.

`write_golden` wrote `tests/golden/taggers.npz`: what PyTorch computes with random arrays.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class Spectrogram(nn.Module):
    """Mel bands in decibels, (N, samples) -> (N, 1, F, T)."""

    def __init__(self):
        super().__init__()
        self.spectrogram, self.mel_scale = nn.Module(), nn.Module()
        self.spectrogram.register_buffer("window", torch.hann_window(512))
        self.mel_scale.register_buffer("fb", torch.zeros(257, 96))

    def forward(self, x):
        found = torch.stft(x, 512, 256, window=self.spectrogram.window, return_complex=True)
        mel = (found.abs() ** 2).transpose(1, 2) @ self.mel_scale.fb
        return 10 * torch.log10(mel.clamp(min=1e-10)).transpose(1, 2)[:, None]


class Block(nn.Module):
    """Convolution, normalisation, ReLU and pooling, over one or two dimensions."""

    def __init__(self, inputs, outputs, kernel, *, pool=1, padding=None):
        super().__init__()
        plane = isinstance(kernel, tuple)
        padding = kernel[0] // 2 if plane and padding is None else padding
        padding = kernel // 2 if padding is None else padding
        self.conv = (nn.Conv2d if plane else nn.Conv1d)(inputs, outputs, kernel, padding=padding)
        self.bn = (nn.BatchNorm2d if plane else nn.BatchNorm1d)(outputs)
        self.pool = (nn.MaxPool2d if plane else nn.MaxPool1d)(pool)

    def forward(self, x):
        return self.pool(F.relu(self.bn(self.conv(x))))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.spec, self.spec_bn = Spectrogram(), nn.BatchNorm2d(1)

    def picture(self, waveform):
        return self.spec_bn(self.spec(waveform))


class FCN(Tagger):
    def __init__(self):
        super().__init__()
        self.layer1 = Block(1, 64, (3, 3), pool=(2, 4))
        self.layer2 = Block(64, 128, (3, 3), pool=(2, 4))
        self.layer3 = Block(128, 128, (3, 3), pool=(2, 4))
        self.layer4 = Block(128, 128, (3, 3), pool=(3, 5))
        self.layer5 = Block(128, 64, (3, 3), pool=(4, 4))
        self.dense = nn.Linear(64, 50)

    def forward(self, waveform):
        x = self.layer3(self.layer2(self.layer1(self.picture(waveform))))
        return self.dense(self.layer5(self.layer4(x)).flatten(1))


class CRNN(Tagger):
    def __init__(self):
        super().__init__()
        self.layer1 = Block(1, 64, (3, 3), pool=(2, 2))
        self.layer2 = Block(64, 128, (3, 3), pool=(3, 3))
        self.layer3 = Block(128, 128, (3, 3), pool=(4, 4))
        self.layer4 = Block(128, 128, (3, 3), pool=(4, 4))
        self.layer5 = nn.GRU(128, 32, 2, batch_first=True)
        self.dense = nn.Linear(32, 50)

    def forward(self, waveform):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.picture(waveform)))))
        return self.dense(self.layer5(x.squeeze(2).transpose(1, 2))[0][:, -1])


class MusiCNN(Tagger):
    def __init__(self):
        super().__init__()
        tall = [Block(1, 204, (height, 7), padding=(0, 3)) for height in (67, 38)]
        self.layers = nn.ModuleList([*tall, *(Block(1, 51, frames) for frames in (129, 65, 33))])
        self.layer1, self.layer2, self.layer3 = (Block(n, 64, 7) for n in (561, 64, 64))
        self.dense1, self.bn = nn.Linear(1506, 200), nn.BatchNorm1d(200)
        self.dense2 = nn.Linear(200, 50)

    def forward(self, waveform):
        x = self.picture(waveform)
        timbre = [layer(x).amax(2) for layer in self.layers[:2]]
        x = torch.cat([*timbre, *(layer(x.mean(2)) for layer in self.layers[2:])], 1)
        first = self.layer1(x)
        second = first + self.layer2(first)
        x = torch.cat([x, first, second, second + self.layer3(second)], 1)
        x = self.dense1(torch.cat([x.amax(2), x.mean(2)], 1))
        return self.dense2(F.relu(self.bn(x)))


NETWORKS = {"fcn": FCN, "crnn": CRNN, "musicnn": MusiCNN}


def write_golden(folder: str) -> None:
    """Of `name.safetensors` with `waveform` for each network, the logits."""
    logits = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        arrays = load_file(path)
        waveform = arrays.pop("waveform")
        model = NETWORKS[path.stem]().eval()
        model.load_state_dict(arrays, strict=True)
        with torch.no_grad():
            logits[path.stem] = model(waveform).numpy()
    np.savez(f"{folder}/taggers.npz", **logits)


if __name__ == "__main__":
    write_golden(sys.argv[1])
