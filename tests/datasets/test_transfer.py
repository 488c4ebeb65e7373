# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One file from a server that cuts, stalls, refuses and lies."""

import hashlib
import random
from pathlib import Path

import pytest

from datasets import transfer
from datasets.transfer import DownloadError, Patience, fetch

CONTENT = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = Patience(timeout=0.3, retries=2, pause=0.01)


@pytest.fixture
def get(server, tmp_path, said):
    """Fetch CONTENT as 'file'; the target."""
    server.files["file"] = CONTENT

    def call(md5=MD5) -> Path:
        fetch(f"{server.url}/file", tmp_path / "file", md5, QUICK, said)
        return tmp_path / "file"

    return call


def part(tmp_path) -> Path:
    return tmp_path / "file.part"


class TestTransfer:
    def test_a_file_comes_whole(self, get, tmp_path, said):
        assert get().read_bytes() == CONTENT
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert said == []

    def test_a_cut_connection_is_taken_up_where_it_ended(self, get, server, said):
        server.cuts = [100_000, 50_000]
        assert get().read_bytes() == CONTENT
        assert server.ranges() == [None, "bytes=100000-", "bytes=150000-"]
        assert len(said.about("the connection was cut")) == 2

    def test_without_any_length_the_checksum_tells_that_a_file_is_cut(self, get, server, tmp_path):
        server.tells_length = False
        server.cuts = [100_000]
        with pytest.raises(DownloadError, match="not the published file"):
            get()
        assert not part(tmp_path).exists()

    def test_any_progress_renews_the_patience(self, get, server):
        server.cuts = [20_000] * 10
        assert get().read_bytes() == CONTENT

    def test_no_progress_ends_it(self, get, server, tmp_path):
        server.cuts = [100_000, *[0] * 20]
        with pytest.raises(DownloadError, match=r"cut, 3 times in a row; 0.1 MB are kept"):
            get()
        assert part(tmp_path).read_bytes() == CONTENT[:100_000]
        server.cuts = []
        assert get().read_bytes() == CONTENT
        assert server.ranges()[-1] == "bytes=100000-"

    def test_a_stall_ends_an_attempt(self, get, server, said):
        server.stalls = 1
        assert get().read_bytes() == CONTENT
        assert said.about("no data for 0.3 s at 0.1 MB")
        assert server.ranges() == [None, "bytes=150000-"]

    def test_a_server_without_ranges_starts_again(self, get, server, said):
        server.knows_ranges = False
        server.cuts = [100_000]
        assert get().read_bytes() == CONTENT
        assert said.about("cannot resume in the middle")

    def test_a_server_without_ranges_that_always_cuts_is_given_up(self, get, server):
        server.knows_ranges = False
        server.cuts = [100_000] * 20
        with pytest.raises(DownloadError, match="3 times in a row"):
            get()
        assert len(server.asked) == 3

    def test_wrong_bytes_are_removed(self, get, server, tmp_path):
        server.files["file"] = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
        with pytest.raises(DownloadError, match="not the published file") as caught:
            get()
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_without_checksum_is_held_to_its_size(self, get, server):
        server.cuts = [1000]
        assert get(md5=None).read_bytes() == CONTENT

    def test_a_part_that_is_complete_is_only_verified(self, get, tmp_path):
        part(tmp_path).write_bytes(CONTENT)
        assert get().read_bytes() == CONTENT

    def test_a_part_that_is_too_long_starts_again(self, get, tmp_path, said):
        part(tmp_path).write_bytes(CONTENT + b"more")
        assert get().read_bytes() == CONTENT
        assert said.about("longer than the file")

    def test_a_missing_file_is_not_asked_for_again(self, get, server):
        del server.files["file"]
        with pytest.raises(DownloadError, match="/file: the server answers 404"):
            get()
        assert len(server.asked) == 1

    def test_a_busy_server_is_asked_again(self, get, server, said):
        server.statuses = [503, 429]
        assert get().read_bytes() == CONTENT
        assert len(said) == 2

    def test_no_server(self, server, tmp_path, said):
        server.server_close()
        with pytest.raises(DownloadError, match=r"no connection .*refused"):
            fetch(f"{server.url}/file", tmp_path / "file", None, QUICK, said)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_told_before_anything_is_written(self, get, tmp_path, monkeypatch):
        usage = transfer.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(DownloadError, match=r"needs 0.3 MB more .* --to"):
            get()
        assert not part(tmp_path).exists()

    def test_a_folder_that_cannot_be_written(self, server, tmp_path, said):
        server.files["file"] = CONTENT
        (tmp_path / "file.part").mkdir()
        with pytest.raises(DownloadError, match="cannot write"):
            fetch(f"{server.url}/file", tmp_path / "file", None, QUICK, said)
