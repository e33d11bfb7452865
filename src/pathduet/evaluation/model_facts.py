"""What a table says about a model beside its numbers: title, what it reads, and which of ours it is tested against."""

from __future__ import annotations

from dataclasses import dataclass

#: Ours, by what a model reads when it predicts.
OURS_WITH_EXPRESSION, OURS_SLIDES_ONLY = "teacher", "distilled"

MODEL_NAMES = {
    "teacher": "Teacher (slides + expression)",
    "student": "Student (slides only)",
    "distilled": "Distilled student (slides only)",
    "cox_age": "Cox: age",
    "cox_age_sex": "Cox: age + sex",
    "cox_age_sex_grade": "Cox: age + sex + grade",
    "logistic_age_sex": "Logistic regression: age + sex",
    "logistic_age_sex_grade": "Logistic regression: age + sex + grade",
}
_OURS = {
    "teacher": (("slides", "expression"), ("slides", "expression")),
    "student": (("slides",), ("slides",)),
    "distilled": (("slides", "expression"), ("slides",)),
}


@dataclass(frozen=True)
class ModelFacts:
    """A row's description.

    Attributes
    ----------
    name, title : str
        In files, and for readers.
    learns_from, reads : str
        ``slides``, ``expression``, ``both`` or ``clinical``: in training, and to predict.
    compared_with : str
        The model that it is tested against; empty for ours.
    """

    name: str
    title: str
    learns_from: str
    reads: str
    compared_with: str


def modality(names: tuple[str, ...]) -> str:
    """Return ``both`` for slides and expression, else the one there is; empty for none."""
    return "both" if {"slides", "expression"} <= set(names) else "".join(names[:1])


def known_model(name: str) -> ModelFacts:
    """Return what is known of a model of ours, a baseline of the registry or a clinical one.

    A model with another name (of the user's own, say) reads nothing that is known, and is tested against the teacher.
    """
    from pathduet.models.registry import BASELINES

    title = MODEL_NAMES.get(name, name)
    learns: tuple[str, ...]
    reads: tuple[str, ...]
    if name in _OURS:
        learns, reads = _OURS[name]
    elif name in BASELINES:
        baseline = BASELINES[name]
        learns, reads, title = baseline.learns_from, baseline.predicts_from, baseline.title
    elif name.startswith(("cox_", "logistic_")):
        learns = reads = ("clinical",)
    else:
        learns = reads = ()
    ours = OURS_SLIDES_ONLY if modality(reads) == "slides" else OURS_WITH_EXPRESSION
    return ModelFacts(name, title, modality(learns), modality(reads), "" if name == ours else ours)
