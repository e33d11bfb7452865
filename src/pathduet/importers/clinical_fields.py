"""The columns of patients.tsv in published tables: their names there, and the meaning of their cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pathduet.cohort.codings import (
    A_YEAR,
    ALIVE,
    DEAD,
    HIGHEST_AGE,
    LONGEST_SURVIVAL,
    NO,
    UNITS,
    YES,
    as_number,
    event_coding,
    legend_of,
    plain_cell,
    possible_units,
    unit_of,
    words_of,
)
from pathduet.cohort.tasks import DAYS_IN

_UNIT_OF_WORD = {word: unit for unit, words in UNITS.items() for word in (*words, unit[0])}
#: Distinct cells that are understood -> their values.
Values = dict[str, Any]


class UnclearError(ValueError):
    """A column that can be read in several ways; its arguments are what was found and the option that decides."""


@dataclass(frozen=True)
class Field:
    """A column of patients.tsv, or one that survival is derived from.

    Attributes
    ----------
    aliases : tuple of str
        Its names elsewhere as :func:`keys_of` returns them, the preferred first.
    decode : callable
        (column name, its distinct cells, unit or "") -> values of understood cells; UnclearError if a person must decide.
    """

    aliases: tuple[str, ...]
    decode: Callable[[str, Collection[str], str], Values]


def plain_name(name: object) -> str:
    """Return a name in lower case, with runs of characters other than letters and digits as underscores.

    Additions of tables are removed: ``demographic.gender``, ``gender.demographic``, ``follow-up/...``, ``TCGA Grade``, ``age:ch1``.
    """
    text = str(name).strip().lower()
    text = re.sub(
        r"^((cases|case|demographic|diagnoses|project|follow_ups|exposures)\.|[a-z _-]+/|tcga[ _.])(?=[a-z])",
        "",
        text,
    )
    text = re.sub(r"(?<=[a-z])(\.(demographic|diagnoses|project|samples)|:ch\d)$", "", text)
    return re.sub(r"^x(?=\d)", "", re.sub(r"[^a-z0-9]+", "_", text).strip("_"))


def keys_of(name: object) -> set[str]:
    """Return the keys of a column: its plain name, also without legend, text in brackets and unit."""
    whole, outside = plain_name(name), plain_name(re.sub(r"[(\[].*", "", str(name)))
    keys = {whole, outside, re.sub(r"(?<=[a-z])_\d+(_.*)?$", "", whole)}
    without_unit = {
        "_".join(w for w in key.split("_") if len(w) < 2 or w not in _UNIT_OF_WORD) for key in keys
    }
    return {re.sub(r"_(in|no|at)$", "", key) for key in keys | without_unit} - {""}


_NUMBER = re.compile(
    r"(?P<bound>>=?)?\s*(?P<number>-?[\d.]+(?:e[+-]?\d+)?)\s*(?P<plus>\+)?\s*(?P<unit>[a-z]*)(?: old)?\.?"
)


def _numbers(cells: Collection[str], field: str) -> Iterator[tuple[str, float, str]]:
    """Yield (cell, number, its own unit or "") of cells such as ``63``, ``63 yrs``; for ages also ``>=90`` and ``89+``."""
    for cell in cells:
        # 12,5 has a decimal comma, 1,448 may be in thousands
        match = _NUMBER.fullmatch(re.sub(r"^(\d+),(\d{1,2})$", r"\1.\2", cell.lower().strip()))
        if match is None or (match["unit"] and match["unit"] not in _UNIT_OF_WORD):
            continue
        # R prints 306+ for a censored time; an age below 0 is a code
        if (match["bound"] or match["plus"]) if field != "age" else match["number"].startswith("-"):
            continue
        try:
            yield cell, float(match["number"]), _UNIT_OF_WORD.get(match["unit"], "")
        except ValueError:
            continue


def _durations(longest_years: float, field: str, usual: str) -> Callable[[str, Collection[str], str], Values]:
    """Return the decoder of times and ages; the unit is given, in the name, in the cell, or the only possible one."""

    def decode(column: str, cells: Collection[str], unit: str) -> Values:
        read = list(_numbers(cells, field))
        bare = [number for _, number, own in read if not own]
        if not bare:
            return {cell: _converted(number, own, field) for cell, number, own in read}
        if other := {"week", "weeks", "wk", "wks", "hour", "hours"} & set(words_of(column)):
            raise UnclearError(f"{column} is in {other.pop()}", "write it in days, months or years")
        possible = possible_units(max(bare), longest_years)
        if unit and unit != (named := unit_of(column)) and named in possible:
            found = f"{column} says {named}, --column says {unit}"
            raise UnclearError(found, f"--column {field}_{named}={column!r}, or rename the column")
        said = (
            unit
            or unit_of(column)
            or (usual if usual in possible else possible[0] if len(possible) == 1 else "")
        )
        if said not in possible:
            found = f"{column} holds up to {max(bare):g}" + (
                f" {said}" if said else ", its name states no unit"
            )
            options = " or ".join(f"--column {field}_{one}={column!r}" for one in possible)
            raise UnclearError(found, f"state the unit: {options}" if options else "correct what cannot be")
        return {cell: _converted(number, own or said, field) for cell, number, own in read}

    return decode


def _converted(number: float, unit: str, field: str) -> float:
    if field == "age":
        return number if unit == "years" else round(number / A_YEAR[unit], 2)
    return number if unit == "days" else round(number * DAYS_IN[unit], 2)


def _spelled(
    spellings: Mapping[str, Collection[str]], says: Mapping[str, Collection[str]], before: str = ""
) -> Callable[[str, Collection[str], str], Values]:
    """Return the decoder of two values: by spelling, by the legend in the name, or by yes and no if the name states one.

    `before` is a pattern that cells may start with; ``not`` and ``non`` mean the other value.
    """
    known = {spelling: value for value, many in spellings.items() for spelling in many}
    other = dict(zip(spellings, reversed(list(spellings))))

    def meaning(text: str) -> str | None:
        text = re.sub(rf"^({before}) ?", "", re.sub(r"[^a-z0-9]+", " ", text.lower()).strip())
        denied = re.match(r"(?:non|not|no) ?(?=\S)", text)
        if text not in known and denied:
            return other.get(known.get(text[denied.end() :], ""))
        return known.get(text)

    def decode(column: str, cells: Collection[str], unit: str) -> Values:
        legend = legend_of(column, meaning)
        named = [value for value, words in says.items() if set(words_of(column)) & set(words)]
        values: Values = {}
        for cell in cells:
            plain = plain_cell(cell)
            if (value := meaning(cell) or legend.get(plain)) is not None:
                values[cell] = value
            elif len(named) == 1 and plain in YES | NO:
                values[cell] = named[0] if plain in YES else other[named[0]]
        return values

    return decode


_STEP = re.compile(
    r"(?:(?:cns|who|grade|tumou?r|histologic(?:al)?|g)[ _-]*)*(?P<step>[1-4]|i{1,3}|iv)"
    r"(?:[ _,:-]+(?:well|moderately|poorly|un)[ _-]?differentiated)?"
)
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4"}


def _grades(column: str, cells: Collection[str], unit: str) -> Values:
    steps = {cell: _STEP.fullmatch(plain_cell(cell)) for cell in cells}
    if any(plain_cell(cell).isdigit() for cell in cells if not steps[cell]):
        # 0, or 9, among the numbers: another scale
        steps = {cell: step for cell, step in steps.items() if step and not plain_cell(cell).isdigit()}
    return {cell: f"G{_ROMAN.get(step['step'], step['step'])}" for cell, step in steps.items() if step}


_CALLS = {
    "homdel": -2.0, "deep deletion": -2.0, "homozygous deletion": -2.0, "hetloss": -1.0, "shallow deletion": -1.0,
    "diploid": 0.0, "gain": 1.0, "amp": 2.0, "amplification": 2.0,
}  # fmt: skip


def _calls(column: str, cells: Collection[str], unit: str) -> Values:
    """Read copy number calls; 0 and 1 alone may also mean that nothing, or the gene, was lost."""
    calls = {cell: _CALLS.get(plain_cell(cell)) for cell in cells}
    numbers = {cell: float(cell) for cell in cells if plain_cell(cell) in ("-2", "-1", "0", "1", "2")}
    says_calls = {"cnv", "cna", "gistic", "copy", "call"} & set(words_of(column))
    if says_calls or set(numbers.values()) - {0.0, 1.0} or 1.0 not in numbers.values():
        calls |= numbers
    return {cell: call for cell, call in calls.items() if call is not None}


def events(means: Mapping[str, bool]) -> Callable[[str, Collection[str], str], Values]:
    """Return the decoder of an event: 1.0 for the dead; `means` holds meanings that a person gave."""

    def decode(column: str, cells: Collection[str], unit: str) -> Values:
        numbers = [number for cell in cells if (number := as_number(cell)) is not None]
        if any(not number.is_integer() for number in numbers) or (
            numbers and (len(numbers) > 5 or min(numbers) > 9)
        ):
            # times, not codes
            return {}
        coding = event_coding(column, cells, means, happened=DEAD | {"event"}, not_happened=ALIVE)
        if coding.doubt:
            raise UnclearError(
                coding.doubt, "state it for each value: --event-means VALUE=dead, --event-means VALUE=alive"
            )
        return {cell: float(happened) for cell, happened in coding.happened.items()}

    return decode


_LAST_CONTACT = "number_of_days_from_date_of_initial_pathologic_diagnosis_to_date_of_last_contact"
_DEATH = "number_of_days_from_date_of_initial_pathologic_diagnosis_to_date_of_death"
_survival = _durations(LONGEST_SURVIVAL, "survival", "")
FIELDS: dict[str, Field] = {
    "idh": Field(
        ("idh", "idh_status", "idh_mutation", "idh_mutation_status", "idh_mut_status", "idh1", "idh1_status", "idh1_mutation"),
        _spelled(
            {"WT": ("wt", "wildtype", "wild type"), "Mutant": ("mutant", "mut", "mutated", "mutation", "r132h")},
            {"Mutant": ("mutation", "mutant", "mut", "mutated"), "WT": ("wt", "wildtype")},
            "idh1? ?2?|p",
        ),
    ),
    "codel_1p19q": Field(
        ("codel_1p19q", "1p_19q_codeletion", "1p19q_codeletion", "1p_19q_codeletion_status", "1p19q_codeletion_status", "1p19q",
         "1p_19q", "1p_19q_status", "1p19q_status", "codel"),
        _spelled(
            {"codel": ("codel", "codeleted", "co deleted", "codeletion", "co deletion"), "non-codel": ("intact",)},
            {"codel": ("codel", "codeletion", "codeleted")},
            "1p ?19q",
        ),
    ),
    "cdkn2a": Field(("cdkn2a", "cdkn2a_cnv", "cdkn2ab"), _calls),
    "grade": Field(
        ("grade", "2016_grade", "who_grade", "cns_who_grade", "tumor_grade", "neoplasm_histologic_grade", "histologic_grade",
         "histological_grade"),
        _grades,
    ),
    "histology": Field(
        ("histology", "primary_diagnosis", "histologic_diagnosis", "histological_type", "cancer_type_detailed"),
        lambda column, cells, unit: {cell: cell for cell in cells},
    ),
    "age_years": Field(
        ("age", "age_at_index", "age_at_initial_pathologic_diagnosis", "age_at_diagnosis", "patient_age", "diagnosis_age",
         "participant_procurement_age"),
        _durations(HIGHEST_AGE, "age", "years"),
    ),
    "sex": Field(
        ("sex", "gender", "patient_sex", "patient_gender", "participant_gender", "is_female", "female", "is_male", "male"),
        _spelled({"female": ("female", "f", "woman", "w"), "male": ("male", "m", "man")}, {"female": ("female",), "male": ("male",)}),
    ),
    "event": Field(
        ("event", "os_event", "event_os", "os_status", "overall_survival_status", "overall_survival_event", "vital_status",
         "vital_status_at_date_of_last_contact", "survival_status", "survival_event", "death", "dead", "deceased", "died",
         "death_event", "death_status", "os_censorship", "censorship", "censored", "os_censor", "censor", "censoring", "cens",
         "status", "alive", "os"),
        events({}),
    ),
    "survival_days": Field(
        ("survival", "os_time", "os", "overall_survival", "overall_survival_time", "survival_time", "os_survival"), _survival
    ),
    "days_to_death": Field(("days_to_death", "death_days_to", _DEATH), _survival),
    "days_to_last_follow_up": Field(
        ("days_to_last_follow_up", "days_to_last_followup", "last_contact_days_to", "days_to_last_contact", _LAST_CONTACT), _survival
    ),
}  # fmt: skip
#: Names that a person may give a column: a field, or a field and its unit.
UNITS_OF = {
    f"{field}_{unit}": (output, unit)
    for field, output in (("survival", "survival_days"), ("age", "age_years"))
    for unit in UNITS
}
