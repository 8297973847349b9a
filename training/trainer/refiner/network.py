"""The small refiner: a U-Net over the render that looks at a reference image, and its file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.system.atomic_write import write_atomically
from training.trainer.refiner.weights import SMALL_MODEL, local_path
from training.trainer.termination import TrainingError

STRIDE = 8  # pixels that one cell of the deepest level covers
REFERENCE_SIDE = 64  # pixels; references of any size are seen as such a square
HEADS = 4


class RefinerNetwork(nn.Module):
    """Repairs a render with a true image of the same people.

    Both go through levels of all, 1/2, 1/4 and 1/8 of the resolution; at the last one every cell of
    the render attends to all cells of the reference, so that it may take up colours and patterns
    from wherever they are seen there. The last layer begins at zero: an untrained network changes
    nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 2 * channels, 4 * channels, 4 * channels)
        self.channels = channels
        self.render_levels = _levels(widths)
        self.reference_levels = _levels(widths)
        self.attention = CrossAttention(widths[-1])
        self.ascents = nn.ModuleList(
            nn.Conv2d(deeper, width, 1) for width, deeper in pairwise(widths)
        )
        self.ascended = nn.ModuleList(_Block(width, width) for width in widths)
        self.residual = nn.Conv2d(channels, 3, 3, padding=1)
        for parameter in self.residual.parameters():
            nn.init.zeros_(parameter)

    def forward(self, render: Tensor, places: Tensor, reference: Tensor) -> Tensor:
        """Return repaired images (B, 3, H, W) of renders in [0, 1]; sides are multiples of 8.

        `places` (B, 2, H, W) are the pixels' `image_places`, of which a crop has its part;
        `reference` (B, 3, R, R) is whole, as `reference_square` returns it.
        """
        whole = image_places(*reference.shape[-2:]).to(reference).expand(len(reference), -1, -1, -1)
        seen = _through(self.reference_levels, torch.cat([reference, whole], dim=1))[-1]
        maps = _through(self.render_levels, torch.cat([render, places], dim=1))
        cells = self.ascended[-1](self.attention(maps[-1], seen))
        for level in reversed(range(len(self.ascents))):
            cells = maps[level] + _doubled(self.ascents[level](cells))
            cells = self.ascended[level](cells)
        repaired: Tensor = render + self.residual(cells)
        return repaired


class CrossAttention(nn.Module):
    """Adds to every cell of one map what it asks of all cells of another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(HEADS, width)
        self.reference_norm = nn.GroupNorm(HEADS, width)
        self.query, self.key, self.value, self.out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, cells: Tensor, reference: Tensor) -> Tensor:
        """Return cells (B, C, H, W) after attending to a reference (B, C, H', W')."""
        other = self.reference_norm(reference)
        query = _heads(self.query(self.norm(cells)))
        found = functional.scaled_dot_product_attention(
            query, _heads(self.key(other)), _heads(self.value(other))
        )
        out: Tensor = self.out(found.transpose(-1, -2).reshape(cells.shape))
        return cells + out


def image_places(height: int, width: int) -> Tensor:
    """Return how far down and right (2, H, W) each pixel of an image is, from -1 to 1."""
    rows, columns = ((torch.arange(length) + 0.5) / length * 2 - 1 for length in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def reference_square(reference: Tensor) -> Tensor:
    """Return an image (3, H, W) as the network sees references, (3, R, R)."""
    size = (REFERENCE_SIDE, REFERENCE_SIDE)
    square: Tensor = functional.interpolate(reference[None], size, mode="bilinear", antialias=True)[
        0
    ]
    return square


class SmallRefiner:
    """A trained `RefinerNetwork` behind the interface of a refiner."""

    def __init__(self, network: RefinerNetwork, device: torch.device) -> None:
        self._network, self._device = network.eval().to(device), device

    @torch.inference_mode()
    def refine(self, render: Tensor, reference: Tensor) -> Tensor:
        """Return the repaired image (H, W, 3) in [0, 1], on the device that the render is on."""
        height, width = render.shape[:2]
        square = reference_square(reference.to(self._device).permute(2, 0, 1))
        parts = (render.permute(2, 0, 1), image_places(height, width))
        planes = [_padded(each[None].to(self._device)) for each in parts]
        repaired: Tensor = self._network(*planes, square[None])[0, :, :height, :width]
        return repaired.permute(1, 2, 0).clamp(0, 1).clone().to(render.device)


def save_network(path: Path, network: RefinerNetwork, facts: dict[str, Any]) -> None:
    """Write the network and plain facts about it, whole or not at all; raises OSError."""
    buffer = io.BytesIO()
    content = {"channels": network.channels, "weights": network.state_dict(), "facts": facts}
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def read_network(path: Path) -> tuple[RefinerNetwork, dict[str, Any]]:
    """Return the network of a file and the facts; raises TrainingError when it is unusable."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        network = RefinerNetwork(content["channels"])
        network.load_state_dict(content["weights"])
        return network, dict(content["facts"])
    except Exception as error:  # torch raises a dozen undocumented types for damaged files
        raise TrainingError(
            f"{path} is no refiner that this version of run_mode=refiner_train made: {error}; "
            "train it again"
        ) from error


def load_small_refiner(model_id: str, device: torch.device) -> SmallRefiner:
    """Load the refiner of the folder that `difix.model_id` names; raises TrainingError."""
    network, _ = read_network((local_path(model_id) or Path(model_id)) / SMALL_MODEL)
    return SmallRefiner(network, device)


class _Block(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, padding=1)
        self.second = nn.Conv2d(outer, outer, 3, padding=1)

    def forward(self, cells: Tensor) -> Tensor:
        first = functional.gelu(self.first(cells))
        return first + functional.gelu(self.second(first))


def _levels(widths: Sequence[int]) -> nn.ModuleList:
    """Return a block for each level, after the first with a layer that halves the resolution."""
    halving = [
        nn.Sequential(nn.Conv2d(before, after, 2, stride=2), _Block(after, after))
        for before, after in pairwise(widths)
    ]
    return nn.ModuleList([_Block(3 + 2, widths[0]), *halving])


def _through(levels: nn.ModuleList, images: Tensor) -> list[Tensor]:
    """Return the map of each level."""
    maps: list[Tensor] = []
    for level in levels:
        maps.append(level(maps[-1] if maps else images))
    return maps


def _doubled(cells: Tensor) -> Tensor:
    return functional.interpolate(cells, scale_factor=2, mode="bilinear", align_corners=False)


def _heads(cells: Tensor) -> Tensor:
    """Return (B, C, H, W) as (B, heads, H · W, C / heads)."""
    batch, width = cells.shape[:2]
    return cells.view(batch, HEADS, width // HEADS, -1).transpose(-1, -2)


def _padded(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    return functional.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
