# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which split chose the epoch: runs of two protocols are never one row."""

import json
from pathlib import Path

import pytest
from made_up_runs import call, table_of, write_run

from training.results import groups

PUBLISHED, CLEAN = "test split (as published)", "held-out speakers 1, 4 of the training split"


def test_protocols_are_rows_of_their_own(tmp_path, monkeypatch, capsys):
    """Whatever makes the runs alike otherwise, even the same seeds; also in earlier summaries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for number, validated_on in enumerate((PUBLISHED, CLEAN, PUBLISHED, CLEAN)):
        folder = write_run(Path("out") / str(number), 0.8 + 0.01 * number, seed=number // 2)
        path = folder / "summary.json"
        summary = {**json.loads(path.read_text()), "validated_on": validated_on}
        path.write_text(json.dumps(summary))
    assert call("out", "--compare", "1", "2") == 0
    said = capsys.readouterr().out
    shown = [line.split() for line in said.splitlines() if line[:3] in ("1) ", "2) ")]
    assert [row[7:12] for row in shown] == [
        ["81.00", "±", "1.41*", "published", "2"],
        ["82.00", "±", "1.41", "clean", "2"],
    ]
    assert "*: protocol published: epoch chosen on the test split" in said
    assert "\nprotocol clean: held-out speakers" in said
    assert "of the test accuracy, published against clean:" in said
    assert "the protocols differ: published: epoch chosen on the test split / clean: held" in said
    rows, _ = table_of(capsys, "out")
    assert [row["protocol"].split(":")[0] for row in rows] == ["published", "clean"]


def result(seed, validated_on=None, **others):
    """That of a run on SHD with default options."""
    values = {"dataset_name": "shd", "shd_validation": "auto", "evaluate_pretrained": False}
    figures = {"test": {"accuracy": 0.5}, "validated_on": validated_on}
    return {"values": {**values, "seed": seed}, **(others or figures)}


@pytest.mark.parametrize("unknown_first", [False, True])
def test_figures_of_an_unknown_protocol_join_no_others(unknown_first):
    results = [result(1, PUBLISHED), result(2, PUBLISHED), result(1), result(3)]
    found = groups.grouped(results[::-1] if unknown_first else results, [])
    seeds = [[run["values"]["seed"] for run in group] for group in found]
    assert seeds == [[1, 2], [1, 3]]
    assert [groups.protocol_of(group[0]) is None for group in found] == [False, True]


def test_runs_without_figures_join_those_of_one_protocol_only():
    unfinished = result(7, error="unfinished")
    for others, rows in (
        ([], [[7]]),
        ([result(1, CLEAN)], [[1, 7]]),
        ([result(1, CLEAN), result(1, PUBLISHED)], [[1], [1], [7]]),
        ([result(1, CLEAN), result(1)], [[1], [1, 7]]),
    ):
        found = groups.grouped([unfinished, *others], [])
        assert [[run["values"]["seed"] for run in group] for group in found] == rows


def test_an_unknown_protocol_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    write_run(tmp_path / "known", seed=1)
    path = write_run(tmp_path / "unknown", seed=2) / "summary.json"
    summary = json.loads(path.read_text())
    del summary["validated_on"]
    path.write_text(json.dumps(summary))
    assert call(tmp_path) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line[:3] in ("1) ", "2) ")]
    assert ["clean" in row for row in rows] == [True, False]
    assert ["unknown" in row for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"dataset_name": "shd", "shd_validation": "test"}, "published"),
        ({"dataset_name": "shd", "shd_validation": "speakers"}, "clean: held-out speakers"),
        ({"dataset_name": "shd", "shd_validation": "random"}, "clean: held-out clips"),
        ({"dataset_name": "demo", "shd_validation": "file"}, "clean: validation split"),
        ({"dataset_name": "ssc", "shd_validation": "test"}, "None"),  # SSC has one of its own
    ],
)
def test_options_tell_the_protocol_of_runs_without_figures(options, found):
    run = {"values": {"evaluate_pretrained": False, **options}}
    assert str(groups.protocol_of(run)).startswith(found)
