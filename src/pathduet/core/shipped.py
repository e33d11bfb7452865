"""Files of the workflow: Snakefile, rules, schemas, presets, profiles, config.yaml. Top-level in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
#: The only place that sets their path; pyproject.toml maps them into the wheel.
WORKFLOW = _PACKAGE / "_workflow" if (_PACKAGE / "_workflow").is_dir() else _PACKAGE.parents[1]
GENE_SETS = WORKFLOW / "presets" / "genesets"
