"""Which gene tokens of a teacher attend where: focus, place, agreement of magnifications, and weight in the selection.

For every gene token, over the slides of a fold's test part (patients with expression), by magnification:

- `focus`: 1 - H / log(keys), H the entropy of the head-averaged attention over the sampled points (eq. 2):
  0 = uniform, 1 = at one point;
- `<subspace>_gain`: attention on points over the structures of a subspace divided by those structures' share of the annotated
  points, if slides are annotated (1 = no preference). A key is read at one point per offset group; the mean over the
  groups counts, and points between two tiles are split between them, as in bilinear sampling;
- `selection`: attention that the gene receives from all fused tokens of its subspace in the selection (eq. 4), times the number of
  genes (1 = average);

and between the magnifications:

- `similarity`: the gene's part in C_ii of eq. 7 (cosine of its attention rows at 10x and 20x, mean over heads). Its mean over genes
  is the slide's C_ii, whose variance over slides the consistency loss (IGC) lowers; near 1 for diffuse rows, whatever their target;
- `agreement`: Pearson r over keys of the gene's head-averaged attention at 10x and 20x. Key k lies near the same place of
  the slide in both, since the token map of 20x is nested in that of 10x.

A gene's numbers are averaged over the slides of a patient, the patients of a fold, then the folds that selected it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathduet.catalogue import CATALOGUE
from pathduet.core.errors import InputError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_tsv
from pathduet.core.hardware import pick_device
from pathduet.core.plural import plural
from pathduet.core.progress import track
from pathduet.explain.annotated_slides import AnnotatedSlides
from pathduet.explain.files import TABLES
from pathduet.explain.fold_results import TaskRun
from pathduet.explain.gene_correlation import false_discovery
from pathduet.features.feature_file import open_features
from pathduet.models.method.config import MAGNIFICATIONS, ModelConfig
from pathduet.models.method.deformable_attention import reference_points, sample_map
from pathduet.models.method.teacher import Teacher
from pathduet.models.released import ReleasedTeacher
from pathduet.training.dataset import SlideDataset, SlideSample, map_rows
from pathduet.training.model_folder import load_model
from pathduet.training.objectives import teacher_inputs

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.expression.fold_matrix import FoldExpression

Floats = NDArray[np.float64]
#: Slide and magnification -> the subspace whose structures each tile shows ("" = none); None without annotation.
TileSubspaces = Callable[[str, str], NDArray[np.str_] | None]


def focus(attention: Floats) -> Floats:
    """Return 1 - entropy / log(keys) of each row (G, keys); 1 if there is only one key."""
    keys = attention.shape[1]
    if keys < 2:
        return np.ones(len(attention))
    safe = np.clip(attention, np.finfo(float).tiny, 1)
    return np.asarray(1 + (attention * np.log(safe)).sum(axis=1) / np.log(keys))


def similarity(first: Floats, second: Floats) -> Floats:
    """Return the mean over heads of the cosine of two attentions (heads, G, keys), shape (G,)."""
    size = np.sqrt((first**2).sum(axis=2) * (second**2).sum(axis=2))
    return np.asarray(((first * second).sum(axis=2) / size).mean(axis=0))


def row_correlation(first: Floats, second: Floats) -> Floats:
    """Return Pearson r of each pair of rows of two (G, keys) arrays, shape (G,)."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (first, second))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    r = np.full(len(first), np.nan)
    return np.divide((a * b).sum(axis=1), size, out=r, where=size > 1e-300)


def region_gain(attention: Floats, inside: Floats, annotated: Floats) -> Floats:
    """Return the attention (G, keys) on the points of some structures relative to their share, shape (G,).

    Parameters
    ----------
    inside, annotated : (keys,) arrays
        For each key, the fraction of its reading that lies on the structures, and on annotated tiles.
    """
    if not (inside.sum() > 0 and annotated.sum() > inside.sum()):
        return np.full(len(attention), np.nan)
    on_them, on_any = attention @ inside, attention @ annotated
    share = inside.sum() / annotated.sum()
    return np.divide(on_them, on_any, out=np.full(len(attention), np.nan), where=on_any > 0) / share


def key_part(offsets: torch.Tensor, inside: NDArray[np.bool_]) -> Floats:
    """Return, for each key, the fraction of its reading on some cells of the token map, (keys,).

    Parameters
    ----------
    offsets : Tensor
        (1, groups, h, w, 2) in cells of the token map.
    inside : (N,) bool array
        Which cells count.
    """
    _, groups, side, _, _ = offsets.shape
    n = round(len(inside) ** 0.5)
    points = reference_points(side, device=offsets.device, dtype=offsets.dtype) + offsets * (2 / n)
    cells = torch.as_tensor(inside, dtype=offsets.dtype, device=offsets.device)
    sampled = sample_map(cells.view(1, -1, 1).expand(1, len(inside), groups), points)  # (1, keys, groups)
    return np.asarray(sampled[0].mean(dim=1).double().cpu().numpy())


@torch.no_grad()
def fold_gene_attention(
    model_dir: Path,
    slides: pd.DataFrame,
    expression: FoldExpression,
    regions: TileSubspaces | None = None,
    *,
    device: str = "auto",
) -> pd.DataFrame:
    """Return each gene's numbers in one fold.

    Parameters
    ----------
    model_dir : Path
        The fold's teacher.
    slides : DataFrame
        slide_id, patient_id, cohort and features (path) of the slides to use: those of test patients.
    expression : FoldExpression
        The fold's expression.
    regions : callable, optional
        Where the structures are.

    Returns
    -------
    DataFrame
        One row per gene and subspace: gene, subspace, patients, similarity, agreement, and focus, selection
        and <subspace>_gain with ``_10x`` and ``_20x``.

    Raises
    ------
    InputError
        If the model has no gene tokens with sampled attention, or no slide has expression.
    """
    import pandas as pd

    network, description, _ = load_model(model_dir)
    where = f"model {model_dir}"
    with_tokens = isinstance(network, Teacher) and not isinstance(network, ReleasedTeacher)
    if not with_tokens or description.config.gene_input != "tokens":
        found = f"{description.model} has no attention by gene token"
        raise InputError.of(where, found, "explain a teacher with gene tokens")
    cases = [
        SlideSample(
            str(row["slide_id"]), str(row["patient_id"]), str(row["cohort"]), "test", Path(row["features"])
        )
        for row in slides.sort_values("slide_id").to_dict("records")
        if expression.row_for(str(row["patient_id"]), str(row["slide_id"])) is not None
    ]
    if not cases:
        raise InputError.of(where, "no test slide with expression", "see participation.tsv")
    chosen = torch.device(pick_device(device))
    network.to(chosen)
    dataset = SlideDataset(cases, description.config, expression, cache_mib=0, device=chosen)
    tables = []
    for i, case in track(enumerate(cases), len(cases), "gene attention", "slides"):
        batch = dataset.batch([i])
        branches = network(*teacher_inputs(batch), need_selection=True).branches
        maps = {m: _cells(case, m, description.config, regions) for m in branches}
        for s, genes in description.genes.items():
            columns = _slide_columns(
                {m: branches[m][s] for m in branches}, len(genes), maps, list(description.genes)
            )
            tables.append(
                pd.DataFrame({"gene": list(genes), "subspace": s, "patient_id": case.patient_id, **columns})
            )
    keys = ["subspace", "gene"]
    by_patient = pd.concat(tables).groupby([*keys, "patient_id"], sort=False).mean()
    means = by_patient.groupby(keys, sort=False).mean().reset_index()
    return means.assign(patients=len({case.patient_id for case in cases}))


def _cells(
    case: SlideSample, magnification: str, config: ModelConfig, regions: TileSubspaces | None
) -> NDArray[np.str_] | None:
    """Return the subspace of each cell of a slide's token map, None without annotation."""
    tiles = regions(case.slide_id, magnification) if regions is not None else None
    if tiles is None or case.features is None:
        return None
    with open_features(case.features) as file:
        return tiles[map_rows(file, magnification, config.experts, config)]


def _slide_columns(
    branches: dict[str, object],
    genes: int,
    maps: Mapping[str, NDArray[np.str_] | None],
    subspaces: Sequence[str],
) -> dict[str, Floats]:
    by_head, mean, columns = {}, {}, {}
    for m, branch in branches.items():
        attention = branch.attention  # type: ignore[attr-defined]
        selection = branch.selection  # type: ignore[attr-defined]
        if attention is None or attention.shape[2] < genes:
            raise InputError.of("teacher", "no attention by gene token", "explain a teacher with gene tokens")
        by_head[m] = attention[0, :, :genes].double().cpu().numpy()
        mean[m] = by_head[m].mean(axis=0)
        columns[f"focus_{m}"] = focus(mean[m])
        if selection is not None:
            # rows of padding tokens also attend, but their attention is not used
            received = selection[0, :, :genes, :genes].double().mean(dim=(0, 1)).cpu().numpy()
            columns[f"selection_{m}"] = received * genes
        offsets = getattr(branch, "offsets", None)
        columns |= {f"{s}_gain_{m}": _gain(mean[m], maps[m], s, offsets) for s in subspaces}
    if len(mean) == 2 and by_head["10x"].shape == by_head["20x"].shape:
        columns["similarity"] = similarity(by_head["10x"], by_head["20x"])
        columns["agreement"] = row_correlation(mean["10x"], mean["20x"])
    return columns


def _gain(
    attention: Floats, cells: NDArray[np.str_] | None, subspace: str, offsets: torch.Tensor | None
) -> Floats:
    if cells is None:
        return np.full(len(attention), np.nan)
    # plain attention: each key is a cell of the token map
    inside, annotated = (
        mask.astype(float) if offsets is None else key_part(offsets, mask)
        for mask in (cells == subspace, cells != "")
    )
    return region_gain(attention, inside, annotated)


def measures(subspaces: Iterable[str]) -> list[str]:
    """Return the column names of a gene's measures."""
    by_magnification = ("focus", *(f"{name}_gain" for name in subspaces), "selection")
    return [*(f"{name}_{m}" for name in by_magnification for m in MAGNIFICATIONS), "similarity", "agreement"]


def attention_table(folds: Mapping[int, pd.DataFrame], subspaces: Sequence[str]) -> pd.DataFrame:
    """Return the genes' measures over folds: gene, subspace, folds (that selected it), patients, measures.

    Subspaces keep the given order; within a subspace, genes are sorted by decreasing selection weight (mean of the magnifications).
    """
    import pandas as pd

    numbers = measures(subspaces)
    names = ["gene", "subspace", "folds", "patients", *numbers]
    if not folds:
        return pd.DataFrame(columns=names)
    whole = pd.concat(folds.values()).reindex(columns=["gene", "subspace", "patients", *numbers])
    groups = whole.groupby(["subspace", "gene"], sort=False)
    table = groups[numbers].mean()
    table["folds"], table["patients"] = groups.size(), groups["patients"].sum()
    table["_weight"] = table[["selection_10x", "selection_20x"]].mean(axis=1)
    table = table.reset_index()
    table["_place"] = table["subspace"].map({name: i for i, name in enumerate(subspaces)})
    table = table.sort_values(["_place", "_weight", "gene"], ascending=[True, False, True], kind="stable")
    return table[names].reset_index(drop=True)


def gene_set_table(
    genes: pd.DataFrame, sets: Mapping[str, Sequence[str]], subspaces: Iterable[str]
) -> pd.DataFrame:
    """Return the mean of each measure over the genes of each set, beside the subspace's other genes.

    Parameters
    ----------
    genes : DataFrame
        From :func:`attention_table`.
    sets : dict
        Name to genes.
    subspaces : iterable of str

    Returns
    -------
    DataFrame
        set, subspace, genes (of the set among the tokens), the measures' means, and p: Mann-Whitney's two-sided p of the
        set's selection weights against those of the other genes of the subspace, q: corrected over all rows (Benjamini and
        Hochberg). A set needs three genes.
    """
    import pandas as pd
    from scipy.stats import mannwhitneyu

    rows, numbers = [], measures(subspaces)
    for subspace, part in genes.groupby("subspace", sort=False):
        weight = part[["selection_10x", "selection_20x"]].mean(axis=1)
        rows.append(
            {"set": "all", "subspace": subspace, "genes": len(part), **part[numbers].mean().to_dict()}
        )
        for name, members in sets.items():
            inside = part["gene"].isin(set(members))
            if inside.sum() < 3 or (~inside).sum() < 3:
                continue
            p = (
                float(mannwhitneyu(weight[inside], weight[~inside]).pvalue)
                if weight.notna().all()
                else np.nan
            )
            rows.append({"set": name, "subspace": subspace, "genes": int(inside.sum()), "p": p,
                         **part.loc[inside, numbers].mean().to_dict()})  # fmt: skip
    table = pd.DataFrame(rows, columns=["set", "subspace", "genes", *numbers, "p"])
    return table.assign(q=false_discovery(table["p"].to_numpy(dtype=float)))


def explain_gene_attention(run: TaskRun) -> dict[str, Any]:
    """Look at the teacher's gene attention; write the tables and return the summary's entry."""
    from pathduet.expression.fold_matrix import load
    from pathduet.expression.gene_sets import shipped_gmt
    from pathduet.models.baselines.gene_groups import read_gene_groups

    annotated = AnnotatedSlides(run.chosen["regions"])
    features = {str(row["slide_id"]): Path(row["features"]) for row in run.slides.to_dict("records")}
    teacher = next(name for name, model in CATALOGUE.items() if model.role == "teacher")
    found, reasons = {}, []
    for fold in run.folds:
        slides = run.slides[run.slides["patient_id"].astype(str).isin(run.test_patients(fold))]
        try:
            found[fold] = fold_gene_attention(
                run.results.model(run.task.name, teacher, fold),
                slides,
                load(run.results.genes(fold)),
                lambda slide, m: annotated.subspaces(slide, features[slide], m),
            )
        except InputError as error:
            raise_machine_fault(error, f"fold {fold}")
            reasons += [f"fold {fold}: {problem}" for problem in error.problems]
    table = attention_table(found, run.subspaces)
    given = run.chosen["gene_sets"]
    groups = shipped_gmt() if given == "shipped" else read_gene_groups(given)
    sets = gene_set_table(table, groups, run.subspaces)
    for name, one in zip(TABLES["gene_attention"], (table, sets), strict=True):
        write_tsv(run.out_dir / name, one)
    gains = [f"{name}_gain_{m}" for name in run.subspaces for m in MAGNIFICATIONS]
    if len(table) and table[gains].isna().all(axis=None):
        reasons.append("no annotated test slide: attention by structure is undefined")
    return {"message": _message(table), "reasons": list(dict.fromkeys([*reasons, *annotated.problems]))}


def _message(table: pd.DataFrame) -> str:
    if not len(table):
        return "No gene attention could be computed."
    if table["agreement"].isna().all():
        return "One magnification only: nothing to agree with."
    means = table[["similarity", "agreement"]].mean()
    return (
        f"The same gene at 10x and 20x: attention agrees with r {round(means['agreement'], 2) + 0.0:.2f}, similarity "
        f"{means['similarity']:.2f}, mean of {plural(len(table), 'gene')}."
    )
