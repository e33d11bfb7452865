"""Clinical columns are judged as a whole: what their names and all cells say is read, what leaves room is asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from pathduet.cohort.sheets import read_patients
from pathduet.core.errors import InputError
from pathduet.importers.clinical_fields import FIELDS
from pathduet.importers.clinical_values import Choices, Patients, read_values
from pathduet.importers.cohort_sheets import check_survival
from pathduet.importers.report import ImportReport
from pathduet.importers.table import import_table


def values_of(
    report: ImportReport | None = None,
    *,
    choices: Sequence[str] = (),
    means: Sequence[str] = (),
    **columns: list[str],
) -> Patients:
    """Read a table of patients P1, P2 ...; survival is settled."""
    number = max(map(len, columns.values()))
    table = pd.DataFrame(
        {"patient": [f"P{i + 1}" for i in range(number)], **columns}, index=range(2, number + 2)
    )
    report = ImportReport("x") if report is None else report
    patients = read_values(table, "t.tsv", report, choices=Choices.of(choices, means))
    check_survival(patients, report)
    return patients


def column(name: str, cells: list[str], field: str, **more: list[str]) -> list[object]:
    return [row.get(field) for row in values_of(**{name: cells}, **more).values()]


TIMES = {"OS_days": ["306", "455", "1010"]}


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("status", ["1", "0", "1"], [1, 0, 1]),
        ("dead", ["yes", "no", "yes"], [1, 0, 1]),
        ("Alive", ["1", "0", "1"], [0, 1, 0]),
        ("censorship", ["0.0", "1.0", "1.0"], [1, 0, 0]),
        ("censored", ["TRUE", "FALSE", "FALSE"], [0, 1, 1]),
        ("Censor (alive=0; dead=1)", ["1", "0", "1"], [1, 0, 1]),
        ("status (1=censored, 2=dead)", ["1", "2", "2"], [0, 1, 1]),
        ("Vital.status..1.dead.", ["1", "0", "0"], [1, 0, 0]),
        ("vital status (0 = dead, 1 = alive)", ["1", "0", "0"], [0, 1, 1]),
        ("Survival status (1, dead; 0, alive)", ["1", "0", "1"], [1, 0, 1]),
        ("vital_status", ["Died of Disease", "Living", "Dead (other)"], [1, 0, 1]),
        ("OS_STATUS", ["1:DECEASED", "0:LIVING", "DECEASED"], [1, 0, 1]),
        ("survival_status", ["D", "A", "D"], [1, 0, 1]),
        ("vital_status", ["NED", "DOD", "not dead"], [0, 1, 0]),
        ("OS_status", ["event", "event-free", "no event"], [1, 0, 0]),
        ("OS_status", ["never died", "Death not yet observed", "dead, no disease"], [0, 0, 1]),
        ("OS_status", ["alive without disease", "without event", "died, not of disease"], [0, 0, 1]),
        ("OS_status", ["free of event", "not yet dead", "alive, free of disease"], [0, 0, 0]),
        ("vital_status.demographic", ["Dead", "Alive", "Not Reported"], [1, 0, None]),
        ("follow-up/vital_status_at_date_of_last_contact", ["Deceased", "Living", "Living"], [1, 0, 0]),
    ],
)
def test_events_of_public_codings(name: str, cells: list[str], expected: list[object]) -> None:
    assert column(name, cells, "event", **TIMES) == expected


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("status", ["1", "2", "2"]),
        ("status", ["2", "2", "2"]),
        ("status", ["1", "1", "1"]),
        ("status", ["0", "1", "2"]),
        ("event", ["0", "1", "9"]),
        ("event", ["-1", "1", "1"]),
        ("Censor", ["0", "1", "1"]),
        ("vital_status", ["0", "1", "1"]),
        ("OS_STATUS", ["yes", "no", "no"]),
    ],
)
def test_events_that_can_be_read_in_two_ways_are_asked_for(name: str, cells: list[str]) -> None:
    with pytest.raises(InputError, match=r"t\.tsv, column .*--event-means"):
        values_of(**{name: cells}, **TIMES)
    # a status without a time is no survival
    assert [row[name] for row in values_of(**{name: cells}).values()] == cells if name != "event" else True


@pytest.mark.parametrize("name", ["survived", "survivor", "not_dead", "non_censored"])
def test_a_name_that_may_turn_the_event_is_asked_about(name: str) -> None:
    with pytest.raises(InputError, match="--event-means"):
        values_of(**{name: ["1", "0", "1"]}, choices=[f"event={name}"], **TIMES)


def test_what_a_person_says_of_values_is_taken() -> None:
    said = values_of(status=["1", "2", "0"], means=["1=alive", "2=dead", "0=alive"], **TIMES)
    assert [row["event"] for row in said.values()] == [0, 1, 0]
    assert [row["survival_days"] for row in said.values()] == [306, 455, 1010]
    with pytest.raises(InputError, match="event-means"):
        values_of(status=["1", "2", "0"], means=["1=alive", "2=dead"], **TIMES)
    with pytest.raises(InputError, match="VALUE=dead or VALUE=alive"):
        Choices.of([], ["1=gone"])


EVENT = {"event": ["1", "0", "1"]}


@pytest.mark.parametrize(
    ("name", "cells", "days"),
    [
        ("OS.time", ["30", "900", "1448"], [30, 900, 1448]),
        ("Overall survival (months)", ["1", "2.5", "60"], [30.44, 76.09, 1826.25]),
        ("survival_years", ["1", "2", "0.5"], [365.25, 730.5, 182.62]),
        ("os_survival_days", ["10", "20", "30"], [10, 20, 30]),
        ("OS, days", ["10", "20", "30"], [10, 20, 30]),
        ("OS_days", ["10,5", "20", "1,448"], [10.5, 20, None]),
        ("OS", ["155", "1222", "800"], [155, 1222, 800]),
    ],
)
def test_times_are_in_the_unit_that_their_names_or_values_say(
    name: str, cells: list[str], days: list[float]
) -> None:
    assert column(name, cells, "survival_days", **EVENT) == days


@pytest.mark.parametrize(
    ("name", "cells", "said"),
    [
        (
            "OS.time",
            ["3", "20", "96"],
            "survival_days='OS.time' or --column survival_months='OS.time';|its name states no unit",
        ),
        ("survival", ["3", "12", "40"], "survival_years='survival'"),
        ("OS_MONTHS", ["300", "900", "1448"], "holds up to 1448 months"),
        ("OS (weeks)", ["30", "900", "1448"], "is in weeks; write it in days, months or years"),
    ],
)
def test_times_without_a_believable_unit_are_asked_for(name: str, cells: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        values_of(**{name: cells}, **EVENT)
    # R prints 306+ for the censored: no time without its status
    assert column("OS_days", ["306+", "20", "30"], "survival_days", **EVENT) == [None, 20, 30]


def test_a_person_says_the_unit() -> None:
    said = values_of(survival=["10.5", "3", "7"], choices=["survival_months=survival"], **EVENT)
    assert [row["survival_days"] for row in said.values()] == [319.59, 91.31, 213.06]
    assert [
        row["age_years"] for row in values_of(Age=["120", "24"], choices=["age_months=Age"]).values()
    ] == [10, 2]
    with pytest.raises(
        InputError, match="OS_MONTHS says months, --column says days; --column survival_months="
    ):
        values_of(OS_MONTHS=["10.5", "3", "7"], choices=["survival_days=OS_MONTHS"], **EVENT)
    with pytest.raises(InputError, match="is in weeks"):
        values_of(**{"Age (weeks)": ["30", "20"]})


@pytest.mark.parametrize(
    ("name", "cells", "years"),
    [
        ("age_at_diagnosis", ["23288", "100"], [63.76, 0.27]),
        ("Age in Month", ["756", "120"], [63, 10]),
        ("Age (years at diagnosis)", ["63", "58.5"], [63, 58.5]),
        ("age_in_years", ["44 yrs", ">=90"], [44, 90]),
        ("age:ch1", ["89+", "6 months"], [89, 0.5]),
        ("age", ["-1", "54"], [None, 54]),
    ],
)
def test_ages_are_judged_by_the_column_not_by_the_cell(
    name: str, cells: list[str], years: list[float]
) -> None:
    assert column(name, cells, "age_years") == years


def test_an_age_in_months_or_days_is_asked_for() -> None:
    with pytest.raises(InputError, match="--column age_days='Age' or --column age_months='Age'"):
        values_of(Age=["200", "24"])


@pytest.mark.parametrize(
    ("name", "cells", "field", "expected"),
    [
        ("Gender", ["W", "M"], "sex", ["female", "male"]),
        ("sex (1=male, 2=female)", ["1", "2"], "sex", ["male", "female"]),
        ("is_female", ["1.0", "0.0"], "sex", ["female", "male"]),
        ("gender.demographic", ["FEMALE", "Male"], "sex", ["female", "male"]),
        ("IDH_mutation_status", ["Wildtype", "Mutant"], "idh", ["WT", "Mutant"]),
        ("IDH mutation", ["1", "0"], "idh", ["Mutant", "WT"]),
        ("IDH", ["IDH1 R132H", "IDH-wildtype"], "idh", ["Mutant", "WT"]),
        ("IDH1 mutation", ["no mutation", "IDH1 mutated"], "idh", ["WT", "Mutant"]),
        ("1p/19q", ["1p/19q co-deleted", "not codeleted"], "codel_1p19q", ["codel", "non-codel"]),
        ("IDH1 status (0=WT, 1=mutant)", ["1", "0"], "idh", ["Mutant", "WT"]),
        ("X1p19q_codeletion_status", ["Non-codel", "Codel"], "codel_1p19q", ["non-codel", "codel"]),
        ("WHO grade", ["WHO IV", "CNS WHO grade 3"], "grade", ["G4", "G3"]),
        ("TCGA Grade", ["G2", "4"], "grade", ["G2", "G4"]),
        ("tumor_grade.diagnoses", ["G2 Moderately differentiated", "GX"], "grade", ["G2", None]),
        ("CDKN2A", ["-2", "1"], "cdkn2a", [-2, 1]),
        ("CDKN2A_CNV", ["HOMDEL", "DIPLOID"], "cdkn2a", [-2, 0]),
    ],
)
def test_findings_of_public_codings(name: str, cells: list[str], field: str, expected: list[object]) -> None:
    assert column(name, cells, field) == expected


@pytest.mark.parametrize(
    ("name", "cells"), [("sex", ["1", "2"]), ("idh", ["0", "1"]), ("cdkn2a", ["0", "1"])]
)
def test_numbers_without_a_legend_are_not_handed_on_under_a_name_of_ours(name: str, cells: list[str]) -> None:
    report = ImportReport("x")
    assert values_of(report, **{name: cells}) == {"P1": {}, "P2": {}}
    assert "no legend explains what" in report.columns["t.tsv"]["not used"][name]


def test_every_column_is_read_kept_or_said_to_be_unused(tmp_path: Path) -> None:
    (tmp_path / "cgga.tsv").write_text(
        "CGGA_ID\tPRS_type\tHistology\tGrade\tGender\tAge\tOS\tCensor (alive=0; dead=1)\tIDH_mutation_status\t1p19q_codeletion_status\n"
        "CGGA_11\tPrimary\tGBM\tWHO IV\tFemale\t57\t155\t1\tWildtype\tNon-codel\n"
        "CGGA_124\tRecurrent\trA\tWHO II\tMale\t53\t1222\t0\tMutant\tCodel\n"
    )
    explicit = ["patient_id=CGGA_ID", "survival_days=OS"]
    report = import_table(tmp_path / "o", tmp_path / "cgga.tsv", cohort="c", column=explicit)
    patients = read_patients(tmp_path / "o" / "patients.tsv")
    columns = ["idh", "codel_1p19q", "grade", "histology", "sex", "survival_days", "event", "PRS_type"]
    assert patients.loc["CGGA_124", columns].tolist() == [
        "Mutant",
        "codel",
        "G2",
        "rA",
        "male",
        "1222.0",
        "0",
        "Recurrent",
    ]
    told = report.columns["cgga.tsv"]
    assert told["read"]["OS"] == "survival_days" and told["read"]["Censor (alive=0; dead=1)"] == "event"
    assert (told["copied"], told["not used"]) == (["PRS_type"], {})
    assert "cgga.tsv, Censor (alive=0; dead=1): 0 as alive, 1 as dead" in report.choices


@pytest.mark.parametrize(
    "columns",
    [
        {"vital_status": ["Dead", "Alive"], "status": ["0", "1"]},
        {"grade": ["G2", "G3"], "WHO grade": ["G2", "G4"]},
        {"sex": ["F", "M"], "gender": ["M", "M"]},
    ],
)
def test_columns_of_one_meaning_that_contradict_each_other_are_refused(columns: dict[str, list[str]]) -> None:
    first, other = columns
    with pytest.raises(InputError, match=f"row ., columns {first} and {other}.*--column"):
        values_of(OS_days=["300", "400"], **columns)
    field = "event" if first == "vital_status" else first
    assert len(values_of(choices=[f"{field}={other}"], OS_days=["300", "400"], **columns)) == 2


def test_two_times_or_ages_of_a_patient_may_differ_by_rounding_only() -> None:
    assert column("age", ["50.4", "61"], "age_years", **{"age.1": ["50", "62"]}) == [50.4, 61]
    with pytest.raises(InputError, match=r"age_years='age\.1'"):
        values_of(age=["50", "61"], **{"age.1": ["50", "16"]})
    assert column("OS_months", ["12", "98"], "survival_days", OS_days=["370", "3050"], event=["1", "0"]) == [
        370,
        3050,
    ]
    with pytest.raises(InputError, match="columns OS_days and OS_months: '3050' and '50' contradict"):
        values_of(OS_months=["12", "50"], OS_days=["370", "3050"], event=["1", "0"])


def test_a_cell_of_a_further_column_is_kept_even_if_it_looks_like_missing() -> None:
    assert values_of(ER=["-", "+"])["P1"] == {"ER": "-"}


@pytest.mark.parametrize("ids", [["P 7", "P/7"], ["p7", "P7"]])
def test_ids_that_would_become_one_are_refused_with_the_list(ids: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("patient_id\tage\n" + "".join(f"{one}\t50\n" for one in ids))
    with pytest.raises(InputError, match="would all be called") as caught:
        import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="c")
    assert all(repr(one) in str(caught.value) for one in ids)


def test_ids_of_other_scripts_stay_apart_and_traceable(tmp_path: Path) -> None:
    ids = ["\u75321", "\u4e591", "\u00c412", "\u00d612"]
    (tmp_path / "p.tsv").write_text("patient_id\tage\n" + "".join(f"{one}\t50\n" for one in ids))
    report = import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="c")
    assert set(report.ids["p.tsv"]) == set(ids)
    assert set(report.ids["p.tsv"].values()) == set(read_patients(tmp_path / "o" / "patients.tsv").index)


def test_slides_and_samples_find_patients_whose_ids_were_rewritten(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("patient_id\tage\nXX Brain-0001\t54\nXX Brain-0002\t60\n")
    (tmp_path / "s.tsv").write_text("slide_id\tpatient_id\tpath\nS1\tXX Brain-0001\ts1.svs\n")
    (tmp_path / "s1.svs").write_bytes(b"x")
    (tmp_path / "m.tsv").write_text("gene_symbol\tXX Brain-0001\tXX.Brain.0002\nPTTG1\t1.5\t2\n")
    report = import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="c", slides=tmp_path / "s.tsv",
                          expression=tmp_path / "m.tsv", unit="tpm")  # fmt: skip
    assert report.counts["slides"] == 1 and report.counts["samples"] == 2
    assert any("'XX Brain-0001' as XX-Brain-0001" in rule for rule in report.choices)


def test_a_refused_import_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("patient_id\tage\nP1\t54\n")
    (tmp_path / "m.tsv").write_text("gene_symbol\tP1\nPTTG1\t-1.5\nACTB\t2\n")
    import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    with pytest.raises(InputError, match=r"m\.tsv row 2 .PTTG1., column P1: -1.5; .* never negative"):
        import_table(
            tmp_path / "o", tmp_path / "p.tsv", cohort="a", expression=tmp_path / "m.tsv", unit="tpm"
        )
    with pytest.raises(InputError, match="is already in row"):
        import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="b")
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("patients.tsv", "patient_id\tage\nX\t5\n"),
        ("patients.tsv", "patient_id\tcohort\nX\tother\textra\n"),
        ("patients.tsv", ""),
        ("cohorts.yaml", "cohorts: 5\n"),
        ("cohorts.yaml", "a: [\n"),
    ],
)
def test_a_folder_that_holds_other_files_of_these_names_stays_as_it_was(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "t.tsv").write_text("patient_id\tage\nP1\t50\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        import_table(tmp_path / "out", tmp_path / "t.tsv", cohort="z")
    assert [(file.name, file.read_text()) for file in (tmp_path / "out").iterdir()] == [(name, text)]
    with pytest.raises(InputError, match="--out"):
        import_table(tmp_path / "t.tsv", tmp_path / "t.tsv", cohort="z")


@pytest.mark.slow
def test_any_table_is_read_or_refused_in_words(tmp_path: Path) -> None:
    """Names and cells at random: no other exception, and survival whole or not at all."""
    rng = random.Random(1)
    names = [alias for one in FIELDS.values() for alias in one.aliases]
    names += [
        "Censor (alive=0; dead=1)",
        "OS_MONTHS",
        "sex (1=male)",
        "cohort",
        "slide_id",
        "",
        "(",
        "[dead]",
        "1=dead",
        "note",
    ]
    pools = ["0 1", "1 2", "0 1 2", "Alive Dead", "yes no", "1:DECEASED 0:LIVING", "WT Mutant", "I II IV", "-1 1e5 inf 1e400",
             "12 1448 30.5", "63y >=90", "1.2.3 . - +", "99 0 1", "D A", "'-- NA unknown", '=1+1 "a"b" #x', "\u7532 \uff10 1_000"]  # fmt: skip
    ids = [
        "P1 P2 P3",
        "P1 P1 P2",
        "TCGA-02-0001-01A TCGA-02-0001-11A x",
        "p2 P2 P3",
        "\u75321 \u4e591 ..",
        "1 2 1.0",
    ]
    read = 0
    for number in range(100):
        header = ["patient", *rng.sample(names, rng.randrange(1, 7))]
        cells = [rng.choice(pools).split(" ") for _ in header[1:]]
        lines = [header, *([one, *map(rng.choice, cells)] for one in rng.choice(ids).split(" "))]
        path = tmp_path / f"{number}.tsv"
        path.write_text("".join("\t".join(line) + "\n" for line in lines))
        try:
            import_table(tmp_path / f"o{number}", path, cohort="c")
        except InputError:
            continue
        read += 1
        survival = read_patients(tmp_path / f"o{number}" / "patients.tsv").reindex(
            columns=["survival_days", "event"]
        )
        assert (survival["survival_days"].isna() == survival["event"].isna()).all()
        assert (
            set(survival["event"].dropna()) <= {"0", "1"}
            and (survival["survival_days"].dropna().astype(float) > 0).all()
        )
    assert 20 < read < 80
