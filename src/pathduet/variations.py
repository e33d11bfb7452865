"""The named models of every table: the comparison's methods, and the variations of ablation, gene selection, findings.

A variation is a model of its own, with a name of its own and its own folder in the results; the workflow trains it as
it trains the teacher. Where a variation's settings are what the configuration says anyway, its row is the base model's.
Nothing here imports the networks: the workflow asks for names before any job starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pathduet.core.config import merge

#: The method's own networks, in the order in which they are trained.
OURS = ("teacher", "student", "distilled")
#: Networks that others proposed (:mod:`pathduet.catalogue`).
BASELINE_NAMES = (
    "abmil", "transmil", "snn", "concat", "add", "bilinear", "mcat", "cmta", "sml", "lm", "ae",
)  # fmt: skip
#: What a baseline takes from the configuration's ``model`` unless its own settings say otherwise: the shape of the token map,
#: and how the public code grouped genes.
INHERITED = {
    "mcat": ("variant",),
    "cmta": ("variant",),
    "sml": ("offset_kernel", "stride", "offset_range"),
}
#: Tasks of each clinical baseline.
CLINICAL_TASKS = {
    "cox_age": ("survival",),
    "cox_age_sex": ("survival",),
    "cox_age_sex_grade": ("survival",),
    "logistic_age_sex": ("diagnosis", "grading"),
    # the grade is what the grading predicts
    "logistic_age_sex_grade": ("diagnosis",),
}
#: Variation tables; "main" stands for the tasks' own tables and the external one.
VARIATION_TABLES = ("ablation", "hvg", "findings")
TABLES = ("main", *VARIATION_TABLES)
_CLASS_TASKS = ("diagnosis", "grading")


@dataclass(frozen=True)
class Arm:
    """One named model of a table.

    Attributes
    ----------
    name : str
        Folder and wildcard, e.g. ``teacher-no-cgc``.
    base : str
        ``teacher``, ``student``, ``distilled``, a baseline, or a model of the user's own.
    title : str
        For readers.
    table : str
        One of :data:`TABLES`.
    group : str
        Rows of a table that are compared with each other, e.g. ``gene input``; empty in ``main``.
    model : mapping
        Laid over the configuration's ``model``.
    training : mapping
        Laid over the configuration's training section of the base.
    settings : mapping
        Laid over a baseline's settings.
    genes : str
        Gene selection, a key of :func:`gene_selections`, or ``default``.
    teacher, student : str
        Arms that a distilled arm learns from and starts from.
    tasks : tuple of str
        Tasks whose rows the table shows; empty = all configured ones.
    """

    name: str
    base: str
    title: str
    table: str
    group: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    genes: str = "default"
    teacher: str = "teacher"
    student: str = "student"
    tasks: tuple[str, ...] = ()


#: Titles of the method's own networks.
TITLES = {"teacher": "Teacher", "student": "Student", "distilled": "Distilled student"}
_BASELINE_TITLES = {
    "abmil": "ABMIL", "transmil": "TransMIL", "snn": "SNN", "concat": "Concat", "add": "Add", "bilinear": "Bilinear",
    "mcat": "MCAT", "cmta": "CMTA", "sml": "SML", "lm": "LM", "ae": "AE",
}  # fmt: skip


def gene_selections(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each gene selection's changes of the configuration's ``expression``: shares, and the random control."""
    flavor = config["expression"]["hvg_flavor"]
    ranked = "seurat" if flavor == "random" else flavor
    shares = {
        f"hvg{share}": {"hvg_flavor": ranked, "hvg_fraction": share / 100} for share in (10, 30, 50, 80)
    }
    return shares | {"random30": {"hvg_flavor": "random", "hvg_fraction": 0.3}}


def arms(table: str, config: Mapping[str, Any]) -> list[Arm]:
    """Return the rows of a table, in its order; every row once in each group.

    Parameters
    ----------
    table : str
        ``main`` (the method, then the baselines and own models of ``comparison``), ``ablation``, ``hvg`` or
        ``findings``.
    config : mapping
        Complete configuration.
    """
    if table == "main":
        compared = config["comparison"]
        names = [*OURS, *compared["models"], *compared["own_models"]]
        return [base_arm(name) for name in names]
    made = {"ablation": _ablation, "hvg": _hvg, "findings": _findings}
    if table not in made:
        raise ValueError(f"unknown table {table!r}; known: {', '.join(TABLES)}")
    rows = [_or_base(arm, config) for arm in made[table](config)]
    return [
        arm
        for i, arm in enumerate(rows)
        if (arm.name, arm.group) not in {(a.name, a.group) for a in rows[:i]}
    ]


def base_arm(name: str, table: str = "main") -> Arm:
    """Return a model as it is configured, without variation."""
    return Arm(name, name, TITLES.get(name) or _BASELINE_TITLES.get(name, name), table)


def all_arms(config: Mapping[str, Any]) -> dict[str, Arm]:
    """Return every model that can be asked for, by name: of all tables, and baselines that no table shows."""
    named = {arm.name: arm for table in VARIATION_TABLES for arm in arms(table, config)}
    bases = {name: base_arm(name) for name in (*OURS, *BASELINE_NAMES, *config["comparison"]["own_models"])}
    return {**named, **bases}


def arm_tasks(arm: Arm, tasks: list[str]) -> list[str]:
    """Return the configured tasks for which a table shows an arm: those the publication shows, or else all."""
    return [task for task in tasks if task in arm.tasks] or list(tasks)


def needed_arms(arm: Arm, known: Mapping[str, Arm]) -> list[Arm]:
    """Return the arms that must be trained before this one (a distilled arm's teacher and student)."""
    return [known[arm.teacher], known[arm.student]] if arm.base == "distilled" else []


def _or_base(arm: Arm, config: Mapping[str, Any]) -> Arm:
    """Return the base model's name in place of a variation that changes nothing."""
    if arm.base in OURS:
        same = (
            merge(config["model"], arm.model) == config["model"]
            and merge(config["training"][arm.base], arm.training) == config["training"][arm.base]
        )
    else:
        configured = config["comparison"]["settings"].get(arm.base, {})
        same = merge(configured, arm.settings) == configured
    if arm.genes != "default":
        chosen = gene_selections(config)[arm.genes]
        if all(config["expression"][key] == value for key, value in chosen.items()):
            arm = replace(arm, genes="default")
    lineage = (arm.teacher, arm.student) == ("teacher", "student")
    return replace(arm, name=arm.base) if same and lineage and arm.genes == "default" else arm


def _ablation(config: Mapping[str, Any]) -> Iterator[Arm]:
    group = "gradient coordination and consistency"
    for cgc, igc, name in (
        (False, False, "no-cgc-no-igc"),
        (True, False, "no-igc"),
        (False, True, "no-cgc"),
        (True, True, "cgc-igc"),
    ):
        said = " and ".join([*(["CGC"] if cgc else []), *(["IGC"] if igc else [])]) or "neither CGC nor IGC"
        yield Arm(
            f"teacher-{name}",
            "teacher",
            f"Teacher, {said}",
            "ablation",
            group,
            training={"cgc": cgc, "igc": igc},
        )
    for base, key, group, options in (
        (
            "teacher",
            "gene_input",
            "gene tokens",
            {"tokens": "one token a gene", "vector": "one vector (SNN)"},
        ),
        ("teacher", "token_order", "token order", {"hilbert": "Hilbert order", "raster": "raster order"}),
        (
            "teacher",
            "expert_rule",
            "experts",
            {"max_confidence": "the surer expert", "mean": "mean of experts"},
        ),
        ("student", "aggregation", "token aggregation", {"ita": "ITA", "mean": "mean of tokens"}),
    ):
        tasks = _CLASS_TASKS if key == "expert_rule" else ()  # hazards are always averaged
        for value, said in options.items():
            title = f"{TITLES[base]}, {said}"
            yield Arm(f"{base}-{key}-{value}".replace("_", "-"), base, title, "ablation", group,
                      model={key: value}, tasks=tasks)  # fmt: skip
    for value, said in (("ita", "ITA"), ("mean", "mean of tokens")):
        yield Arm(
            f"distilled-aggregation-{value}", "distilled", f"Distilled student, {said}", "ablation",
            "token aggregation", model={"aggregation": value},
            student=_varied("student", "aggregation", value, config),
        )  # fmt: skip
    full = config["training"]["distilled"]
    weights = {key: full[key] or 0.01 for key in ("w_mse", "w_kl")}
    for mse, kl, name in (
        (False, False, "no-mse-no-kl"),
        (True, False, "no-kl"),
        (False, True, "no-mse"),
        (True, True, "mse-kl"),
    ):
        said = " and ".join([*(["MSE"] if mse else []), *(["KL"] if kl else [])]) or "neither MSE nor KL"
        yield Arm(
            f"distilled-{name}", "distilled", f"Distilled student, {said}", "ablation", "distillation losses",
            training={"w_mse": weights["w_mse"] * mse, "w_kl": weights["w_kl"] * kl},
        )  # fmt: skip
    for variant in ("paper", "released"):
        for base in ("teacher", "student"):
            yield Arm(f"{base}-variant-{variant}", base, f"{TITLES[base]}, {variant}", "ablation", "variant",
                      model={"variant": variant})  # fmt: skip
        yield Arm(
            f"distilled-variant-{variant}", "distilled", f"{TITLES['distilled']}, {variant}", "ablation", "variant",
            model={"variant": variant},
            teacher=_varied("teacher", "variant", variant, config),
            student=_varied("student", "variant", variant, config),
        )  # fmt: skip


def _varied(base: str, key: str, value: str, config: Mapping[str, Any]) -> str:
    return base if config["model"].get(key) == value else f"{base}-{key}-{value}"


def _hvg(config: Mapping[str, Any]) -> Iterator[Arm]:
    for genes, title in (
        ("hvg10", "10 % highly variable genes"),
        ("hvg30", "30 % highly variable genes"),
        ("random30", "30 % random genes"),
        ("hvg50", "50 % highly variable genes"),
        ("hvg80", "80 % highly variable genes"),
    ):
        yield Arm(
            f"teacher-{genes}",
            "teacher",
            f"Teacher, {title}",
            "hvg",
            "genes",
            genes=genes,
            tasks=("diagnosis",),
        )


def _findings(config: Mapping[str, Any]) -> Iterator[Arm]:
    for name, title in (("abmil", "slides"), ("snn", "expression"), ("concat", "both, concatenated")):
        row = base_arm(name, "findings")
        yield replace(row, title=f"{row.title}: {title}", group="modality", tasks=("diagnosis",))
    for form, title in (
        ("tumor", "tumor genes alone"),
        ("tme", "TME genes alone"),
        ("concat", "both concatenated"),
        ("parallel", "both in parallel"),
    ):
        yield Arm(f"snn-{form}", "snn", f"SNN: {title}", "findings", "gene input",
                  settings={"genes": form}, tasks=("survival",))  # fmt: skip
    for attention in ("plain", "deformable"):
        for magnifications in ("10x", "20x", "both"):
            yield Arm(
                f"teacher-{attention}-{magnifications}", "teacher",
                f"Teacher: {attention} attention, {'10x and 20x' if magnifications == 'both' else magnifications}",
                "findings", "attention and magnification",
                model={"attention": attention, "magnifications": magnifications}, tasks=("grading",),
            )  # fmt: skip
