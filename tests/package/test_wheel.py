# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The package as pip installs it, beside other packages that are called like its parts."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from sprache import _checkout

REPO = Path(__file__).resolve().parents[2]
NEEDED = ("LICENSES", "configs", "reference_models", "src")  # of the folders, besides modules
BUILD = "import setuptools.build_meta as b, sys; b.build_{}(sys.argv[1])"
OTHERS = shutil.ignore_patterns("__pycache__", "*.h5", ".frames", "*.egg-info")
USE = """
import datasets, main, models
import sprache, torch

net = sprache.SNN((None, None, 9), [16, 16, 5], "silif+LIF")
net(torch.rand(4, 20, 9))[0].sum().backward()
assert sprache.load("demo_SiLIF").classes[7] == "seven"

import analysis, parsers, training

others = [analysis, datasets, main, models, parsers, training]
assert all(module.OTHER for module in others)
print(sprache.__file__)
print(sprache.models.snns.__file__)
"""


def run(*command: str | Path, cwd: Path, path: list[Path] = ()) -> str:
    """What a command prints, in a process that finds packages in ``path``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    options = {"capture_output": True, "text": True, "cwd": cwd, "env": environment}
    done = subprocess.run(list(map(str, command)), **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """``wheel``: the package from a wheel; ``sdist``: from one that an sdist was made into;
    ``others``: packages called like its parts."""
    place = tmp_path_factory.mktemp("installed")
    source = place / "source"
    for path in REPO.iterdir():
        if path.is_file():
            source.mkdir(exist_ok=True)
            shutil.copy(path, source)
        elif path.name in (*NEEDED, *_checkout.PARTS):
            shutil.copytree(path, source / path.name, ignore=OTHERS)
    run(sys.executable, "-c", BUILD.format("sdist"), place, cwd=source)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extractall(place, filter="data")
    unpacked = next(path for path in place.glob("sprache-*") if path.is_dir())
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    for name, folder in (("wheel", source), ("sdist", unpacked)):
        run(*pip, "-w", place / f"{name}s", folder, cwd=place)
        with zipfile.ZipFile(next((place / f"{name}s").glob("*.whl"))) as archive:
            archive.extractall(place / name)
    for part in _checkout.PARTS:
        other = place / "others" / part / "__init__.py"
        other.parent.mkdir(parents=True)
        other.write_text("OTHER = True\n")
    return place


@pytest.mark.slow
def test_it_has_all_modules_and_the_data_that_they_open(place):
    wheel, sdist = (
        {path.relative_to(place / name).as_posix() for path in (place / name).rglob("*.*")}
        for name in ("wheel", "sdist")
    )
    assert wheel == sdist
    for part in _checkout.PARTS:
        modules = {f"{part}.py"} if part == "main" else set()
        modules |= {p.relative_to(REPO).as_posix() for p in (REPO / part).rglob("*.py")}
        assert {f"sprache/{name}" for name in modules} <= wheel
    assert "sprache/py.typed" in wheel
    assert "sprache/configs/demo.yaml" in wheel
    assert "sprache/datasets/demo/demo_test.h5.gz" in wheel
    assert "sprache/reference_models/demo_SiLIF/checkpoints/best_model.pth" in wheel
    assert {name.partition("/")[0].partition("-")[0] for name in wheel} == {"sprache"}


@pytest.mark.slow
def test_it_works_beside_packages_of_the_same_names(place, tmp_path):
    printed = run(sys.executable, "-c", USE, cwd=tmp_path, path=[place / "others", place / "wheel"])
    assert printed.splitlines() == [
        str(place / "wheel" / "sprache" / name) for name in ("__init__.py", "models/snns.py")
    ]


@pytest.mark.slow
def test_so_does_an_editable_install(place, tmp_path):
    """What ``pip install -e`` adds to Python's path is src."""
    printed = run(sys.executable, "-c", USE, cwd=tmp_path, path=[place / "others", REPO / "src"])
    assert printed.splitlines() == [
        str(REPO / name) for name in ("src/sprache/__init__.py", "models/snns.py")
    ]


@pytest.mark.slow
def test_its_programs_run(place, tmp_path):
    path = [place / "others", place / "wheel"]
    help_ = run(sys.executable, "-m", "sprache.training.results", "--help", cwd=tmp_path, path=path)
    assert "usage: python -m sprache.training.results" in help_
    assert "--compare" in help_
    sizes = ["--nb_epochs=1", "--nb_hiddens=4", "--nb_steps=10", "--backend=naive"]
    command = [sys.executable, "-m", "sprache", "--config=demo.yaml", *sizes, "--seed", "1", "2"]
    run(*command, "--jobs=2", "--new_exp_folder=out", cwd=tmp_path, path=path)
    assert len(list((tmp_path / "out").glob("*/summary.json"))) == 2
    drawn = "{dataset_name: {value: demo}, lr: {min: 0.001, max: 0.1}}"
    (tmp_path / "search.yaml").write_text(f"method: random\nrun_cap: 2\nparameters: {drawn}\n")
    command = [sys.executable, "-m", "sprache", "--config=search.yaml", *sizes]
    printed = run(*command, "--jobs=2", "--new_exp_folder=found", cwd=tmp_path, path=path)
    assert f"to train it: python -m sprache --config {tmp_path / 'found/best.yaml'}" in printed
