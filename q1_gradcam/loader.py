"""Augmented training batches from images in memory."""

from collections.abc import Iterator

from common.cli import generator

import torch
import torch.nn.functional as F
from torch import Tensor


class Batches:
    """Augmented batches of the training images.

    Each image is translated by up to `translate` pixels in each direction (with reflection padding)
    and flipped horizontally in every other epoch (alternating flip; Jordan, arXiv:2404.00498,
    section 3.6). With `cutout`, a square of that side around a random pixel becomes mid-gray
    (DeVries and Taylor, arXiv:1708.04552). Epoch `e` depends only on (seed, e), so a resumed run
    sees the same batches as an uninterrupted one.

    Args:
        images, labels: (N, 32, 32, 3) uint8 and (N,).
        batch, translate, flip, cutout: as in the recipe; lengths in pixels of 32 x 32 images.
        process: (rank, size): the process gets this part of every batch.
    """

    def __init__(
        self, images, labels, batch, translate, flip, seed, device, cutout=0, process=(0, 1)
    ):
        self.images = torch.from_numpy(images).to(device)
        self.labels = torch.from_numpy(labels).long().to(device)
        self.batch, self.process = min(batch, len(labels)), process
        self.translate, self.cutout, self.seed, self.device = translate, cutout, seed, device
        first = torch.rand(len(labels), generator=generator(seed, "first flip")) < 0.5
        self.first_flip = first.to(device) if flip else None

    def __len__(self) -> int:
        """Batches per epoch. An incomplete last batch is dropped."""
        return len(self.labels) // self.batch

    def epoch(self, number: int, side: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches: images (B, 3, side, side) in 0 to 1, channels last, and labels (B,)."""
        random = generator(self.seed, "epoch", number)
        n, (rank, size) = len(self.labels), self.process
        order = torch.randperm(n, generator=random).to(self.device)
        shifts = torch.randint(0, 2 * self.translate + 1, (2, n), generator=random).to(self.device)
        centers = None
        if self.cutout:
            centers = torch.randint(0, 32, (2, n), generator=random).to(self.device)
        for chosen in order[: len(self) * self.batch].split(self.batch):
            chosen = chosen[rank::size]
            x = self._crop(chosen, shifts[:, chosen], number)
            if centers is not None:
                x[self._square(*centers[:, chosen])] = 0.5
            x = x.permute(0, 3, 1, 2)
            if side != 32:
                x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
                x = x.contiguous(memory_format=torch.channels_last)
            yield x, self.labels[chosen]

    def _crop(self, chosen: Tensor, shifts: Tensor, epoch: int) -> Tensor:
        places = shifts[:, :, None] + torch.arange(32, device=self.device) - self.translate
        rows, columns = 31 - (31 - places.abs()).abs()  # reflected at both borders
        if self.first_flip is not None:
            flip = self.first_flip[chosen] ^ bool(epoch % 2)
            columns = torch.where(flip[:, None], columns.flip(1), columns)
        x = self.images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return x.float().div_(255)

    def _square(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, 32, 32) bool: the squares around the pixels (rows, columns), cut at the border."""
        pixels = torch.arange(32, device=self.device)
        offsets = (pixels - c[:, None] + self.cutout // 2 for c in (rows, columns))
        down, across = ((0 <= offset) & (offset < self.cutout) for offset in offsets)
        return down[:, :, None] & across[:, None, :]
