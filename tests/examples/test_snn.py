"""Self-normalising networks keep their statistics, fuse what they are given, and learn what is there to learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from expression_models.networks import GeneItems, predict_snn, train_snn

from pathduet.models.snn import Snn, SnnConfig
from pathduet.training.config import TrainingConfig
from pathduet.training.task_targets import ClassTarget, SurvivalTarget


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


TRAINING = TrainingConfig(epochs=30, batch_size=32, learning_rate=1e-2, weight_decay=0.1, seed=1)
NETWORK = SnnConfig(hidden=(32,), dropout=0.2)


def test_classes_that_genes_tell_apart_are_learned_and_the_run_repeats() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 240)
    values = rng.standard_normal((240, 40))
    values[:, :3] += 2.5 * np.eye(3)[label]
    train, test = slice(0, 160), slice(160, None)
    items = GeneItems([f"p{i}" for i in range(160)], [values[train]], label[train], np.zeros(160))
    outcome = ClassTarget(("a", "b", "c"))
    models = [train_snn(items, outcome, NETWORK, TRAINING) for _ in range(2)]
    logits = [predict_snn(model, [values[test]]) for model in models]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert (logits[0].argmax(axis=1) == label[test]).mean() > 0.85
    shuffled = GeneItems(items.patients, [values[train]], rng.permutation(label[train]), np.zeros(160))
    blind = predict_snn(train_snn(shuffled, outcome, NETWORK, TRAINING), [values[test]])
    assert (blind.argmax(axis=1) == label[test]).mean() < 0.6


def test_risk_rises_with_the_gene_that_shortens_life() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((300, 20))
    time = rng.exponential(np.exp(-1.5 * values[:, 0]))
    censored = rng.exponential(2.0, 300)
    event, observed = (time <= censored).astype(float), np.minimum(time, censored)
    edges = np.quantile(observed[:200], [0.25, 0.5, 0.75])
    bins = np.searchsorted(edges, observed)
    items = GeneItems([f"p{i}" for i in range(200)], [values[:200]], bins[:200], event[:200])
    model = train_snn(items, SurvivalTarget(tuple(edges)), NETWORK, TRAINING)
    hazards = 1 / (1 + np.exp(-predict_snn(model, [values[200:]])))
    risk = -np.cumprod(1 - hazards, axis=1).sum(axis=1)
    assert np.corrcoef(risk, values[200:, 0])[0, 1] > 0.6
