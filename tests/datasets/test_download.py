# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Single files and whole data sets from a server that cuts, stalls, refuses and lies."""

import errno
import hashlib
import io
import random
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from datasets import download, files, transfer
from datasets.registry import DATASETS
from datasets.transfer import DownloadError, Patience, fetch

NOISE = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(NOISE).hexdigest()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_h5", ".h5"), content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], *links: tuple[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return buffer.getvalue()


WORDS = {
    "./validation_list.txt": b"yes/a.wav\n",
    "./testing_list.txt": b"no/a.wav\n",
    "./yes/a.wav": b"1",
    "./yes/b.wav": b"2",
    "./no/a.wav": b"3",
    "./_background_noise_/hum.wav": b"4",
}


@pytest.fixture
def shd(server, spikes, monkeypatch):
    """A server that has shd, published with the right checksums; the .h5 by name."""
    files = {f"shd_{split}.h5": spikes(f"published_{split}.h5") for split in ("train", "test")}
    contents = {name: path.read_bytes() for name, path in files.items()}
    for path in files.values():
        path.unlink()
    checksums = {}
    for name, content in contents.items():
        archive = zipped(**{name.replace(".h5", "_h5"): content})
        server.files[f"{name}.zip"] = archive
        checksums[f"{name}.zip"] = hashlib.md5(archive).hexdigest()
    changed = replace(download.PUBLISHED["shd"], archives=checksums)
    monkeypatch.setitem(download.PUBLISHED, "shd", changed)
    return contents


@pytest.fixture
def gsc(server):
    server.files["speech_commands_v0.02.tar.gz"] = tarred(WORDS)


@pytest.fixture
def command(server, tmp_path, capsys):
    """Run the command on a folder and the server; (exit status, stdout, stderr)."""

    def call(name: str, *flags: str) -> tuple[int, str, str]:
        argv = [name, "--to", str(tmp_path / "data"), "--base-url", server.url]
        status = download.main([*argv, "--retries", "0", "--timeout", "0.5", *flags])
        out, err = capsys.readouterr()
        assert err.count("\n") <= 1
        return status, out, err

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestSpikingSets:
    def test_both_files_are_there_afterwards(self, command, shd, tmp_path):
        assert command("shd")[0] == 0
        assert contents(tmp_path / "data") == shd

    def test_what_is_there_is_not_asked_for(self, command, shd, server):
        command("shd")
        server.asked.clear()
        status, out, _ = command("shd")
        assert status == 0
        assert server.asked == []
        assert out.count("is already there") == 2

    def test_a_truncated_file_is_replaced(self, command, shd, server, tmp_path):
        command("shd")
        path = tmp_path / "data" / "shd_test.h5"
        path.write_bytes(path.read_bytes()[:-100])
        server.asked.clear()
        status, out, _ = command("shd")
        assert status == 0
        assert "shd_test.h5 is damaged (truncated" in out
        assert [name for name, _ in server.asked] == ["/shd_test.h5.zip"]
        assert contents(tmp_path / "data") == shd

    def test_an_archive_that_lies_there_is_used_and_kept(self, command, shd, server, tmp_path):
        (tmp_path / "data").mkdir()
        name = "shd_train.h5.zip"
        (tmp_path / "data" / name).write_bytes(server.files[name])
        assert command("shd")[0] == 0
        assert [asked for asked, _ in server.asked] == ["/shd_test.h5.zip"]
        assert contents(tmp_path / "data").keys() == {*shd, name}

    def test_an_archive_with_wrong_bytes_is_replaced(self, command, shd, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "shd_train.h5.zip").write_bytes(b"half an arch")
        status, out, _ = command("shd")
        assert status == 0
        assert "shd_train.h5.zip is damaged" in out
        assert contents(tmp_path / "data") == shd

    def test_a_disk_that_fills_up_keeps_the_archive(self, command, shd, tmp_path, monkeypatch):
        def disk_full(number):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", disk_full)
        status, _, err = command("shd")
        assert status == 1
        assert "No space left on device" in err
        assert "make room" in err
        assert contents(tmp_path / "data").keys() == {"shd_train.h5.zip"}

    @pytest.mark.parametrize("name", ["shd", "gsc"])
    def test_a_full_disk_is_seen_before_unpacking(
        self, command, shd, gsc, server, name, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(transfer, "_require_room", lambda *_: None)
        usage = files.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=100))
        status, _, err = command(name)
        assert status == 1
        assert re.search(r"are needed, 0\.0 MB are free\): .*/data/\S+ is kept, make room", err)
        (archive,) = contents(tmp_path / "data")
        assert archive in server.files


class TestAudioSets:
    def test_words_and_lists_are_downloaded_once(self, command, gsc, server, tmp_path):
        (tmp_path / "data" / ".unpacking-abc" / "yes").mkdir(parents=True)  # from a killed one
        assert command("gsc")[0] == 0
        expected = {name.removeprefix("./"): content for name, content in WORDS.items()}
        assert contents(tmp_path / "data") == expected
        assert not (tmp_path / "data" / ".unpacking-abc").exists()
        server.asked.clear()
        status, out, _ = command("sc")
        assert (status, server.asked) == (0, [])
        assert "is complete" in out

    def test_digits_in_a_folder_of_their_own(self, command, server, tmp_path):
        name = "lang-english_speaker-00_trial-0_digit-0.flac"
        files = {
            "hd/audio/" + name: b"1",
            "hd/train_filenames.txt": f"{name}\n".encode(),
            "hd/test_filenames.txt": f"{name}\n".encode(),
        }
        server.files["hd_audio.tar.gz"] = tarred(files)
        assert command("hd")[0] == 0
        expected = {path.removeprefix("hd/"): content for path, content in files.items()}
        assert contents(tmp_path / "data") == expected

    def test_a_missing_recording_is_brought_back_and_others_stay(self, command, gsc, tmp_path):
        command("gsc")
        folder = tmp_path / "data"
        (folder / "yes" / "a.wav").unlink()
        (folder / "yes" / "mine.wav").write_bytes(b"own")
        status, out, _ = command("gsc")
        assert status == 0
        assert "has no yes/a.wav" in out
        assert (folder / "yes" / "a.wav").read_bytes() == b"1"
        assert (folder / "yes" / "mine.wav").read_bytes() == b"own"

    @pytest.mark.parametrize(
        ("files", "links"),
        [
            ({**WORDS, "../evil": b"x"}, ()),
            ({**WORDS, "yes/../../evil": b"x"}, ()),
            (WORDS, (("yes/link", "/etc"),)),
            (WORDS, (("yes/link", "../../.."),)),
        ],
    )
    def test_nothing_is_written_outside_the_folder(self, command, server, tmp_path, files, links):
        server.files["speech_commands_v0.02.tar.gz"] = tarred(files, *links)
        status, _, err = command("gsc")
        assert status == 1
        assert "outside" in err
        assert not (tmp_path / "evil").exists()
        assert contents(tmp_path / "data").keys() == {"speech_commands_v0.02.tar.gz"}

    @pytest.mark.parametrize(
        ("archive", "message"),
        [
            (tarred(WORDS)[:100], "damaged"),
            (tarred(WORDS)[:60] + bytes(40) + tarred(WORDS)[100:], "damaged"),
            (b"", "damaged"),
            (tarred({"a/b.txt": b"x"}), "holds no validation_list.txt"),
        ],
        ids=["cut", "overwritten", "empty", "without lists"],  # of bytes that hold the time
    )
    @pytest.mark.parametrize("was_there", [False, True])
    def test_a_bad_archive_stays_only_if_it_was_there(
        self, command, server, tmp_path, archive, message, was_there
    ):
        name = "speech_commands_v0.02.tar.gz"
        if was_there:
            (tmp_path / "data").mkdir()
            (tmp_path / "data" / name).write_bytes(archive)
        server.files[name] = archive
        status, _, err = command("gsc")
        assert status == 1
        assert message in err
        stays = was_there or "holds" in message
        assert contents(tmp_path / "data") == ({name: archive} if stays else {})


class TestCommand:
    @pytest.mark.parametrize("url", ["ftp://a/", "zenke"])
    def test_an_address_that_is_no_web_address_is_refused(self, command, url):
        status, _, err = command("shd", "--base-url", url)
        assert status == 2
        assert f"{url} is not an http" in err

    def test_two_downloads_into_one_folder(self, command, tmp_path):
        (tmp_path / "data").mkdir()
        with download.FileLock(tmp_path / "data" / download.LOCK):
            status, _, err = command("shd")
        assert status == 2
        assert "another download" in err

    def test_an_interrupt_keeps_what_arrived(self, command, server, tmp_path, monkeypatch):
        server.files["speech_commands_v0.02.tar.gz"] = NOISE
        blocks = iter([NOISE[:1000]])

        def read(*_):
            for block in blocks:
                return block
            raise KeyboardInterrupt

        monkeypatch.setattr(transfer, "_read", read)
        status, _, err = command("gsc")
        assert status == 130
        assert "the same command continues" in err
        assert contents(tmp_path / "data") == {"speech_commands_v0.02.tar.gz.part": NOISE[:1000]}


def test_the_folders_are_those_the_readers_look_into():
    for name in ("shd", "ssc"):
        assert download.PUBLISHED[name].default_folder == DATASETS[name].default_folder
        files = {f"{name}_{split}.h5.zip" for split in DATASETS[name].splits}
        assert download.PUBLISHED[name].archives.keys() == files
    for name, key in (("gsc", "sc"), ("hd", "hd")):
        assert download.PUBLISHED[name].default_folder == DATASETS[key].default_folder


QUICK = Patience(timeout=0.3, retries=2, pause=0.01)


@pytest.fixture
def get(server, tmp_path, said, monkeypatch):
    """Fetches NOISE to a target."""
    monkeypatch.setattr(transfer, "print", said, raising=False)
    server.files["file"] = NOISE

    def call(md5=MD5) -> Path:
        fetch(f"{server.url}/file", tmp_path / "file", md5, QUICK)
        return tmp_path / "file"

    return call


def part(tmp_path) -> Path:
    return tmp_path / "file.part"


class TestTransfer:
    def test_a_file_arrives_whole(self, get, tmp_path, said):
        assert get().read_bytes() == NOISE
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert said == []

    @pytest.mark.parametrize("md5", [MD5, None])
    def test_a_cut_connection_is_resumed_where_it_ended(self, get, server, said, md5):
        server.cuts = [100_000, *[20_000] * 5]
        assert get(md5).read_bytes() == NOISE
        assert server.ranges()[:3] == [None, "bytes=100000-", "bytes=120000-"]
        assert len(said.about("the connection was cut")) == 6

    def test_without_any_length_the_checksum_tells_that_a_file_is_cut(self, get, server, tmp_path):
        server.tells_length = False
        server.cuts = [100_000]
        with pytest.raises(DownloadError, match="not the published file"):
            get()
        assert not part(tmp_path).exists()

    def test_attempts_without_progress_end_the_download(self, get, server, tmp_path):
        server.cuts = [100_000, *[0] * 20]
        with pytest.raises(DownloadError, match=r"cut, 3 times in a row; 0.1 MB are kept"):
            get()
        assert part(tmp_path).read_bytes() == NOISE[:100_000]
        server.cuts = []
        assert get().read_bytes() == NOISE
        assert server.ranges()[-1] == "bytes=100000-"

    def test_a_stall_ends_an_attempt(self, get, server, said):
        server.stalls = 1
        assert get().read_bytes() == NOISE
        assert said.about("no data for 0.3 s at 0.1 MB")
        assert server.ranges() == [None, "bytes=150000-"]

    def test_a_download_without_ranges_starts_over_a_few_times(self, get, server, said):
        server.knows_ranges = False
        server.cuts = [100_000] * 20
        with pytest.raises(DownloadError, match="3 times in a row"):
            get()
        assert len(server.asked) == 3
        assert said.about("cannot resume in the middle")
        server.cuts = []
        assert get().read_bytes() == NOISE

    def test_wrong_bytes_are_removed(self, get, server, tmp_path):
        server.files["file"] = bytes([NOISE[0] ^ 1]) + NOISE[1:]
        with pytest.raises(DownloadError, match="not the published file") as caught:
            get()
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("more", [b"", b"more"])
    def test_a_part_that_is_complete_or_too_long(self, get, tmp_path, said, more):
        part(tmp_path).write_bytes(NOISE + more)
        assert get().read_bytes() == NOISE
        assert len(said.about("longer than the file")) == bool(more)

    def test_a_missing_file_is_not_asked_for_again(self, get, server):
        del server.files["file"]
        with pytest.raises(DownloadError, match="/file: the server answers 404"):
            get()
        assert len(server.asked) == 1

    def test_a_busy_server_is_asked_again(self, get, server, said):
        server.statuses = [503, 429]
        assert get().read_bytes() == NOISE
        assert len(said) == 2

    def test_no_server(self, server, tmp_path):
        server.server_close()
        with pytest.raises(DownloadError, match=r"no connection .*refused"):
            fetch(f"{server.url}/file", tmp_path / "file", None, QUICK)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_reported_before_anything_is_written(self, get, tmp_path, monkeypatch):
        usage = transfer.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(DownloadError, match=r"needs 0.3 MB more .* --to"):
            get()
        assert not part(tmp_path).exists()
