# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fixtures for the tests of the data readers."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback_server import Server
from shd_files import random_clips, write_spikes


class Said(list):
    """Collects the lines that the code under test says."""

    def __call__(self, line: str) -> None:
        assert "\n" not in line
        self.append(line)

    def about(self, words: str) -> list[str]:
        return [line for line in self if words in line]


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch) -> Path:
    """No test writes to the cache folder of the person who runs it."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SPRACHE_CACHE", str(folder))
    return folder


@pytest.fixture
def spikes(tmp_path) -> Callable[..., Path]:
    """Writes a file of random clips, with what the test replaces; None leaves an entry out."""

    def make(name: str = "shd_train.h5", **changed) -> Path:
        contents = random_clips() | changed
        kept = {key: value for key, value in contents.items() if value is not None}
        return write_spikes(tmp_path / name, kept)

    return make


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A web server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    # Polls for its end every 10 ms.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.let_go.set()
    server.shutdown()
    server.server_close()
