# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The model card of a run: what it says, and what it leaves alone."""

import shutil
from pathlib import Path

import pytest
import yaml
from made_up_runs import call, write_run

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path) -> Path:
    return shutil.copytree(REPO / "reference_models" / "demo_LIF", tmp_path / "demo_LIF")


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_what_a_card_says(run, capsys):
    assert call(run, "--card", "--licence", "cc-by-4.0") == 0
    assert capsys.readouterr().out == f"{run / 'README.md'}: written\n"
    text = (run / "README.md").read_text()
    header = front_matter(text)
    assert header["license"] == "cc-by-4.0"
    assert header["pipeline_tag"] == "audio-classification"
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.83125
    for said in (
        "# LIF on demo, seed 13",
        "1,640 train, 280 valid, 320 test",
        "140 channels every 10 ms",
        "Clean: held-out speakers.",
        "83.12% (95% interval 78.6 to 86.8%, 320 clips)",
        "82.94% ± 1.22%",
        "python -m analysis.predict demo_LIF RECORDINGS",
        "CC0 1.0",
        "| `model_type` | LIF |",
    ):
        assert said in text
    assert str(run.parent) not in text  # no place of this machine


def test_a_card_that_was_edited_is_kept(run, capsys):
    card = run / "README.md"
    assert call(run, "--card") == 0
    written = card.read_text()
    assert call(run, "--card", "--licence", "mit") == 0  # as it was written: replaced
    assert front_matter(card.read_text())["license"] == "mit"
    card.write_text(written.replace("## Limits", "## My limits"))
    capsys.readouterr()
    assert call(run, "--card") == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "changed by hand; --overwrite replaces it" in said.err
    assert "## My limits" in card.read_text()
    assert call(run, "--card", "--overwrite") == 0
    assert "replaced what was there, changed by hand" in capsys.readouterr().out
    assert card.read_text() == written


def test_runs_of_earlier_versions_and_whose_data_are_their_own(tmp_path):
    run = write_run(tmp_path / "run")
    assert call(run, "--card") == 0
    text = (run / "README.md").read_text()
    assert "the run does not say their names" in text
    assert "that of whoever recorded them" in text
    assert "80.00%" in text


def test_an_unfinished_run_gets_no_card(tmp_path, capsys):
    run = write_run(tmp_path / "run", finished=False)
    assert call(run, "--card") == 2
    assert "no card, as the run is not whole (unfinished: 2 of 3 epochs)" in capsys.readouterr().err
    assert not (run / "README.md").exists()
