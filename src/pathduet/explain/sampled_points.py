"""Where deformable attention sampled the patch map, and how much attention each position got.

A key of the attention is sampled at one point per offset group (each group of channels at its own point), and bilinear
sampling reads up to four cells at each point. So a key's attention is shared equally by its points, and a
point's attention by its cells in proportion to their weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampling:
    """The points of one deformable attention over one slide.

    Attributes
    ----------
    points : (groups, keys, 2) array
        (x, y) in [-1, 1], cell i of n with its centre at (2 i + 1) / n - 1; points outside read the border.
    mass : (keys,) array
        Attention of each key, averaged over heads and queries; adds up to 1.
    side : int
        n, cells along an edge of the patch map.
    """

    points: NDArray[np.float64]
    mass: NDArray[np.float64]
    side: int

    def cells(self) -> NDArray[np.float64]:
        """Return the attention of each cell of the patch map, (n n,), adding up to 1."""
        groups = len(self.points)
        share = np.broadcast_to(self.mass / groups, self.points.shape[:2])
        return splat(self.points.reshape(-1, 2), share.ravel(), self.side)

    def nearest_cells(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return each point's cell, (groups, keys), and position in it, (groups, keys, 2) in [0, 1]."""
        position = np.clip((self.points + 1) * self.side / 2, 0, self.side)  # cell i spans [i, i + 1]
        cell = np.minimum(position.astype(np.int64), self.side - 1)
        return cell[..., 1] * self.side + cell[..., 0], position - cell


def splat(points: NDArray[np.floating], mass: NDArray[np.floating], side: int) -> NDArray[np.float64]:
    """Distribute the mass of points over the cells that bilinear sampling reads there.

    The transpose of :func:`pathduet.models.method.deformable_attention.sample_map`: same convention, border cells for
    points outside.

    Parameters
    ----------
    points : (p, 2) array
        (x, y) in [-1, 1].
    mass : (p,) array
    side : int
        Cells along an edge.

    Returns
    -------
    (side * side,) array
        Row by row; its sum is that of `mass`.

    >>> splat(np.array([[0.0, -0.5]]), np.array([1.0]), 2).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    position = np.clip(((np.asarray(points, np.float64) + 1) * side - 1) / 2, 0, side - 1)
    low = np.minimum(np.floor(position).astype(np.int64), max(side - 2, 0))
    high = np.minimum(low + 1, side - 1)
    part = position - low
    cells = np.zeros(side * side)
    for x, share_x in ((low[:, 0], 1 - part[:, 0]), (high[:, 0], part[:, 0])):
        for y, share_y in ((low[:, 1], 1 - part[:, 1]), (high[:, 1], part[:, 1])):
            np.add.at(cells, y * side + x, mass * share_x * share_y)
    return cells
