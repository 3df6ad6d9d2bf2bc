"""The blocks that the YOLO11 architecture is described with, written from their published description."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvUnit(nn.Module):
    """A convolution that keeps or divides the sides, a normalisation, and SiLU unless `active` is False."""

    def __init__(
        self, before: int, after: int, size: int = 1, stride: int = 1, *, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(after, eps=1e-3)
        self.activation: nn.Module = nn.SiLU(inplace=True) if active else nn.Identity()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.activation(self.norm(self.conv(values)))
        return activated

    def fold(self) -> None:
        """Make one convolution of the convolution and the normalisation after it; for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Bottleneck(nn.Module):
    """Two 3 × 3 convolutions whose result is added to their input; `share` of the channels are left in between."""

    def __init__(self, channels: int, share: float) -> None:
        super().__init__()
        inner = int(channels * share)
        self.layers = nn.Sequential(ConvUnit(channels, inner, 3), ConvUnit(inner, channels, 3))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = values + self.layers(values)
        return added


class CrossStage(nn.Module):
    """C3k: half of the channels go through bottlenecks, the other half past them."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        inner = channels // 2
        self.through = nn.Sequential(ConvUnit(channels, inner), *(Bottleneck(inner, 1.0) for _ in range(count)))
        self.past = ConvUnit(channels, inner)
        self.joined = ConvUnit(2 * inner, channels)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.joined(torch.cat((self.through(values), self.past(values)), 1))
        return joined


class SplitStage(nn.Module):
    """C3k2: one half goes through blocks in turn, and the results of all of them are joined with both halves."""

    def __init__(self, before: int, after: int, count: int, *, deep: bool, share: float = 0.5) -> None:
        super().__init__()
        inner = int(after * share)
        self.halves = ConvUnit(before, 2 * inner)
        self.blocks = nn.ModuleList(CrossStage(inner, 2) if deep else Bottleneck(inner, 0.5) for _ in range(count))
        self.joined = ConvUnit((2 + count) * inner, after)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        parts = list(self.halves(values).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        joined: torch.Tensor = self.joined(torch.cat(parts, 1))
        return joined


class PyramidPool(nn.Module):
    """SPPF: what is largest within 5, 9 and 13 places around each place, beside the place itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduced = ConvUnit(channels, channels // 2)
        self.joined = ConvUnit(2 * channels, channels)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        parts = [self.reduced(values)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        joined: torch.Tensor = self.joined(torch.cat(parts, 1))
        return joined


class Attention(nn.Module):
    """Self-attention over places, keys half as long as values, with a 3 × 3 convolution for where a value is."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.value = channels // heads
        self.key = self.value // 2
        self.mixed = ConvUnit(channels, channels + 2 * self.key * heads, active=False)
        self.projected = ConvUnit(channels, channels, active=False)
        self.place = ConvUnit(channels, channels, 3, groups=channels, active=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = values.shape
        mixed = self.mixed(values).reshape(batch, self.heads, 2 * self.key + self.value, height * width)
        query, key, value = mixed.split((self.key, self.key, self.value), 2)
        weights = ((query.transpose(2, 3) @ key) * self.key**-0.5).softmax(3)
        seen = (value @ weights.transpose(2, 3)).reshape(batch, channels, height, width)
        projected: torch.Tensor = self.projected(seen + self.place(value.reshape(batch, channels, height, width)))
        return projected


class AttentionBlock(nn.Module):
    """Attention, then two layers at each place, both added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = Attention(channels, channels // 64)
        self.layers = nn.Sequential(ConvUnit(channels, 2 * channels), ConvUnit(2 * channels, channels, active=False))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = values + self.attention(values)
        added: torch.Tensor = values + self.layers(values)
        return added


class AttentionStage(nn.Module):
    """C2PSA: one half of the channels goes through attention blocks, the other half past them."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        inner = channels // 2
        self.halves = ConvUnit(channels, 2 * inner)
        self.blocks = nn.Sequential(*(AttentionBlock(inner) for _ in range(count)))
        self.joined = ConvUnit(2 * inner, channels)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        past, through = self.halves(values).chunk(2, 1)
        joined: torch.Tensor = self.joined(torch.cat((past, self.blocks(through)), 1))
        return joined


def folded(module: nn.Module) -> nn.Module:
    """Return a network whose normalisations are part of its convolutions."""
    for unit in module.modules():
        if isinstance(unit, ConvUnit):
            unit.fold()
    return module
