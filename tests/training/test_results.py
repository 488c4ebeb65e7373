# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Many runs become one table, and none of them counts that should not."""

import json
import os
import platform
import shutil
import statistics

import numpy as np
import pytest
from made_up_runs import call, table_of, write_run
from matplotlib.figure import Figure
from scipy import stats

from parsers.load import Config
from training.record import files
from training.results import __main__ as results
from training.results import groups


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal that has room for every column."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "exp"


def five_seeds(root, model, center):
    """Accuracies of the five runs written."""
    accuracies = center + np.random.default_rng(len(model)).normal(0, 0.01, 5)
    for seed, accuracy in enumerate(accuracies.tolist()):
        write_run(root / f"{model}_seed{seed}", accuracy, model_type=model, seed=seed)
    return accuracies.tolist()


def refused(capsys, *argv):
    assert call(*argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("training.results: error: ")
    assert error.count("\n") == 1
    return error


def test_mean_and_deviation_over_seeds(root, capsys):
    accuracies = {model: five_seeds(root, model, 0.8) for model in ("LIF", "CSiLIF")}
    rows, notes = table_of(capsys, root)
    assert notes == ""
    assert [row["model_type"] for row in rows] == ["CSiLIF", "LIF"]
    for row in rows:
        values = accuracies[row["model_type"]]
        assert float(row["test_accuracy_mean"]) == pytest.approx(statistics.fmean(values))
        assert float(row["test_accuracy_std"]) == pytest.approx(statistics.stdev(values))
        assert (row["runs"], row["seeds"]) == ("5", "0 1 2 3 4")
    assert call(root) == 0
    said = capsys.readouterr().out
    shown = accuracies["CSiLIF"]
    assert f"{100 * statistics.fmean(shown):.2f} ± {100 * statistics.stdev(shown):.2f}" in said
    for text in ("SSC", "C-SiLIF", "12,345", "2,048", "1 min 30 s", "sample standard deviation"):
        assert text in said
    assert "*" not in said


def test_the_figures_of_a_sweep(train, tmp_path, capsys):
    """They are found from the runs and from the sweep's table, whose runs may be gone."""
    grid = {"seed": [1, 2], "model_type": ["SiLIF", "LIF"], "backend": "naive"}
    assert train(**grid, nb_epochs=1, nb_hiddens=4) == 0
    of_the_sweep = [line for line in capsys.readouterr().out.splitlines() if line[:3] == "SHD"]
    assert len(of_the_sweep) == 2
    assert call("exp") == 0
    said = capsys.readouterr().out
    rows = [line[2:].split() for line in said.splitlines() if line[:3] in ("1) ", "2) ")]
    assert sorted(rows) == sorted(line.split() for line in of_the_sweep)
    assert "*: protocol published: epoch chosen on the test split" in said
    (sweep,) = tmp_path.glob("exp/test_exps/*_sweep")
    rows, _ = table_of(capsys, sweep)
    assert [row["runs"] for row in rows] == ["2", "2"]
    for folder in tmp_path.glob("exp/test_exps/*_seed*"):
        shutil.rmtree(folder)
    path = sweep / "sweep_summary.json"
    content = json.loads(path.read_text())
    for run in content["runs"]:  # as of a version that did not know them
        del run["values"]["scheduler"], run["values"]["delay"]
    path.write_text(json.dumps(content))
    path.rename(sweep / "sweep_summary_host_7.json")
    assert table_of(capsys, sweep)[0] == rows


def spoil(change):
    """Damage a run by changing the content of its summary.json."""

    def damage(folder):
        content = json.loads((folder / "summary.json").read_text())
        change(content)
        (folder / "summary.json").write_text(json.dumps(content))

    return damage


def replace(name, old, new):
    """Damage a run by replacing text in one of its files."""
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


def set_checksums(folder, checksums, **more):
    """Have the summary of a run hold other checksums of its data."""
    spoil(lambda content: content.update(data_checksums=checksums, **more))(folder)


def unfinished(folder):
    shutil.rmtree(folder)
    write_run(folder, finished=False, seed=9)


def running(folder):
    unfinished(folder)
    (folder / ".lock.owner").write_text(f"process {os.getpid()} on {platform.node()}")


def diverged(folder):
    unfinished(folder)
    files.write_json(folder / "failure.json", {"diverged": "training diverged in epoch 2"})


def diverged_and_damaged(folder):
    diverged(folder)
    (folder / "failure.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (unfinished, "unfinished: 2 of 3 epochs"),
        (running, "still running: 2 of 3 epochs"),
        (diverged, "training diverged in epoch 2"),
        (diverged_and_damaged, "damaged: failure.json is not readable"),
        (replace("config.yaml", "nb_epochs: 3", "nb_epochs: 9"), "unfinished: 3 of"),
        (replace("summary.json", "}", ""), "damaged: summary.json is not readable"),
        (lambda folder: (folder / "summary.json").write_text("[]"), "damaged: summary.json"),
        (spoil(lambda c: c.pop("test")), "lacks figures"),
        (spoil(lambda c: c["test"].update(accuracy=1.2)), "impossible figures"),
        (spoil(lambda c: c["test"].update(loss=float("nan"))), "impossible figures"),
        (spoil(lambda c: c["test"].update(accuracy=0.9)), "different test acc"),
        (replace("config.yaml", "seed: 9", "seed: 8"), "different values of seed"),
        (lambda folder: (folder / "config.yaml").unlink(), "it has no config.yaml"),
    ],
)
def test_unsound_runs_are_named_and_not_averaged(root, capsys, damage, named):
    for seed in (1, 2):
        write_run(root / f"seed{seed}", 0.7 + seed / 10, seed=seed)
    damage(write_run(root / "spoiled", 0.1, seed=9))
    rows, notes = table_of(capsys, root)
    row = next(row for row in rows if row["runs_counted"] == "2")
    assert float(row["test_accuracy_mean"]) == pytest.approx(0.85)
    assert "not counted: " in notes
    assert str(root / "spoiled") in notes
    assert named in notes
    if named.startswith(("unfinished: 2", "still", "training")):
        assert row["runs"] == "3"
        assert call(root) == 0
        assert " 2 of 3 " in capsys.readouterr().out


def test_the_interval_of_an_accuracy_stands_beside_it(root, capsys):
    spoil(lambda summary: summary["test"].update(samples=100))(write_run(root / "a", 0.8))
    assert call(root) == 0
    said = capsys.readouterr().out
    assert " 71.1 to 86.7 " in said
    assert "95% interval: of one run with that accuracy" in said


@pytest.mark.parametrize("width", [60, 80])
def test_a_table_leaves_out_columns_that_have_no_room(root, capsys, monkeypatch, width):
    five_seeds(root, "CSiLIF", 0.8)
    write_run(root / "other", model_type="LIF", nb_hiddens=1024, nb_layers=2)
    monkeypatch.setenv("COLUMNS", str(width))
    assert call(root) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert f"no room in {width} characters for: " in " ".join(said.split())
    assert "1) nb_layers 3" in said


def test_runs_without_an_epoch_make_no_row(root, capsys):
    write_run(root / "seed1", seed=1)
    for lr in (0.1, 0.2):
        write_run(root / f"lr{lr}", lr=lr, finished=False, epochs=1)
    rows, notes = table_of(capsys, root)
    assert [row["runs"] for row in rows] == ["1"]
    assert notes == f"left out, as no epoch is finished: {root / 'lr0.1'} (and 1 more)\n"


def test_a_seed_counts_once(root, capsys):
    for name in ("a", "b"):
        write_run(root / name / "seed1", 0.8, seed=1)
    write_run(root / "a" / "seed2", 0.9, seed=2)
    rows, notes = table_of(capsys, root)
    assert (rows[0]["runs_counted"], rows[0]["runs"]) == ("2", "3")
    assert float(rows[0]["test_accuracy_mean"]) == pytest.approx(0.85)
    assert f"{root / 'b' / 'seed1'}: seed 1 is counted already, from {root / 'a'}" in notes
    rows, notes = table_of(capsys, root / "a", root / "a" / "seed1")
    assert (rows[0]["runs"], notes) == ("2", "")


def test_rows_are_what_differs_beside_the_seed(root, capsys):
    for seed in (1, 2):
        for lr in (0.01, 0.001):
            write_run(root / f"lr{lr}_{seed}", lr=lr, seed=seed, num_workers=seed)
        write_run(root / f"moved_{seed}", lr=0.01, seed=seed + 2, data_folder=f"/data/{seed}")
    rows, _ = table_of(capsys, root)
    assert [(row["lr"], row["runs"]) for row in rows] == [("0.001", "2"), ("0.01", "4")]
    assert call(root) == 0
    assert "lr" in capsys.readouterr().out.splitlines()[0].split()
    rows, _ = table_of(capsys, root, "--ignore", "lr")
    assert [row["runs_counted"] for row in rows] == ["4"]


def test_an_option_is_shown_where_it_acts(root, capsys, monkeypatch):
    write_run(root / "a", model_type="SiLIF")
    for size in (16, 32):
        write_run(root / f"b{size}", model_type="S4D", state_size=size)
    monkeypatch.setenv("COLUMNS", "250")
    assert call(root) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    start, name = header.index("state_size"), "state_size"
    cells = [line[start:][: len(name)].strip() for line in lines if "  SSC  " in line]
    assert sorted(cells) == ["-", "16", "32"]
    monkeypatch.setenv("COLUMNS", "80")  # below the table
    assert call(root) == 0
    assert capsys.readouterr().out.count("state_size") == 2


def test_welch(root, capsys):
    samples = [five_seeds(root, "LIF", 0.78), five_seeds(root, "CSiLIF", 0.8)]
    assert call(root, "--compare", "LIF", "1") == 0
    said = capsys.readouterr().out
    test = stats.ttest_ind(*samples, equal_var=False)
    assert f"t = {test.statistic:.3f}, {test.df:.1f} degrees of freedom" in said
    assert f"p = {test.pvalue:.3g}" in said
    difference = 100 * (statistics.fmean(samples[0]) - statistics.fmean(samples[1]))
    assert f"difference {difference:+.2f} points" in said
    assert "LIF against C-SiLIF" in said
    assert call(root, "--compare", "model_type=LIF,lr=1e-2", "c-silif") == 0
    assert capsys.readouterr().out == said


def test_comparisons_that_cannot_be_made(root, capsys):
    five_seeds(root, "LIF", 0.78)
    write_run(root / "one", model_type="RLIF")
    assert "finished runs of RLIF: 1" in refused(capsys, root, "--compare", "LIF", "RLIF")
    assert "no row" in refused(capsys, root, "--compare", "LIF", "GRU")
    assert "rows 1, 2" in refused(capsys, root, "--compare", "LIF", "nb_hiddens=512")


def test_markdown_latex_and_files(root, capsys):
    five_seeds(root, "LIF", 0.78)
    assert call(root, "--markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].replace(" ", "").startswith("|data|model|hidden|ms/step|params|states|")
    assert len({line.count("|") for line in lines[:3]}) == 1
    assert call(root, "--latex", "table.tex", "--csv", "table.csv") == 0
    assert "± " in capsys.readouterr().out
    text = (root.parent / "table.tex").read_text()
    assert r"\toprule" in text
    assert r" $\pm$ " in text
    assert r"\%" in text
    assert (root.parent / "table.csv").read_text().startswith("dataset_name,")
    assert "exists; --overwrite" in refused(capsys, root, "--csv", "table.csv")
    assert call(root, "--csv", "table.csv", "--overwrite") == 0


def test_curves_with_a_band(root, capsys, monkeypatch):
    for model, center in (("LIF", 0.7), ("SiLIF", 0.8)):
        five_seeds(root, model, center)
    write_run(root / "stopped", finished=False, model_type="LIF", seed=9)
    drawn = []
    draw = results.draw_bands
    monkeypatch.setattr(results, "draw_bands", lambda *a: drawn.extend(a[0]) or draw(*a))
    assert call(root, "--curves", "curves.png") == 0
    assert (root.parent / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [(label.split()[0], len(histories)) for label, histories in drawn] == [
        ("LIF", 5),
        ("SiLIF", 5),
    ]
    assert "(5 seeds, test 79.84 %)" in drawn[1][0]
    for name, model in (("mine", "LiGRU"), ("yours", "CSiLIF")):
        folder = write_run(root.parent / "others" / name, model_type=model, data_folder=name)
        set_checksums(folder, {"ssc_test.h5": name}, classes=10)
    drawn.clear()
    assert call("others", "--curves", "others.png") == 0
    names = [label.split(" (")[0] for label, _ in drawn]
    assert names == ["mine, Li-GRU", "yours, C-SiLIF"]


def test_folders_without_sound_runs(root, capsys):
    root.mkdir()
    (root / "config.yaml").write_text("name: another program\n")
    assert "holds no runs" in refused(capsys, root)
    write_run(root / "seed1")
    assert "is a file" in refused(capsys, root / "seed1" / "config.yaml")
    (root / "sweep_summary.json").write_text("[]")
    assert "damaged" in refused(capsys, root)


@pytest.mark.parametrize(
    ("classes", "options", "name"),
    [
        (35, {"dataset_name": "sc", "data_folder": "some/words"}, "GSC"),
        (12, {"dataset_name": "sc", "data_folder": "some/words"}, "words"),
        (12, {"dataset_name": "sc"}, "GSC"),
        (10, {"dataset_name": "shd", "data_folder": "some/words"}, "words"),
        (20, {"dataset_name": "demo"}, "demo"),
    ],
)
def test_other_classes_than_the_published_go_by_their_folder(classes, options, name):
    values = Config.from_dict({**options, "seed": 1}).to_dict()
    (group,) = groups.group_over_seeds([{"values": values, "classes": classes}], [])
    assert group["data"] == name
    assert group["setup"]["dataset_name"] == options["dataset_name"]


def test_options_that_differ_between_models_are_shown(root, capsys, monkeypatch):
    """But not what is tuned for every model, nor what differs between data sets only."""
    write_run(root / "a", model_type="RadLIF", bidirectional=True, normalization="layernorm")
    write_run(root / "b", model_type="adLIF", nb_layers=2, lr=0.1, pdrop=0.3, nb_hiddens=64)
    write_run(root / "c", model_type="CSiLIF", use_bias=True, dt_max=5.0, nb_steps=50)
    write_run(root / "d", model_type="CSiLIF", data_folder="words", init_state="zero")
    set_checksums(root / "d", {"ssc_test.h5": "words"}, classes=10)
    monkeypatch.setenv("COLUMNS", "100")
    assert call(root) == 0
    said = capsys.readouterr().out
    for number, options in (
        (1, "nb_layers 3, normalization layernorm, use_bias False, bidirectional True"),
        (2, "nb_layers 2, normalization batchnorm, use_bias False, bidirectional False"),
        (3, "nb_layers 3, normalization batchnorm, use_bias True, bidirectional False"),
    ):
        assert f"\n{number}) {options}\n" in said
    assert "\n4) " in said.split("\nacc:")[0]
    assert "\n4) " not in said.split("\nacc:")[1]
    assert "bidirectional" not in said.splitlines()[0]
    monkeypatch.setenv("COLUMNS", "250")  # a terminal that has room for their columns
    assert call(root) == 0
    said = capsys.readouterr().out
    assert "bidirectional" in said.splitlines()[0]
    assert "\n1) " not in said.split("\nacc:")[1]


def test_accuracies_on_other_data_do_not_compare(root, capsys):
    """Only what the runs were tested on counts, not what its folder is called."""
    for seed in (1, 2):
        for name in ("a", "b"):
            folder = root / f"{name}{seed}"
            write_run(
                folder, 0.7 + seed / 100, seed=seed, data_folder=name, nb_layers=2 + (name > "a")
            )
            set_checksums(folder, {"ssc_train.h5": f"train {name}", "ssc_test.h5": "test"})
    assert call(root, "--compare", "1", "2") == 0
    capsys.readouterr()
    for name in ("b1", "b2"):
        set_checksums(root / name, {"ssc_train.h5": "train b", "ssc_test.h5": "other"})
    rows, _ = table_of(capsys, root, "--ignore", "nb_layers")
    assert [row["runs"] for row in rows] == ["2", "2"]
    assert "tested on different data, by" in refused(capsys, root, "--compare", "1", "2")
    assert call(root, "--compare", "1", "2", "--ignore", "data_folder") == 0
    # Recordings: one checksum for all of them, by the name of their folder.
    for name in ("a1", "a2", "b1", "b2"):
        set_checksums(root / name, {name[0]: "recordings"})
    assert call(root, "--compare", "1", "2") == 0
    for name in ("b1", "b2"):
        set_checksums(root / name, {"b": "others"})
    assert "tested on different data, by" in refused(capsys, root, "--compare", "1", "2")
    for name in ("b1", "b2"):
        set_checksums(root / name, None)
    assert call(root, "--compare", "1", "2") == 0


@pytest.mark.parametrize(
    ("label", "count"),
    [("LIF", 1), ("W" * 60, 24), ("a\nb\nc", 11)],
)
def test_the_legend_of_the_curves_stays_in_the_picture(label, count, tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k)
    )
    history = [
        {"epoch": epoch, "split": split, "loss": 1.0, "accuracy": 0.5}
        for epoch in (1, 2)
        for split in ("train", "valid")
    ]
    results.draw_bands([(label, [history])] * count, tmp_path / "curves.png")
    (figure,) = figures
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0
    assert figure.axes[0].bbox.height > 2.5 * figure.dpi
