"""Every model of the comparison by name: what it learns from, what it predicts from, whose idea it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from pathduet.core.errors import InputError, Problem
from pathduet.models.baselines.abmil import Abmil, AbmilConfig
from pathduet.models.baselines.ae import AutoencoderConfig, autoencoder_imputation
from pathduet.models.baselines.cmta import Cmta, CmtaConfig
from pathduet.models.baselines.gene_groups import read_gene_groups
from pathduet.models.baselines.gene_snn import GeneSnn, GeneSnnConfig
from pathduet.models.baselines.imputation import ImputationConfig
from pathduet.models.baselines.late_fusion import BilinearConfig, LateFusion, LateFusionConfig
from pathduet.models.baselines.lm import linear_mapping
from pathduet.models.baselines.mcat import Mcat, McatConfig
from pathduet.models.baselines.sml import Sml, SmlConfig
from pathduet.models.baselines.transmil import TransMil, TransMilConfig
from pathduet.models.inputs import NetworkSizes
from pathduet.models.method.config import MAGNIFICATIONS, PATCH_STARTS

Modality = Literal["slides", "expression", "clinical"]
BOTH: tuple[Modality, ...] = ("slides", "expression")


@dataclass(frozen=True)
class Baseline:
    """One network that others proposed.

    Attributes
    ----------
    name, title : str
        In tables' files, and for readers.
    source : str
        Authors, title, venue, year.
    learns_from, predicts_from : tuple of str
        ``slides``, ``expression``. Who predicts from slides alone predicts patients without expression, too.
    build : callable
        ``build(sizes, config)`` returns a network whose ``forward(inputs)`` gives an
        :class:`~pathduet.models.inputs.Answer`.
    config : type
        Dataclass of its settings, defaults included; `magnifications` is among them if it reads slides.
    """

    name: str
    title: str
    source: str
    learns_from: tuple[Modality, ...]
    predicts_from: tuple[Modality, ...]
    build: Callable[[NetworkSizes, Any], nn.Module]
    config: type[Any]


def _late_fusion(name: str, how: str, config: type[LateFusionConfig] = LateFusionConfig) -> Baseline:
    return Baseline(
        name,
        name.capitalize(),
        f"ABMIL and SNN {how}; as compared in Chen et al.: Multimodal Co-Attention Transformer, ICCV 2021",
        BOTH,
        BOTH,
        partial(LateFusion, fusion=name),
        config,
    )


BASELINES: dict[str, Baseline] = {
    one.name: one
    for one in (
        Baseline(
            "abmil",
            "ABMIL",
            "Ilse, Tomczak, Welling: Attention-based Deep Multiple Instance Learning, ICML 2018",
            ("slides",),
            ("slides",),
            Abmil,
            AbmilConfig,
        ),
        Baseline(
            "transmil",
            "TransMIL",
            "Shao et al.: TransMIL: Transformer based Correlated Multiple Instance Learning, NeurIPS 2021",
            ("slides",),
            ("slides",),
            TransMil,
            TransMilConfig,
        ),
        Baseline(
            "snn",
            "SNN",
            "Klambauer et al.: Self-Normalizing Neural Networks, NeurIPS 2017",
            ("expression",),
            ("expression",),
            GeneSnn,
            GeneSnnConfig,
        ),
        _late_fusion("concat", "concatenated"),
        _late_fusion("add", "added"),
        _late_fusion("bilinear", "multiplied", BilinearConfig),
        Baseline(
            "mcat",
            "MCAT",
            "Chen et al.: Multimodal Co-Attention Transformer for Survival Prediction, ICCV 2021",
            BOTH,
            BOTH,
            Mcat,
            McatConfig,
        ),
        Baseline(
            "cmta",
            "CMTA",
            "Zhou, Chen: Cross-Modal Translation and Alignment for Survival Analysis, ICCV 2023",
            BOTH,
            BOTH,
            Cmta,
            CmtaConfig,
        ),
        Baseline(
            "sml",
            "SML",
            "Zhang et al.: Knowledge-driven Subspace Fusion and Gradient Coordination, MICCAI 2024",
            BOTH,
            BOTH,
            Sml,
            SmlConfig,
        ),
        Baseline(
            "lm",
            "LM",
            "linear imputation of the gene vector, after Dumpala et al., NeurIPS workshop 2018",
            BOTH,
            ("slides",),
            linear_mapping,
            ImputationConfig,
        ),
        Baseline(
            "ae",
            "AE",
            "Dumpala et al.: Audio-visual Fusion using Cross-modal Autoencoder, NeurIPS workshop 2018",
            BOTH,
            ("slides",),
            autoencoder_imputation,
            AutoencoderConfig,
        ),
    )
}


def settings(name: str, changes: Mapping[str, Any] | None = None) -> Any:
    """Return a baseline's settings: its defaults with `changes` laid over them.

    The same call makes settings of what a configuration says and of what ``dataclasses.asdict`` recorded: lists
    become tuples, and `gene_groups` given as a file become the groups in it, so that a trained model does not need the file.

    Parameters
    ----------
    name : str
        Of the baseline.
    changes : mapping, optional
        Setting to value.

    Returns
    -------
    dataclass
        An instance of ``BASELINES[name].config``.

    Raises
    ------
    InputError
        If the baseline or a setting is unknown, or a value cannot be.
    """
    if name not in BASELINES:
        known = ", ".join(BASELINES)
        raise InputError([Problem("model", f"{name!r} is no baseline", f"use one of {known}")])
    config = BASELINES[name].config
    known_settings = [field.name for field in fields(config)]
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in (changes or {}).items()}
    groups = values.get("gene_groups")
    if isinstance(groups, str | Path):
        groups = read_gene_groups(groups)
    if isinstance(groups, Mapping):
        # by name: records are written with sorted keys, and the order of the groups is that of a model's branches
        values["gene_groups"] = {group: tuple(genes) for group, genes in sorted(groups.items())}
    problems = [
        Problem(f"{name}.{key}", "no setting of this model", f"use one of {', '.join(known_settings)}")
        for key in values
        if key not in known_settings
    ]
    read = values.get("magnifications", MAGNIFICATIONS)
    if not read or len(set(read)) < len(read) or not set(read) <= set(MAGNIFICATIONS):
        advice = 'use ["10x"], ["20x"] or ["10x", "20x"]'
        problems.append(Problem(f"{name}.magnifications", repr(read), advice))
    start = values.get("patch_start", PATCH_STARTS[0])
    if start not in PATCH_STARTS:
        problems.append(Problem(f"{name}.patch_start", repr(start), f"use one of {', '.join(PATCH_STARTS)}"))
    if problems:
        raise InputError(problems)
    try:
        return config(**values)
    except (TypeError, ValueError) as error:
        raise InputError([Problem(name, str(error), "see `pathduet models`")]) from None
