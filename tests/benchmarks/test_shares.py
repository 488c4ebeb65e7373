# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where the time of a step goes, how its kernels share threads, and how long a start takes."""

import json

import pytest

from benchmarks import shares, start, train


def call(*pieces, threads, empty=0.0):
    return shares.Call("kernel", len(pieces), threads, list(pieces), empty)


def test_threads_that_are_free_take_the_next_piece():
    assert shares.makespan(call(4, 1, 1, 1, 1, threads=2)) == 4
    assert shares.makespan(call(1, 1, 1, 1, 4, threads=2)) == 6
    assert shares.makespan(call(3, 3, threads=1)) == 6


def test_a_call_costs_as_much_whatever_its_pieces():
    # Each piece was timed in a call of its own, which takes 1; threads make one call for all.
    assert shares.makespan(call(3, 3, 3, 3, threads=2, empty=1)) == 5
    assert shares.makespan(call(3, 3, 3, 3, threads=1, empty=1)) == 9


def test_how_much_is_parallel_follows_from_one_and_two_threads():
    assert shares.parallel_share(10, 5) == 1
    assert shares.parallel_share(10, 7.5) == 0.5
    assert shares.parallel_share(10, 12) == 0
    assert shares.parallel_share(0, 0) == 0


@pytest.mark.parametrize("name", ["GSC", "RadLIF"])
def test_shares_of_a_step(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "CLIPS_ON_CPU", 32)
    monkeypatch.setattr(shares, "THREADS", (1, 32))
    out = tmp_path / "shares.json"
    shares.main(["--quick", "--cases", name, "--threads", "2", "--out", str(out)])
    (found,) = json.loads(out.read_text(encoding="utf-8"))["cases"]
    assert set(found["threads"]) == {"1", "2"}
    for times in found["threads"].values():
        parts = times["parts"]
        assert list(parts) == list(shares.PARTS)
        used = {shares.FORWARD, shares.BACKWARD, shares.PRODUCT, shares.BY_WEIGHT, shares.DRAWS}
        used |= {shares.DATA, shares.READOUT, shares.LOSS, shares.OPTIMIZER, shares.PYTHON}
        assert all(parts[part] > 0 for part in used)
        assert all(ms >= 0 for ms in parts.values())
    assert {"forward_steps", "backward_steps", "add_inputs"} <= set(found["scaling"]["kernels"])
    assert found["scaling"]["speed_up"]["1"] == 1
    assert "whole step" in capsys.readouterr().out


def test_the_starts_after_the_first_count(tmp_path, monkeypatch):
    seconds, given = iter([60.0, 5.0, 20.0, 4.0, 30.0, 3.0, 10.0, 2.0]), []

    def run(environment, *_):
        given.append(environment.get("OMP_NUM_THREADS"))
        return (found := next(seconds)), str(found)

    monkeypatch.setattr(start, "run", run)
    monkeypatch.delenv("OMP_NUM_THREADS")  # programs choose, if nothing else is asked for
    found = start.measured(tmp_path, 3, [], threads=None)
    assert given == [None] * 8
    assert (found["command_first_s"], found["command_s"], found["to_first_step_s"]) == (60, 20, 3)


def test_the_first_step_ends_a_start(tmp_path):
    small = ["--nb_hiddens", "8", "--nb_steps", "10"]
    folder = ["--new_exp_folder", str(tmp_path / "run")]
    environment = dict(start.os.environ, OMP_NUM_THREADS="1")
    whole, printed = start.run(environment, "-c", start.TO_FIRST_STEP, *start.DEMO, *small, *folder)
    assert 0 < float(printed) < whole
    assert not (tmp_path / "run" / "summary.json").exists()
