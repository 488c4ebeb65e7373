# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the documents point to exists: pages, anchors, files, options, configs."""

import functools
import re

import pytest
import yaml
from doc_pages import COMMAND, PAGES, REPO, anchors, code_spans, indented, links

from parsers.load import OPTIONS

TO_BE_MADE = {  # by a reader of CONTRIBUTING.md
    "configs/shd_taulif.yaml",
    "datasets/event_files.py",
    "models/dynamics/threshold.py",
    "tests/goldens/TauLIF.json",
}
OF_OTHER_PROGRAMS = {
    *("--index-url", "--no-deps", "--target", "--upgrade", "--dist"),  # pip and pytest
    *("--array", "--partition", "--time", "--gres", "--cpus-per-task", "--name"),  # sbatch
    *("--markdown", "--latex", "--csv"),  # training.results, run by test_documented_commands.py
    *("--wandb", "--help"),
}
FOLDERS = {path.name for path in REPO.iterdir() if path.is_dir()} - {
    "benchmark_results",
    "data",
    "exp",
}
IN_REPO = rf"({'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))


@functools.cache
def known_options() -> set[str]:
    """Options of main.py, and those that any other program declares."""
    known = {f"--{name}" for name in OPTIONS} | OF_OTHER_PROGRAMS | {"--config"}
    for folder in ("analysis", "benchmarks", "datasets", "parsers", "training", "tests"):
        for path in (REPO / folder).rglob("*.py"):
            if "docs" not in path.parts:
                known |= set(re.findall(r'add\w*\(\s*"(--\w+)"', path.read_text(encoding="utf-8")))
    return known


@pages
def test_links_lead_somewhere(page):
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_options_exist(page):
    for code in [*code_spans(page), *indented(page)]:
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code)) <= known_options(), code


@pages
def test_files_and_configs_exist(page):
    for span in code_spans(page):
        if re.fullmatch(r"(shd|ssc|sc|demo)_\w+", span):
            config, model = REPO / "configs" / f"{span}.yaml", REPO / "reference_models" / span
            assert config.exists() or model.exists(), span
        elif re.fullmatch(IN_REPO, span) and not COMMAND.match(span) and span not in TO_BE_MADE:
            assert any(next(place.glob(span.rstrip("/")), None) for place in (REPO, page.parent))


def test_every_page_is_in_the_index():
    index = REPO / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in links(index) if "#" not in link}
    missing = {*PAGES} - listed - {index, REPO / "README.md", REPO / "CHANGELOG.md"}
    assert not missing


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_the_python_versions_are_those_that_are_tested():
    workflow = (REPO / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(workflow)["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python-version"]
    assert any(step.get("run") == ".ci/run" for step in job["steps"])
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]}" in readme
