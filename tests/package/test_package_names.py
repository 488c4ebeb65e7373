# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What ``import sprache`` gives, and how the repository becomes that package."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement

import sprache
from models.snns import SNN
from sprache import _checkout
from tests.analysis.conftest import write_run

REPO = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted(
    path
    for part in _checkout.PARTS
    for path in [REPO / f"{part}.py", *(REPO / part).rglob("*.py")]
    if path.is_file()
)
FOLDERS = {path.name for path in REPO.iterdir() if (path / "__init__.py").is_file()}


def imports(source: str) -> list[tuple[int, str]]:
    """The line and name of all that a source imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.module))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPO)))
def test_inside_the_package_modules_import_from_it(path):
    """By a parser of Python, every import of ours is from ``sprache``; so are commands."""
    source = path.read_text(encoding="utf-8")
    expected = [
        (line, f"sprache.{name}" if name.partition(".")[0] in _checkout.PARTS else name)
        for line, name in imports(source)
    ]
    inside = _checkout.inside(source)
    assert imports(inside) == expected
    outside = re.sub(r"(\bfrom |\bimport |\bpython -m |\bPROGRAM = \")sprache\.", r"\1", inside)
    outside = outside.replace('PROGRAM = "sprache"', 'PROGRAM = "main.py"')
    assert outside.replace("python -m sprache", "python main.py") == source
    assert not {name.partition(".")[0] for _, name in expected} & (FOLDERS | {"main"})


def test_inside_the_package_users_are_told_its_commands():
    told = (
        'PROGRAM = "training.verify"\n'
        'PROGRAM = "main.py"\n'
        'say("python -m analysis.report, python main.py --help")\n'
    )
    assert _checkout.inside(told) == (
        'PROGRAM = "sprache.training.verify"\n'
        'PROGRAM = "sprache"\n'
        'say("python -m sprache.analysis.report, python -m sprache --help")\n'
    )


def test_in_a_program_that_has_the_modules_already_they_are_the_same():
    assert sprache.SNN is SNN


@pytest.mark.parametrize("first", [["sprache"], []])
def test_modules_have_one_set_of_classes_in_any_order(first, tmp_path):
    """Neither a second set nor modules of the repository where others have their names."""
    other = tmp_path / "datasets.py"
    other.write_text("registry = 'of another package'\n")
    later = ["models.streaming", "sprache.datasets.registry", "datasets", "sprache.main", "main"]
    lines = [f"import {name}" for name in (*first, *later)]
    lines += [
        "from models.snns import SNN",
        "assert sprache.SNN is SNN and sprache.main is main",
        "assert datasets.registry == 'of another package'",
        "assert sprache.datasets.registry.DATASETS",
        "models.streaming.fold_batchnorm(sprache.SNN((None, None, 9), [8, 3], 'LIF').eval())",
    ]
    path = os.pathsep.join(map(str, (tmp_path, REPO, REPO / "src")))
    command = [sys.executable, "-c", "\n".join(lines)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_is_there():
    for module in (sprache, sprache.layers, sprache.dynamics):
        assert sorted(module.__all__) == sorted(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_packages_it_needs_are_those_of_the_requirements():
    extras = PROJECT["optional-dependencies"].values()
    needed = map(Requirement, chain(PROJECT["dependencies"], *extras))
    needed = {requirement.name: requirement for requirement in needed}
    text = (REPO / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.M))
    assert pinned.keys() == needed.keys()
    assert all(needed[name].specifier.contains(version) for name, version in pinned.items())


def test_the_version_is_that_of_the_citation():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == citation["version"]


@pytest.mark.parametrize("model", ["SiLIF+LIF", "RLIF", "CSiLIF", "GRU", "S4D", "SpikingS4D"])
def test_load_opens_a_run_of_any_model(model, tmp_path):
    run = write_run(tmp_path / "run", classes=5, model_type=model, init_state="zero")
    net = sprache.load(run)
    assert net.classes == ["0", "1", "2", "3", "4"]  # nothing says their names
    assert not net.training
    assert net(torch.rand(2, 7, 140))[0].shape == (2, 5)
    (run / "data.json").write_text(
        '{"classes": ["a", "b", "c", "d", "e"], "clips": {}, "checksums": {}}'
    )
    assert sprache.load(str(run)).classes == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        (sprache.SNN, "silif", "SiLIF"),
        (sprache.SNN, "c-SILIF+lif", "CSiLIF+LIF"),
        (sprache.SNN, ["SiLIF", "LIF"], "SiLIF+LIF"),
        (sprache.ANN, "ligru", "LiGRU"),
        (sprache.SSM, "SPIKINGS4D", "SpikingS4D"),
    ],
)
def test_names_of_models_are_found_in_any_case(kind, name, found):
    net = kind((None, None, 5), [6, 6, 3], name)
    assert (net.ann_type if kind is sprache.ANN else net.neuron_type) == found
    with pytest.raises(ValueError, match="_type 'GLIF' is not one of"):
        kind((None, None, 5), [6, 6, 3], "GLIF")


def test_a_reference_model_names_what_it_hears():
    net = sprache.load("demo_LIF")
    data = sprache.load_data(["test"], dataset_name="demo", nb_steps=100)
    assert list(net.classes) == data.classes
    x, y = data.test.batch(torch.arange(0, 320, 5))
    with torch.no_grad():
        heard = net(x)[0].argmax(dim=1)
    assert (heard == y).float().mean() > 0.7
    assert data.train is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sprache.load("no_such_run"), "pretrained model no_such_run is not a folder"),
        (lambda: sprache.load_data(dataset="demo"), "unknown option 'dataset'"),
        (lambda: sprache.load_data(dataset_name="sc", data_folder="nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sprache.UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
