# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whatever a config or a command line says: runs that are in order, or one line."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.load import OPTIONS, Config, ConfigError, load_plan

FEW = settings(max_examples=40, derandomize=True, deadline=None, database=None)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1e-3", "0x10", "1_000", "-0", "~", "LIF", "shd", "auto", "../..", "a\nb"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
names = st.sampled_from([*OPTIONS, "parameters", "by_model", "lrr"])


def outcome(*argv):
    """Check the plan of a command line, or the one line that refuses it."""
    line = None
    try:
        plan = load_plan(list(argv))
    except ConfigError as error:
        line = str(error)
    if line is not None:
        assert line.strip()
        assert len(line.splitlines()) == 1
        return
    for point in plan.points:
        point.check()
        assert Config.from_dict(point.to_dict()) == point


@FEW
@given(content=st.dictionaries(names, values, max_size=4))
def test_any_options(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8", errors="replace")
    outcome("--config", str(path))


@FEW
@given(arguments=st.lists(st.sampled_from([*(f"--{n}" for n in OPTIONS), "--lr=1"]) | st.text()))
def test_any_command_line(arguments):
    if not {"-h", "--help"} & set(arguments):
        outcome(*arguments)
