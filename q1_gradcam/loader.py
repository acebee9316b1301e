"""Augmented batches from pictures in memory, by indexing alone."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from common.cli import generator


class Batches:
    """The training pictures of one run, cut into augmented batches epoch by epoch.

    Each picture is moved by up to `translate` pixels each way (reflected at the border) and mirrored in every other epoch:
    alternating flip, which shows each picture both ways before it shows one twice (Jordan, arXiv:2404.00498, section 3.6).
    Epoch `e` depends on (seed, e) alone, so a run that resumes there sees what an unbroken one would have seen.

    Args:
        images: (N, 32, 32, 3) uint8; labels: (N,).
    """

    def __init__(
        self,
        images,
        labels,
        batch: int,
        translate: int,
        flip: bool,
        seed: int,
        device: torch.device,
    ):
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        # Reflection padding is not there for integers, so some pictures at a time go through floating point.
        padded = torch.cat(
            [F.pad(part.float(), (translate,) * 4, "reflect").byte() for part in x.split(5000)]
        )
        self.images = padded.permute(0, 2, 3, 1).contiguous().to(device)  # (N, 32 + 2t, 32 + 2t, 3)
        self.labels = torch.from_numpy(labels).long().to(device)
        self.batch, self.translate, self.seed, self.device = (
            min(batch, len(labels)),
            translate,
            seed,
            device,
        )
        first = torch.rand(len(labels), generator=generator(seed, "first flip")) < 0.5
        self.first_flip = first.to(device) if flip else None

    def __len__(self) -> int:
        """Batches in an epoch; the last, incomplete one is left out (every epoch leaves out other pictures)."""
        return len(self.labels) // self.batch

    def epoch(self, number: int, side: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures (B, 3, side, side) float in 0 to 1, channels last, and labels (B,), in an order of the epoch's own."""
        random = generator(self.seed, "epoch", number)
        n = len(self.labels)
        order = torch.randperm(n, generator=random).to(self.device)
        moves = torch.randint(0, 2 * self.translate + 1, (2, n), generator=random).to(self.device)
        for chosen in order[: len(self) * self.batch].split(self.batch):
            yield self._cut(chosen, moves[:, chosen], number, side), self.labels[chosen]

    def _cut(self, chosen: Tensor, moves: Tensor, number: int, side: int) -> Tensor:
        full = torch.arange(32, device=self.device)
        rows = moves[0, :, None] + full
        columns = moves[1, :, None] + full
        if self.first_flip is not None:
            flip = self.first_flip[chosen] ^ bool(number % 2)
            columns = torch.where(flip[:, None], columns.flip(1), columns)
        x = self.images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        x = x.permute(0, 3, 1, 2).float().div_(255)
        if side != 32:
            x = F.interpolate(
                x, size=(side, side), mode="bilinear", antialias=True, align_corners=False
            )
            x = x.contiguous(memory_format=torch.channels_last)
        return x
