"""Self-normalising networks keep their statistics and fuse what they are given."""

from __future__ import annotations

import pytest
import torch

from pathduet.models.snn import Snn, SnnConfig


def test_activations_keep_mean_0_and_variance_1_through_eight_layers() -> None:
    torch.manual_seed(0)
    model = Snn([500], 2, SnnConfig(hidden=(400,) * 8, dropout=0.1)).train()
    values = torch.randn(2000, 500)
    hidden = model.branches[0](values)
    assert abs(float(hidden.detach().mean())) < 0.1
    assert float(hidden.detach().var()) == pytest.approx(1, abs=0.15)


def test_parallel_branches_read_their_own_vector_only_and_both_count() -> None:
    torch.manual_seed(0)
    model = Snn([30, 20], 3, SnnConfig(hidden=(16,))).eval()
    tumor, tme = torch.randn(5, 30), torch.randn(5, 20)
    base = model([tumor, tme])
    assert base.shape == (5, 3)
    assert not torch.allclose(model([tumor + 1, tme]), base)
    assert not torch.allclose(model([tumor, tme + 1]), base)
    torch.testing.assert_close(model([tumor[[2, 0]], tme[[2, 0]]]), base[[2, 0]])
    with pytest.raises(ValueError, match="1 gene vectors for 2 branches"):
        model([tumor])
    with pytest.raises(ValueError, match="at least one gene"):
        Snn([0], 2, SnnConfig())
