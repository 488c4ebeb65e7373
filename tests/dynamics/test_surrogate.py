# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The surrogates' formulas, and one more, added as models/dynamics/README.md says."""

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.surrogate import Surrogate, spike, surrogate

REPO = Path(__file__).resolve().parents[2]
FOLDER = "models/dynamics"
PEAKS = {  # at the threshold, of the default width
    "boxcar": 1, "triangle": 1, "atan": 1, "slayer": 1, "gaussian": 0.79788456,
    "double_gaussian": 0.43883651, "multi_gaussian": 0.87822327,
}  # fmt: skip


def derivative(x, which):
    x = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    spike(x, which).backward()
    return x.grad.item()


@pytest.mark.parametrize("name", PEAKS)
def test_surrogates_are_even_and_published_at_their_default_width(name):
    which = surrogate(name)
    assert derivative(0, which) == pytest.approx(PEAKS[name], rel=1e-7)
    for x in (0.1, 0.37, 1.4):
        assert derivative(x, which) == derivative(-x, which)
        wider = surrogate(name, 3 * which.width)
        scale = 1 if name in ("boxcar", "triangle") else 3
        assert scale * derivative(3 * x, wider) == pytest.approx(derivative(x, which))


def test_values_of_published_surrogates():
    assert derivative(0.5, surrogate("triangle")) == 0.5
    alpha = 5  # Fang et al. 2021
    expected = alpha / 2 / (1 + (math.pi / 2 * alpha * 0.3) ** 2)
    assert derivative(0.3, surrogate("atan", 2 / alpha)) == pytest.approx(expected)
    assert derivative(0.3, surrogate("slayer")) == pytest.approx(math.exp(-5 * 0.3))
    assert derivative(2.0, surrogate("double_gaussian")) < 0
    assert derivative(2.0, surrogate("multi_gaussian")) < 0


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="surrogate 'sigmoid' is not one of boxcar, triangle"):
        surrogate("sigmoid")
    for width in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="width of a surrogate must be a positive number"):
            surrogate("atan", width)
    assert surrogate("atan", 2) == Surrogate("atan", 2.0)


CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
from against_naive import *
run = functools.partial(run_adaptive, surrogate=surrogate("fast_sigmoid"))
for backend in sys.argv[2:]:
    assert_like_naive(run, backend, adaptive_inputs(2, 9, 8, adapts=False))
    print(backend)
"""


def test_one_more_is_added_as_documented(tmp_path):
    """In a copy of the package, each line behind what the text in front of it names."""
    pytest.importorskip("numba")
    shutil.copytree(REPO / "models", tmp_path / "models")
    section = (REPO / FOLDER / "README.md").read_text().split("### A new surrogate\n")[1]
    lines = re.findall(r"```text\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    for line, (file, end) in zip(
        lines,
        [
            ("models/surrogate.py", "}\n\n\ndef surrogate"),
            (f"{FOLDER}/numba_support.py", "}  # fmt: skip\n\n\n@cache"),
            (f"{FOLDER}/triton_support.py", ")  # fmt: skip\n\n\n@triton.jit\ndef place"),
            (f"{FOLDER}/triton_support.py", "        else 1.15"),
        ],
        strict=True,
    ):
        path = tmp_path / file
        before, found, after = path.read_text().partition(end)
        assert found, end
        path.write_text(before + line + found + after)
    backends = ["cpu"]
    if subprocess.run([sys.executable, "-c", "import triton"], check=False).returncode == 0:
        backends.append("cuda")
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(REPO / "tests/dynamics"), *backends],
        cwd=tmp_path,
        env={"TRITON_INTERPRET": "1", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == backends, done.stderr
