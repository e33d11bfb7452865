"""Catalogue of all models: names, inputs, source, tasks, and the code that builds each.

Plan, tables, report, figures, schema and command line read this catalogue; no code parses model names. Importing it loads
no library: networks are named as ``module:attribute`` and loaded when one is built.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError, Problem

Kind = Literal["method", "baseline", "released", "components", "clinical", "own"]
Modality = Literal["slides", "expression", "clinical"]
SLIDES: tuple[Modality, ...] = ("slides",)
EXPRESSION: tuple[Modality, ...] = ("expression",)
BOTH: tuple[Modality, ...] = ("slides", "expression")
CLINICAL: tuple[Modality, ...] = ("clinical",)
_PAPER = "Zhang, Wang, Liu, Yu, Li: Disentangled Multi-modal Learning of Histology and Transcriptomics"
_NETWORKS = "pathduet.models.baselines"
#: Colour of clinical models: unlike any network's and the grey of axes.
_BROWN = "#8a6d3b"
_TITLES = {
    "teacher": "Teacher",
    "student": "Student",
    "student_longer": "Student trained as long as the distilled",
    "distilled": "Distilled student",
}


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes
    ----------
    name, title : str
        Name in files, title for readers.
    kind : {"method", "baseline", "released", "components", "clinical", "own"}
        The paper's networks, networks that others proposed, the paper's networks as in its authors' public code, regressions
        on principal components and on clinical covariates, a user's own network.
    source : str
        Authors, title, venue, year; for a clinical model, the library that fits it.
    learns_from, predicts_from : tuple of str
        ``slides``, ``expression`` or ``clinical``. A model that predicts from slides alone also predicts patients without
        expression.
    network : str
        ``module:attribute`` that builds it; empty for regressions and own models.
    settings : str
        ``module:attribute`` of the dataclass of its settings with defaults; empty if it has none.
    role : str
        For the method's networks and their variants: ``teacher``, ``student`` or ``distilled`` (continues the training of a student),
        which is its section of the configuration's ``training``; ``baseline`` for all other networks.
    trained_after : tuple of str
        Models of the same fold that it learns from.
    inherits : tuple of str
        Keys of the configuration's ``model`` that its settings inherit unless they set them.
    task_kinds : tuple of str
        ``classification``, ``survival``, ``regression``; empty = every kind.
    covariates : tuple of str
        Columns of the patients' sheet that a clinical model reads.
    covariate_set : str
        Its set of ``evaluation.clinical_baselines``.
    colour : str
        Its colour in every figure, as #rrggbb; empty = the next of the palette.
    short : str
        A title for narrow places; empty = the title.
    """

    name: str
    title: str
    kind: Kind
    source: str
    learns_from: tuple[Modality, ...]
    predicts_from: tuple[Modality, ...]
    network: str = ""
    settings: str = ""
    role: str = "baseline"
    trained_after: tuple[str, ...] = ()
    inherits: tuple[str, ...] = ()
    task_kinds: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    covariate_set: str = ""
    colour: str = ""
    short: str = ""

    @property
    def reads(self) -> str:
        """What it predicts from, as tables show it: ``slides``, ``expression``, ``both`` or ``clinical``."""
        return modality(self.predicts_from)

    @property
    def full_title(self) -> str:
        """The title, with the inputs of the method's networks: ``Student (slides only)``."""
        said = {"slides": "slides only", "both": "slides + expression"}.get(self.reads, self.reads)
        return f"{self.title} ({said})" if self.kind == "method" else self.title

    @property
    def short_title(self) -> str:
        """The title on an axis or in a narrow column."""
        return self.short or self.title

    @property
    def in_sentence(self) -> str:
        """The title inside a sentence: ``ABMIL``, ``distilled student``."""
        return self.title[:1].lower() + self.title[1:] if self.role != "baseline" else self.title

    @property
    def is_network(self) -> bool:
        """Whether it is trained as a network, and not fitted by a library."""
        return self.kind not in ("components", "clinical")

    def fits(self, task: Task) -> bool:
        """Whether it applies to a task; for a clinical model, whether the task is compared with its set."""
        if self.task_kinds and task.kind not in self.task_kinds:
            return False
        if self.kind != "clinical":
            return True
        if task.clinical_baselines is not None:
            return self.covariate_set in task.clinical_baselines
        return not set(self.covariates) & set(task.columns)

    def load_network(self) -> Any:
        """Import and return the network's builder."""
        return _load(self.network)

    def load_settings(self) -> type[Any] | None:
        """Import and return the dataclass of its settings, or None."""
        return _load(self.settings) if self.settings else None


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def modality(names: tuple[str, ...] | list[str]) -> str:
    """Return ``both`` for slides and expression, else the first; empty for none."""
    return "both" if {"slides", "expression"} <= set(names) else "".join(names[:1])


def _method(
    name: str, role: str, learns: tuple[Modality, ...], reads: tuple[Modality, ...], **more: Any
) -> Model:
    network = "teacher:Teacher" if role == "teacher" else "student:Student"
    return Model(
        name, _TITLES[name], "method", _PAPER, learns, reads, f"pathduet.models.method.{network}",
        "pathduet.models.method.config:ModelConfig", role, **more,
    )  # fmt: skip


def _released(role: str, learns: tuple[Modality, ...], reads: tuple[Modality, ...], **more: Any) -> Model:
    network = "ReleasedTeacher" if role == "teacher" else "ReleasedStudent"
    return Model(
        f"released_{role}", f"{_TITLES[role]}, released", "released", f"the authors' public code of: {_PAPER}", learns, reads,
        f"pathduet.models.released:{network}", "pathduet.models.released:ReleasedConfig", role, **more,
    )  # fmt: skip


def _baseline(
    name: str,
    title: str,
    source: str,
    learns: tuple[Modality, ...],
    reads: tuple[Modality, ...],
    network: str,
    settings: str,
    **more: Any,
) -> Model:
    built = (f"{_NETWORKS}.{network}", f"{_NETWORKS}.{settings}")
    return Model(name, title, "baseline", source, learns, reads, *built, **more)


def _late_fusion(name: str, how: str, settings: str = "LateFusionConfig") -> Model:
    source = (
        f"ABMIL and SNN {how}; as compared in Chen et al.: Multimodal Co-Attention Transformer, ICCV 2021"
    )
    return _baseline(
        name, name.capitalize(), source, BOTH, BOTH, f"late_fusion:{name}_fusion", f"late_fusion:{settings}"
    )


def _components(name: str, title: str, what: str, reads: tuple[Modality, ...]) -> Model:
    source = f"ridge-penalised Cox, logistic or linear regression on principal components of {what} (lifelines, scikit-learn)"
    return Model(name, title, "components", source, reads, reads)


#: Models by name, in the order of tables that show all; a configuration adds the clinical models (:func:`clinical_models`).
CATALOGUE: dict[str, Model] = {
    model.name: model
    for model in (
        _method("teacher", "teacher", BOTH, BOTH, colour="#0a7abf"),
        _method("student", "student", SLIDES, SLIDES, colour="#009e73"),
        # the second stage without a teacher: the distilled student's lead over this model is the teacher's effect
        _method(
            "student_longer", "distilled", SLIDES, SLIDES, trained_after=("student",), colour="#66c2a5", short="Student, longer"
        ),
        _method(
            "distilled", "distilled", BOTH, SLIDES, trained_after=("teacher", "student"), colour="#e69f00"
        ),
        _baseline(
            "abmil", "ABMIL", "Ilse, Tomczak, Welling: Attention-based Deep Multiple Instance Learning, ICML 2018",
            SLIDES, SLIDES, "abmil:Abmil", "abmil:AbmilConfig",
        ),
        _baseline(
            "transmil", "TransMIL",
            "Shao et al.: TransMIL: Transformer based Correlated Multiple Instance Learning, NeurIPS 2021",
            SLIDES, SLIDES, "transmil:TransMil", "transmil:TransMilConfig",
        ),
        _baseline(
            "snn", "SNN", "Klambauer et al.: Self-Normalizing Neural Networks, NeurIPS 2017",
            EXPRESSION, EXPRESSION, "gene_snn:GeneSnn", "gene_snn:GeneSnnConfig",
        ),
        _late_fusion("concat", "concatenated"),
        _late_fusion("add", "added"),
        _late_fusion("bilinear", "multiplied", "BilinearConfig"),
        _baseline(
            "mcat", "MCAT",
            "Chen et al.: Multimodal Co-Attention Transformer for Survival Prediction, ICCV 2021",
            BOTH, BOTH, "mcat:Mcat", "mcat:McatConfig",
        ),
        _baseline(
            "cmta", "CMTA", "Zhou, Chen: Cross-Modal Translation and Alignment for Survival Analysis, ICCV 2023",
            BOTH, BOTH, "cmta:Cmta", "cmta:CmtaConfig",
        ),
        _baseline(
            "survpath", "SurvPath",
            "Jaume et al.: Modeling Dense Multimodal Interactions between Biological Pathways and Histology, CVPR 2024",
            BOTH, BOTH, "survpath:SurvPath", "survpath:SurvPathConfig",
        ),
        _baseline(
            "mmp", "MMP", "Song et al.: Multimodal Prototyping for Cancer Survival Prediction, ICML 2024",
            BOTH, BOTH, "mmp:Mmp", "mmp:MmpConfig",
        ),
        _baseline(
            "sml", "SML", "Zhang et al.: Knowledge-driven Subspace Fusion and Gradient Coordination, MICCAI 2024",
            BOTH, BOTH, "sml:Sml", "sml:SmlConfig", inherits=("offset_kernel", "stride", "offset_range_points"),
        ),
        _baseline(
            "lm", "LM", "linear imputation of the gene vector, after Dumpala et al., NeurIPS workshop 2018",
            BOTH, SLIDES, "lm:linear_mapping", "imputation:ImputationConfig",
        ),
        _baseline(
            "ae", "AE", "Dumpala et al.: Audio-visual Fusion using Cross-modal Autoencoder, NeurIPS workshop 2018",
            BOTH, SLIDES, "ae:autoencoder_imputation", "ae:AutoencoderConfig",
        ),
        _released("teacher", BOTH, BOTH),
        _released("student", SLIDES, SLIDES),
        _released("distilled", BOTH, SLIDES, trained_after=("released_teacher", "released_student")),
        _components("components", "Principal components", "the expression", EXPRESSION),
        _components("pooled_features", "Pooled features", "the slides' mean features", SLIDES),
        _components("pooled_components", "Pooled features + components", "the slides' mean features and the expression", BOTH),
    )
}  # fmt: skip


def names(*kinds: Kind) -> tuple[str, ...]:
    """Return the names of the models of some kinds, in the catalogue's order."""
    return tuple(name for name, model in CATALOGUE.items() if model.kind in kinds)


def find(name: str) -> Model:
    """Return a model of the catalogue.

    Raises
    ------
    InputError
        If there is no such model.
    """
    if name not in CATALOGUE:
        raise InputError([Problem("model", f"{name!r} is unknown", f"use one of {', '.join(CATALOGUE)}")])
    return CATALOGUE[name]


def named(name: str, catalogue: Mapping[str, Model] = CATALOGUE) -> Model:
    """Return a model of a run's catalogue (:func:`catalogue_of`); for any other name, a variation, only the name is set."""
    return catalogue.get(name) or Model(name, name, "own", "", (), ())


def opponent_of(name: str, base: str, reads: str, left_out: Collection[str] = ()) -> str:
    """Return the model that a model is tested against: a variation's base, else our model with the same inputs.

    Parameters
    ----------
    name, base : str
        Base: for a variation, the model that it varies; else the model itself.
    reads : str
        As :attr:`Model.reads`.
    left_out : collection of str, optional
        Models that the run cannot train; the student then replaces the other two.

    Returns
    -------
    str
        Empty for models that others are tested against, and if none of ours is trained.
    """
    varied = named(base).role if named(base).kind == "method" else base
    if varied != name and named(base).kind in ("method", "baseline"):
        return varied
    wanted = ("distilled" if reads == "slides" else "teacher", "student")
    ours = next((one for one in wanted if one not in left_out), "")
    return "" if name == ours else ours


def own_model(name: str, entry: Mapping[str, Any]) -> Model:
    """Return a user's own network as a model of the catalogue.

    Parameters
    ----------
    name : str
        As configured.
    entry : mapping
        Its ``learns_from`` (default: slides) and ``predicts_from`` (default: the same).
    """
    learns = tuple(entry.get("learns_from") or SLIDES)
    reads = tuple(entry.get("predicts_from") or learns)
    return Model(name, name, "own", "a network of your own", learns, reads)


#: Name, title, short title and source of clinical models, by kind of task.
_REGRESSIONS = {
    "survival": ("cox", "Cox", "Cox", "lifelines, ridge penalty"),
    "classification": ("logistic", "Logistic regression", "Logistic", "scikit-learn, ridge penalty"),
    "regression": ("ridge", "Ridge regression", "Ridge", "scikit-learn, ridge penalty"),
}


def clinical_sets(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the sets of covariates of ``evaluation.clinical_baselines``; one of all covariates if it names none."""
    configured = config["evaluation"]["clinical_baselines"]
    sets = {name: list(columns) for name, columns in configured.items() if columns is not None}
    every = [column for column, entry in config["covariates"].items() if entry is not None]
    return sets or ({"covariates": every} if every else {})


def clinical_models(config: Mapping[str, Any]) -> dict[str, Model]:
    """Return a model for every set of covariates and kind of task, e.g. ``cox_age_sex``."""
    models = {}
    for kind, (name, title, short, source) in _REGRESSIONS.items():
        for chosen, columns in clinical_sets(config).items():
            said = " + ".join(_covariate_title(config, column) for column in columns)
            models[f"{name}_{chosen}"] = Model(
                f"{name}_{chosen}", f"{title}: {said}", "clinical", source, CLINICAL, CLINICAL, task_kinds=(kind,),
                covariates=tuple(columns), covariate_set=chosen, colour=_BROWN, short=f"{short}: {said}",
            )  # fmt: skip
    return models


def reference_model(catalogue: Mapping[str, Model], task: Task, wanted: str | None) -> str:
    """Return the clinical model over which gains are computed: of the wanted set of covariates, else the task's first.

    Parameters
    ----------
    catalogue : mapping
        A run's catalogue (:func:`catalogue_of`).
    wanted : str or None
        ``evaluation.gain_over``.

    Returns
    -------
    str
        Its name; empty if the task has no clinical model.
    """
    fitting = [model for model in catalogue.values() if model.kind == "clinical" and model.fits(task)]
    fitting.sort(key=lambda model: model.covariate_set != wanted)
    return fitting[0].name if fitting else ""


def _covariate_title(config: Mapping[str, Any], column: str) -> str:
    entry = config["covariates"].get(column)
    return (entry.get("title") if isinstance(entry, Mapping) else None) or column.replace("_", " ")


def catalogue_of(config: Mapping[str, Any]) -> dict[str, Model]:
    """Return the catalogue with a configuration's own and clinical models.

    Parameters
    ----------
    config : mapping
        ``comparison``, ``evaluation`` and ``covariates`` of a complete configuration.
    """
    own = config["comparison"]["own_models"]
    return {
        **CATALOGUE,
        **{name: own_model(name, entry) for name, entry in own.items()},
        **clinical_models(config),
    }
