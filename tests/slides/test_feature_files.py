"""Feature files are checked against what was written, by everyone who reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathduet.core.errors import InputError
from pathduet.core.files import sha256_file, write_json
from pathduet.features.check import verify_features
from pathduet.results import Results


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Features of the slides A and B, and of C from elsewhere, without a checksum."""
    found = Results(tmp_path)
    for slide_id in "ABC":
        found.slide(slide_id).mkdir(parents=True)
        found.features(slide_id).write_text(slide_id)
        if slide_id != "C":
            checksum = sha256_file(found.features(slide_id))
            write_json(found.slide(slide_id) / "features.status.json", {"sha256": {"features.h5": checksum}})
    return found


def test_whole_features_and_those_from_elsewhere_pass(results: Results) -> None:
    verify_features(results, "ABC")


def test_damaged_features_are_all_named_with_the_command_that_makes_them_again(results: Results) -> None:
    results.features("A").write_text("a")
    results.features("B").unlink()
    with pytest.raises(InputError) as found:
        verify_features(results, "ABC")
    first, second = found.value.problems
    assert "slide A" in first.where and "not what was written" in first.found
    assert f"snakemake --cores 1 {results.features('A')} --forcerun one_slide" in first.advice
    assert "slide B" in second.where and second.found == "is gone"
