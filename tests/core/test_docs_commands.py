"""Every command in the documentation is valid, and a test runs it or the page says why not.

A comment precedes each block of commands: ``<!-- run: tests/FILE.py, ... -->`` names the tests (or scripts) that run them, ``<!-- not run: REASON -->`` says why
none does. A test counts if its file has every subcommand and option of a command, quoted; `tests/workflow/test_workflow.py` plans every target.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from click import Command, Context

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(ROOT.glob("docs/**/*.md")) if "results" not in page.parts),
]
BLOCK = re.compile(r"(?:<!-- (not run|run): ([^>]+?) -->\n\s*)?```(?:sh|bash|console)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:pathduet|snakemake|make) [^`\n]+)`")
INDENTED = re.compile(r"^ {4,}(?:[A-Z_]+=\S+ )?(?:pathduet|snakemake|make|pip) .*", re.MULTILINE)
#: What every test of the workflow passes (`tests.tiny_cohort.command`).
ALWAYS = {"--cores", "--configfile", "--profile"}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a block, without comments, variables and what does not belong to PathDuet."""
    for line in text.splitlines():
        for part in re.split(r"\s(?:\||&&)\s|;\s", re.sub(r"(?:^|\s)#.*", "", line)):
            words = shlex.split(part)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words and Path(words[0]).name in {"pathduet", "snakemake", "make", "pip"}:
                yield [Path(words[0]).name, *words[1:]]


def blocks() -> list[tuple[Path, str, str, str]]:
    """Return page, kind of mark, what it says, and text of every block."""
    return [
        (page, *(part or "" for part in block.groups()))  # type: ignore[misc]
        for page in PAGES
        for block in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def every_command(tool: str) -> list[tuple[str, list[str]]]:
    """Return page and words of every command of a tool, also of those in the text."""
    found = [(page.name, words) for page, _, _, text in blocks() for words in commands(text)]
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        found += [(page.name, words) for line in INLINE.findall(text) for words in commands(line)]
    return [(page, words[1:]) for page, words in found if words[0] == tool]


def subcommand(words: list[str]) -> tuple[Command, list[str], list[str]]:
    """Return the command of some words, its name, and its arguments."""
    from pathduet.cli import app

    command: Command = typer.main.get_command(app)
    context, name = Context(command), []
    while words and isinstance(command, typer.core.TyperGroup):
        known = words[0] in command.list_commands(context)
        name.append(words[0] if known else "encode")  # `pathduet features SLIDES`
        command, words = command.get_command(context, name[-1]), words[known:]
    return command, name, words


def targets(words: list[str]) -> list[str]:
    """Return what a command line of Snakemake asks for: rules, and files under results."""
    rules = set(re.findall(r"^rule (\w+):", "\n".join(p.read_text() for p in workflow_files()), re.MULTILINE))
    return [word for word in words if word in rules or word.startswith("results/")]


def workflow_files() -> list[Path]:
    return [ROOT / "Snakefile", *ROOT.glob("rules/*.smk")]


def patterns() -> list[re.Pattern[str]]:
    """Return what files under results look like, as the page of artifacts lists them; `<...>` is any name."""
    found = []
    for row in re.findall(
        r"^\| (`.+?`) \|", (ROOT / "docs/artifacts.md").read_text(encoding="utf-8"), re.MULTILINE
    ):
        first, *others = re.findall(r"`([^`]+)`", row)
        found += [first, *(f"{Path(first).parent}/{other}" for other in others)]
    return [re.compile("results/" + re.sub(r"<\w+>", "[^/]+", re.escape(path))) for path in found]


def test_every_block_says_what_runs_it() -> None:
    unmarked = [f"{page.name}: {text.splitlines()[0]}" for page, kind, _, text in blocks() if not kind]
    indented = [f"{page.name}: {line}" for page in PAGES for line in INDENTED.findall(page.read_text())]
    assert unmarked + indented == []


def test_a_named_test_has_every_word_of_its_commands() -> None:
    missing = []
    for page, kind, said, text in blocks():
        if kind != "run":
            continue
        sources = [(ROOT / name.strip()).read_text(encoding="utf-8") for name in said.split(",")]
        for tool, *words in commands(text):
            if tool == "pathduet":
                _, name, arguments = subcommand(words)
                needed = [word for word in [*name, *arguments] if word in name or word.startswith("-")]
                needed = [word for word in needed if word != "encode"]
            elif tool == "snakemake":
                needed = [word for word in words if word.startswith("-") and word not in ALWAYS]
            else:
                needed = words if tool == "make" else []
            if not any(
                all(re.search(rf"[\"'\s/]{re.escape(word)}[\"'\s]", source) for word in needed)
                for source in sources
            ):
                missing.append(f"{page.name}: {tool} {shlex.join(words)}: {said} lacks one of {needed}")
    assert missing == []


def test_commands_of_pathduet_are_valid() -> None:
    wrong = []
    for page, words in every_command("pathduet"):
        try:
            command, name, arguments = subcommand([word for word in words if word != "..."])
            context = Context(command, info_name=" ".join(name), resilient_parsing=True)
            given = command.make_parser(context).parse_args(args=arguments)[0]
            lacking = [p.name for p in command.params if arguments and p.required and p.name not in given]
        except Exception as error:
            lacking = [repr(error)]
        wrong += [f"{page}: pathduet {shlex.join(words)}: {lacking}"] if lacking else []
    assert wrong == []


def test_targets_of_the_workflow_and_of_make_are_there() -> None:
    made = patterns()
    files = [(page, target) for page, words in every_command("snakemake") for target in targets(words)]
    wrong = [
        f"{page}: {target}"
        for page, target in files
        if target.startswith("results/") and not any(pattern.fullmatch(target) for pattern in made)
    ]
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong += [f"{page}: make {words[0]}" for page, words in every_command("make") if words[0] not in rules]
    assert files and wrong == []


def test_extras_that_pip_is_asked_for_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        (page, extra)
        for page, words in every_command("pip")
        for part in re.findall(r"\[([\w,-]+)\]", " ".join(words))
        for extra in part.split(",")
    ]
    assert asked and [extra for extra in asked if extra[1] not in project["optional-dependencies"]] == []


@pytest.mark.slow
def test_commands_of_snakemake_are_valid() -> None:
    from snakemake.cli import get_argument_parser

    parser = get_argument_parser()
    wrong = []
    for page, words in every_command("snakemake"):
        words = ["1" if word == "N" else word for word in words]
        message = io.StringIO()
        try:
            with contextlib.redirect_stderr(message):
                given = parser.parse_args(words)
        except SystemExit:
            wrong.append(f"{page}: snakemake {shlex.join(words)}: {message.getvalue().splitlines()[-1]}")
            continue
        if sorted(given.targets) != sorted(targets(words)):
            wrong.append(f"{page}: snakemake {shlex.join(words)} asks for {given.targets}")
    assert wrong == []


def test_the_readmes_figures_are_those_of_the_demo() -> None:
    def cells(line: str) -> list[str]:
        return [re.sub(r" \[.*?\]", "", cell).strip() for cell in line.strip("|\n ").split("|")[1:]]

    rows = re.findall(
        r"^\| (?!what|---|start|use|reference).*(?:±|0\.\d).*\|$", (ROOT / "README.md").read_text(), re.M
    )
    demo = [
        cells(line) for line in (ROOT / "docs/results/demo.md").read_text().splitlines() if line[:1] == "|"
    ]
    assert len(rows) >= 5 and [row for row in rows if cells(row) not in demo] == []
