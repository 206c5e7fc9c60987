"""Small modules for what a model may hold besides the weights of layers: normalised, tied, joined, fixed, copied.

Each is `name -> (module, example inputs)`. What trains is what PyTorch says: parameters that require gradients.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, CLASSES, LENGTH = 24, 10, 12


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


class Convolutions(nn.Module):
    """Old and new weight norm, spectral norm, PReLU of one and of many slopes, norms without scale or in groups."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.utils.weight_norm(nn.Conv2d(3, WIDTH, 3, padding=1)),
            nn.BatchNorm2d(WIDTH, affine=False),
            nn.PReLU(WIDTH),
            nn.utils.parametrizations.weight_norm(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=4), dim=0),
            nn.GroupNorm(6, WIDTH),
            nn.PReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, stride=2),
            nn.BatchNorm2d(WIDTH),
            nn.InstanceNorm2d(WIDTH, affine=True),
            nn.GELU(),
            nn.utils.spectral_norm(nn.ConvTranspose2d(WIDTH, WIDTH, 2, stride=2)),
            nn.BatchNorm2d(WIDTH, track_running_stats=False),
            nn.LocalResponseNorm(3),
        )
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Spectral(nn.Module):
    """Spectral norm, whose vectors of the power iteration are buffers."""

    def __init__(self):
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.stem, self.hidden, self.head = norm(nn.Conv2d(3, WIDTH, 3)), norm(nn.Linear(WIDTH, WIDTH)), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.hidden(self.stem(x).relu().mean((2, 3))).relu())


class ReZero(nn.Module):
    def __init__(self):
        super().__init__()
        self.resweight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.resweight * torch.tanh(x)


class Standardised(nn.Module):
    """Normalises its input and its features by buffers; blurs with a fixed filter; Fourier features of fixed noise."""

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, WIDTH, 3)
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("blur", torch.outer(row, row).expand(WIDTH, 1, 5, 5).clone())
        self.fourier = frozen(nn.Linear(WIDTH, WIDTH, bias=False))
        self.gamma = nn.Parameter(1e-6 * torch.ones(WIDTH))
        self.residual = ReZero()
        self.block = nn.Linear(2 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = self.stem((x - self.pixel_mean) / self.pixel_std)
        x = F.conv2d(F.relu(x), self.blur, stride=2, groups=WIDTH).mean((2, 3))
        phase = 2 * math.pi * self.fourier(x)
        x = x + self.gamma * self.block(torch.cat([phase.sin(), phase.cos()], 1))
        return self.head(self.residual(x))


class Contrast(nn.Module):
    """MoCo: a queue of keys, a copy of the encoder that is an average, a learned temperature."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 16))
        self.average = frozen(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 16)))
        self.register_buffer("queue", F.normalize(torch.randn(16, 40), dim=0))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x):
        q = F.normalize(self.encoder(x), dim=-1)
        k = F.normalize(self.average(x), dim=-1)
        near = (q * k).sum(-1, keepdim=True)
        return torch.cat([near, q @ self.queue.clone().detach()], 1) * self.logit_scale.exp()


class Attention(nn.Module):
    """Rotary positions of few frequencies, joined q, k, v, a causal mask, learned registers, a cosine classifier."""

    def __init__(self, heads: int = 3):
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(51, WIDTH)
        self.registers = nn.Parameter(torch.randn(1, 2, WIDTH))
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        size = WIDTH // heads
        inverse = 10000.0 ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(LENGTH + 2).float(), inverse)
        self.register_buffer("cosines", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sines", torch.cat([angles, angles], -1).sin())
        self.register_buffer("mask", torch.full((LENGTH + 2, LENGTH + 2), float("-inf")).triu(1))
        self.register_buffer("slopes", (2.0 ** (-8 * torch.arange(1, heads + 1).float() / heads)).view(heads, 1, 1))
        self.register_buffer("distance", -(torch.arange(LENGTH + 2)[:, None] - torch.arange(LENGTH + 2)).abs().float())
        self.prototypes = nn.Parameter(torch.randn(CLASSES, WIDTH))

    def forward(self, ids):
        x = self.embedding(ids)
        x = self.norm(torch.cat([self.registers.expand(x.shape[0], -1, -1), x], 1))
        weight = torch.cat([self.query.weight, self.key.weight, self.value.weight])
        bias = torch.cat([self.query.bias, self.key.bias, self.value.bias])
        qkv = F.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (self.rotate(part) for part in qkv[:2])
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.slopes * self.distance + self.mask
        x = x + (scores.softmax(-1) @ qkv[2]).transpose(1, 2).flatten(2)
        return F.linear(F.normalize(x.mean(1), dim=-1), F.normalize(self.prototypes, dim=-1)) * 16

    def rotate(self, x):
        left, right = x.chunk(2, -1)
        return x * self.cosines + torch.cat([-right, left], -1) * self.sines


class Detector(nn.Module):
    """A detection head: anchors and strides in buffers, a fixed expectation over bins, learned scales and queries."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.boxes = nn.Conv2d(WIDTH, 4 * 16, 1)
        self.bins = frozen(nn.Conv2d(16, 1, 1, bias=False))
        self.bins.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)
        self.scale = nn.Parameter(torch.ones(1))
        grids = [torch.stack(torch.meshgrid(rows, rows, indexing="xy")).flatten(1) for rows in (torch.arange(8.0) + 0.5, torch.arange(4.0) + 0.5)]
        self.register_buffer("anchors", torch.cat(grids, 1))
        self.register_buffer("strides", torch.cat([torch.full((1, 64), 4.0), torch.full((1, 16), 8.0)], 1))
        self.queries = nn.Embedding(5, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = self.stem(x).relu()
        raw = torch.cat([self.boxes(level).flatten(2) for level in (x, F.avg_pool2d(x, 2))], 2)
        raw = raw.unflatten(1, (4, 16)).transpose(1, 2)
        edges = self.bins(raw.softmax(1)).squeeze(1) * self.scale
        corners = torch.cat([self.anchors - edges[:, :2], self.anchors + edges[:, 2:]], 1) * self.strides
        memory = x.flatten(2).transpose(1, 2)
        query = self.queries.weight.unsqueeze(0).repeat(x.shape[0], 1, 1)
        return self.head(self.attention(query, memory, memory)[0]), corners


class Positions(nn.Module):
    """Fixed sinusoids that are added, a learned table, relative biases by a fixed index, a tied decoder."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(51, WIDTH)
        position = torch.arange(LENGTH)[:, None] * torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(1e4) / WIDTH))
        table = torch.zeros(1, LENGTH, WIDTH)
        table[0, :, 0::2], table[0, :, 1::2] = position.sin(), position.cos()
        self.register_buffer("table", table)
        self.register_buffer("places", torch.arange(LENGTH)[None])
        self.learned = nn.Embedding(LENGTH, WIDTH)
        self.relative = nn.Parameter(torch.randn(2 * LENGTH - 1, 2))
        index = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH) + LENGTH - 1
        self.register_buffer("relative_index", index.flatten())
        self.alpha = nn.Parameter(torch.ones(1))
        self.decoder_bias = nn.Parameter(torch.zeros(51))

    def forward(self, ids):
        x = self.embedding(ids) * math.sqrt(WIDTH) + self.alpha * self.table + self.learned(self.places)
        heads = x.unflatten(-1, (2, -1)).transpose(1, 2)
        bias = self.relative[self.relative_index].view(LENGTH, LENGTH, 2).permute(2, 0, 1)
        x = ((heads @ heads.transpose(-1, -2) + bias).softmax(-1) @ heads).transpose(1, 2).flatten(2)
        return F.linear(x, self.embedding.weight, self.decoder_bias)


IMAGE = lambda: (torch.randn(2, 3, 32, 32),)
TOKENS = lambda: (torch.randint(5, 50, (2, LENGTH)),)

MODULES = {
    "convolutions": (Convolutions, IMAGE),
    "standardised": (Standardised, IMAGE),
    "spectral": (Spectral, IMAGE),
    "contrast": (Contrast, lambda: (torch.randn(2, WIDTH),)),
    "attention": (Attention, TOKENS),
    "attention-12": (lambda: Attention(12), TOKENS),
    "detector": (Detector, IMAGE),
    "positions": (Positions, TOKENS),
}
