# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs in archives and at addresses: read like folders, checked, and harmless."""

import hashlib
import json
import stat
import threading
import zipfile
from pathlib import Path

import pytest

import main
from analysis.listening import open_listener
from datasets.errors import DataError
from tests.datasets.loopback_server import Server
from training import shared

RUN = Path(shared.__file__).resolve().parents[1] / "reference_models" / "demo_LIF"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPRACHE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shared, "PATIENCE", shared.Patience(timeout=5, retries=1, pause=0.01))
    return tmp_path / "cache" / "models"


@pytest.fixture
def archive(tmp_path) -> Path:
    """The run in a folder of its name, as ``zip -r`` packs it."""
    return packed(tmp_path / "lif.zip", {f"demo_LIF/{p}": RUN / p for p in files_of_run()})


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.let_go.set()
        server.shutdown()


def files_of_run() -> list[Path]:
    return [path.relative_to(RUN) for path in RUN.rglob("*") if path.is_file()]


def packed(path: Path, files: dict) -> Path:
    with zipfile.ZipFile(path, "w") as content:
        for name, source in files.items():
            content.writestr(str(name), source if isinstance(source, str) else source.read_bytes())
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("inside", ["demo_LIF/", "", "exp/test_exps/demo_LIF/"])
def test_an_archive_is_read_as_the_folder_in_it(inside, tmp_path):
    path = packed(tmp_path / "lif.zip", {f"{inside}{p}": RUN / p for p in files_of_run()})
    run = shared.local_run(str(path))
    assert {p: (run / p).read_bytes() for p in files_of_run()} == {
        p: (RUN / p).read_bytes() for p in files_of_run()
    }
    assert shared.local_run(f"{path}#sha256={digest(path)}") == run
    assert open_listener(str(path)).config == open_listener(RUN).config


def test_a_folder_is_not_touched(tmp_path, cache):
    (tmp_path / "folder.zip").mkdir()
    for name in (RUN, "demo_LIF", str(tmp_path / "folder.zip")):
        assert shared.local_run(name) == name
    assert not cache.exists()


def test_main_tests_an_archive(archive, tmp_path):
    out = ["--seed", "13", "--new_exp_folder", str(tmp_path / "out")]
    assert main.main([str(archive), "--evaluate_pretrained", "True", *out]) == 0
    summary = json.loads((RUN / "summary.json").read_text())
    tested = json.loads((tmp_path / "out" / "evaluation_summary.json").read_text())
    assert tested["runs"][0]["test"]["accuracy"] == summary["test"]["accuracy"]


@pytest.mark.parametrize(
    ("typed", "local"),
    [
        (["X", "--evaluate_pretrained", "True"], ["RUN", "--evaluate_pretrained", "True"]),
        (["--evaluate_pretrained=True", "--seed", "1", "X"], None),
        (["--load_exp_folder=X", "--evaluate_pretrained=True"], None),
        (["--load_exp_folder", "X", "--evaluate_pretrained=True"], None),
        (["--evaluate_pretrained=True", "--data_folder", "X"], ["--data_folder", "X"]),
        (["X", "--seed", "1"], ["X"]),
    ],
)
def test_which_words_of_a_command_are_a_run(typed, local, archive):
    run = str(shared.local_run(archive))
    local = local or [word.replace("X", "RUN") for word in typed]
    found = shared.with_local_runs([word.replace("X", str(archive)) for word in typed])
    wanted = [word.replace("X", str(archive)).replace("RUN", run) for word in local]
    assert set(wanted) <= set(found)


def test_an_address_is_downloaded_once_and_resumed(archive, server, cache):
    server.files["lif.zip"] = archive.read_bytes()
    server.cuts = [1000]
    address = f"{server.url}/lif.zip#sha256={digest(archive)}"
    run = shared.local_run(address)
    assert (run / "config.yaml").is_file()
    assert server.ranges() == [None, "bytes=1000-"]
    assert shared.local_run(address) == run
    assert len(server.asked) == 2
    assert [path.name for path in cache.iterdir() if path.suffix == ".zip"] == []


def test_what_an_address_must_have(archive, server, cache):
    server.files["lif.zip"] = archive.read_bytes()
    other = "0" * 64
    for name, why in {
        f"{server.url}/lif.zip": "needs the SHA-256",
        f"{server.url}/lif.zip#md5=1": "must be sha256=",
        f"{server.url}/lif.zip#sha256={other}": f"its SHA-256 is {digest(archive)}",
        f"{server.url}/none.zip#sha256={other}": "404",
        f"https:///lif.zip#sha256={other}": "not an http",
        f"{archive}#sha256={other}": "not the archive that was meant",
        "nowhere.zip": "no archive nowhere.zip",
    }.items():
        with pytest.raises(DataError, match=why):
            shared.local_run(name)
    assert list(cache.glob("*.zip")) == []


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("../evil", "x", "outside its folder"),
        ("a/../../evil", "x", "outside its folder"),
        ("/tmp/evil", "x", "outside its folder"),
        ("..\\evil", "x", "outside its folder"),
        ("C:evil", "x", "outside its folder"),
        ("notes.txt", "x", "holds no run"),
    ],
)
def test_archives_that_are_no_run(name, content, why, tmp_path, cache):
    best = {} if "no run" in why else {"checkpoints/best_model.pth": "x"}
    path = packed(tmp_path / "bad.zip", {name: content} | best)
    with pytest.raises(DataError, match=why):
        shared.local_run(path)
    assert not [p for p in tmp_path.rglob("*evil*")]
    assert list(cache.iterdir()) == []


def test_an_empty_archive(tmp_path, cache):
    with pytest.raises(DataError, match="holds no run"):
        shared.local_run(packed(tmp_path / "empty.zip", {}))
    assert list(cache.iterdir()) == []


def test_what_else_lies_beside_a_run_is_no_run(tmp_path):
    files = {f"exp/lif/{p}": RUN / p for p in files_of_run()}
    files |= {"__MACOSX/exp/lif/checkpoints/._best_model.pth": "x", "exp/notes.txt": "x"}
    files |= {"exp/lif/first/checkpoints/last.pth": "x"}
    folder = shared.local_run(packed(tmp_path / "mac.zip", files))
    assert folder.name == "lif"
    assert (folder / "first").is_dir()


def test_archives_of_two_runs_links_bombs_and_no_archives(tmp_path, archive, monkeypatch):
    best = "checkpoints/best_model.pth"
    two = packed(tmp_path / "two.zip", {f"a/{best}": "x", f"b/{best}": "x"})
    link = zipfile.ZipInfo("config.yaml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    linked = tmp_path / "linked.zip"
    with zipfile.ZipFile(linked, "w") as content:
        content.writestr(link, "/etc/passwd")
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-2000])
    for path, why in ((two, "2 runs"), (linked, "a link")):
        with pytest.raises(DataError, match=why):
            shared.local_run(path)
    for name in ("text.zip", "cut.zip"):
        with pytest.raises(DataError, match="no zip archive"):
            shared.local_run(tmp_path / name)
    monkeypatch.setattr(shared, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match=r"more than a run: \d files, 0\.. MB"):
        shared.local_run(archive)


def test_main_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["nowhere.zip", "--evaluate_pretrained", "True"]) == 2
    assert capsys.readouterr().err == "main.py: error: there is no archive nowhere.zip\n"
    assert main.main(["nowhere.zip"]) == 2
    assert "unexpected argument" in capsys.readouterr().err
