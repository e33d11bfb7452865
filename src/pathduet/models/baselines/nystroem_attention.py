"""Nystroem attention: self-attention of N tokens at a cost that grows with N, through a few landmarks.

Xiong et al.: Nystromformer: A Nystrom-based Algorithm for Approximating Self-Attention, AAAI 2021 (eq. 13 and algorithm 1);
the pseudoinverse by the iteration of Razavi et al., Abstract and Applied Analysis 2014. Deviations:

- A landmark is the mean of a segment of adaptive average pooling: where N is not a multiple of the landmarks, neighbouring segments
  share a token, and nothing has to be padded. With as many landmarks as tokens it is exact attention.
- The iteration starts from each matrix's own norms (the authors' code takes the largest of the batch, so that a slide's
  output depends on the other slides of the batch).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pseudoinverse(matrix: Tensor, iterations: int) -> Tensor:
    """Return the Moore-Penrose inverse of (..., m, m) by `iterations` steps of third order.

    Converges from Z = A^T / (||A||_1 ||A||_inf), which brings all singular values of A Z into (0, 1].
    """
    columns = matrix.abs().sum(dim=-2).amax(dim=-1)  # ||A||_1, (...)
    rows = matrix.abs().sum(dim=-1).amax(dim=-1)
    inverse = matrix.transpose(-2, -1) / (columns * rows)[..., None, None]
    shape, matrix = matrix.shape, matrix.flatten(0, -3)
    inverse = inverse.reshape(matrix.shape)
    for _ in range(iterations):
        product = matrix @ inverse  # P = A Z, and Z (13 - P (15 - P (7 - P))) / 4 without identity matrices:
        inner = torch.baddbmm(product, product, product, beta=7, alpha=-1)  # P (7 - P)
        inner = torch.baddbmm(product, product, inner, beta=15, alpha=-1)  # P (15 - P (7 - P))
        inverse = torch.baddbmm(inverse, inverse, inner, beta=13 / 4, alpha=-1 / 4)
    return inverse.view(shape)


def nystroem_attention(
    queries: Tensor, keys: Tensor, values: Tensor, landmarks: int, iterations: int
) -> Tensor:
    """Return an approximation of softmax(Q K^T / sqrt(d)) V.

    Parameters
    ----------
    queries, keys, values : Tensor
        (B, heads, N, d).
    landmarks : int
        Number of segments whose means represent all tokens; at most N are used.
    iterations : int
        Iterations of the pseudoinverse; 6 in the paper.

    Returns
    -------
    Tensor
        (B, heads, N, d).
    """
    B, heads, N, d = queries.shape
    m = min(landmarks, N)
    queries = queries * d**-0.5

    def means(tokens: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool1d(tokens.reshape(B * heads, N, d).transpose(1, 2), m)
        return pooled.transpose(1, 2).reshape(B, heads, m, d)

    query_means, key_means = means(queries), means(keys)
    to_landmarks = (queries @ key_means.transpose(-2, -1)).softmax(dim=-1)  # (B, heads, N, m)
    core = (query_means @ key_means.transpose(-2, -1)).softmax(dim=-1)  # (B, heads, m, m)
    from_landmarks = (query_means @ keys.transpose(-2, -1)).softmax(dim=-1)  # (B, heads, m, N)
    return to_landmarks @ (pseudoinverse(core, iterations) @ (from_landmarks @ values))


class NystroemAttention(nn.Module):
    """Multi-head Nystroem self-attention, plus a depthwise convolution over the values.

    Parameters
    ----------
    width : int
        Width of a token.
    heads, head_dim : int
        Number of heads and the width of each.
    landmarks, iterations : int
        See :func:`nystroem_attention`.
    kernel : int
        Size of the convolution along the sequence, one filter per head; odd.
    dropout : float
        Dropout of the output.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_dim: int,
        landmarks: int,
        iterations: int,
        kernel: int = 33,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.landmarks, self.iterations = landmarks, iterations
        self.project = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.convolution = nn.Conv2d(
            heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False
        )
        self.output = nn.Linear(heads * head_dim, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, N, width) from tokens (B, N, width)."""
        B, N, _ = tokens.shape
        projected = self.project(tokens).view(B, N, 3, self.heads, self.head_dim)
        q, k, v = projected.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        # The iteration squares errors of the core matrix: bfloat16 would not converge.
        with torch.autocast(tokens.device.type, enabled=False):
            mixed = nystroem_attention(q.float(), k.float(), v.float(), self.landmarks, self.iterations)
        mixed = mixed.to(v.dtype) + self.convolution(v)
        mixed = mixed.transpose(1, 2).reshape(B, N, self.heads * self.head_dim)
        result: Tensor = self.dropout(self.output(mixed))
        return result
