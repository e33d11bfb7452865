"""How rules are written: what stands in each, in which order, and whose paths they use."""

from __future__ import annotations

import re

import pytest
from snakemake import sourcecache
from snakemake.cli import get_argument_parser
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import MaxJobsPerTimespan

from tiny_cohort import REPOSITORY

#: As snakefmt has it.
ORDER = ("name", "input", "output", "log", "conda", "threads", "resources", "params", "script")
RULES = {
    (path.name, name): body
    for path in sorted((REPOSITORY / "rules").glob("*.smk"))
    for name, body in re.findall(
        r"^ *((?:use )?rule[^\n]*):\n((?:(?: +[^\n]*)?\n)+)", path.read_text(encoding="utf-8") + "\n", re.M
    )
}


def directives(body: str) -> list[str]:
    found = re.findall(r"^( +)(\w+):", body, re.M)
    return [name for indent, name in found if indent == found[0][0]]


@pytest.mark.parametrize("where", sorted(RULES), ids=" ".join)
def test_a_rule_has_everything_in_order(where: tuple[str, str]) -> None:
    there = directives(RULES[where])
    assert there == [name for name in ORDER if name in there], "another order"
    needed = {"output", "log"}
    if not where[1].startswith("use"):
        needed |= set(ORDER) - {"name", "input"}
        assert {"mem_mb", "runtime"} <= set(re.findall(r"(\w+)=", RULES[where]))
    assert needed <= set(there)


def test_there_are_rules() -> None:
    assert len(RULES) > 15


def test_paths_of_results_are_put_together_in_one_place() -> None:
    for path in (REPOSITORY / "rules").glob("*.smk"):
        if path.name != "import.smk":  # its results are the input sheets
            assert not re.search(r'f"\{RESULTS|"results/', re.sub(r"#.*", "", path.read_text())), path.name


def test_snakemake_still_has_what_the_rules_change_in_it() -> None:
    """Both changes only save time, and are skipped without a word where Snakemake has become another."""
    assert callable(sourcecache.parse_uri)
    assert "job_rate_limiter" in JobScheduler.__init__.__code__.co_names
    limit = MaxJobsPerTimespan.parse_choice(get_argument_parser().get_default("max_jobs_per_timespan"))
    assert (limit.max_jobs, limit.timespan) == (100, 1)
