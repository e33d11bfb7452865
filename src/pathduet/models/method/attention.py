"""Multi-head attention from one set of tokens to another: equations 2-3, 4-5 and 8-9 of the paper.

Queries, keys and values have separate projections without bias (the equations have none); there is no
position bias. Dropout acts on the output, so that the rows of the attention matrix always sum to one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V per head, concatenated and projected.

    Parameters
    ----------
    width : int
        Width c of queries and sources, and of the output.
    heads, head_dim : int
        Number of heads and the width d of each.
    dropout : float
        Dropout of the output.
    """

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key = nn.Linear(width, heads * head_dim, bias=False)
        self.value = nn.Linear(width, heads * head_dim, bias=False)
        self.output = nn.Linear(heads * head_dim, width)
        self.dropout = nn.Dropout(dropout)
        # Scores of independent tokens then have a standard deviation near 1: the attention selects from the start.
        # With torch's default for linear layers it is a third of that, and tens of slides do not sharpen it.
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(
        self, queries: Tensor, source: Tensor, source_mask: Tensor | None = None, need_attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `queries` to `source`.

        Parameters
        ----------
        queries : Tensor
            (B, Q, c).
        source : Tensor
            (B, S, c).
        source_mask : Tensor, optional
            (S,) or (B, S) bool, True where a source token counts.
        need_attention : bool
            Return the attention matrix too (always computed in float32).

        Returns
        -------
        tuple
            Output (B, Q, c) and attention (B, heads, Q, S) or None.
        """
        B, Q, _ = queries.shape
        q, k, v = (
            layer(x).view(B, -1, self.heads, self.head_dim).transpose(1, 2)  # (B, heads, tokens, d)
            for layer, x in ((self.query, queries), (self.key, source), (self.value, source))
        )
        mask = None
        if source_mask is not None:
            mask = source_mask.view(-1, 1, 1, source.shape[1])  # (B or 1, 1, 1, S)
        attention = None
        if need_attention:
            attention = attention_weights(q, k, mask)
            mixed = attention.to(v.dtype) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(B, Q, self.heads * self.head_dim)
        return self.dropout(self.output(mixed)), attention


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(Q K^T / sqrt(d)), (B, heads, Q, S), for (B, heads, tokens, d) queries and keys."""
    # The consistency loss depends on variances near 1e-6: bfloat16 would drown them.
    with torch.autocast(queries.device.type, enabled=False):
        if queries.dtype in (torch.bfloat16, torch.float16):
            queries, keys = queries.float(), keys.float()
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(dim=-1)
