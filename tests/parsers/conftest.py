# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

from pathlib import Path
from types import SimpleNamespace

import pytest

from parsers import load
from parsers.load import ConfigError, load_plan


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository with a configs folder, and another folder as the working directory."""
    configs, cwd = tmp_path / "repo" / "configs", tmp_path / "elsewhere"
    configs.mkdir(parents=True)
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(load, "REPOSITORY", configs.parent)

    def write(text: str | bytes, name: str = "mine.yaml") -> Path:
        path = configs / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def plan(*argv: str):
        return load_plan(list(argv))

    def error(*argv: str) -> str:
        """The message of the ConfigError that these arguments raise, checked for its form."""
        with pytest.raises(ConfigError) as caught:
            plan(*argv)
        message = str(caught.value)
        assert message
        assert len(message.splitlines()) == 1
        return message

    return SimpleNamespace(
        root=configs.parent, configs=configs, cwd=cwd, write=write, plan=plan, error=error
    )
