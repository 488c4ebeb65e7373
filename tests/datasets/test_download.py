# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole data sets from a server on this machine, and all that can be wrong with them."""

import errno
import hashlib
import io
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from datasets import download, files
from datasets.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
NOISE = random.Random(0).randbytes(300_000)


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
        assert out.count("is there") == 2

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

    def test_wrong_bytes(self, command, shd, server, tmp_path):
        server.files["shd_train.h5.zip"] = NOISE
        status, _, err = command("shd")
        assert status == 1
        assert "not the published file" in err
        assert contents(tmp_path / "data") == {}

    def test_a_disk_that_fills_up_keeps_the_archive(self, command, shd, tmp_path, monkeypatch):
        def disk_full(number):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", disk_full)
        status, _, err = command("shd")
        assert status == 1
        assert "No space left on device" in err
        assert "make room" in err
        assert contents(tmp_path / "data").keys() == {"shd_train.h5.zip"}


class TestAudioSets:
    def test_words_and_lists(self, command, gsc, tmp_path):
        assert command("gsc")[0] == 0
        expected = {name.removeprefix("./"): content for name, content in WORDS.items()}
        assert contents(tmp_path / "data") == expected

    def test_sc_is_another_name(self, command, gsc, server, tmp_path):
        command("gsc")
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
        "damage",
        [lambda c: c[: len(c) // 2], lambda c: c[:60] + bytes(40) + c[100:], lambda _: b""],
    )
    def test_a_damaged_archive_leaves_nothing_behind(self, command, server, tmp_path, damage):
        server.files["speech_commands_v0.02.tar.gz"] = damage(tarred(WORDS))
        status, _, err = command("gsc")
        assert status == 1
        assert "damaged" in err
        assert contents(tmp_path / "data") == {}

    def test_a_damaged_archive_of_the_user_is_not_removed(self, command, tmp_path):
        (tmp_path / "data").mkdir()
        archive = tmp_path / "data" / "speech_commands_v0.02.tar.gz"
        archive.write_bytes(tarred(WORDS)[:100])
        status, _, err = command("gsc")
        assert status == 1
        assert f"{archive} is damaged" in err
        assert archive.exists()

    def test_an_archive_of_something_else(self, command, server):
        server.files["speech_commands_v0.02.tar.gz"] = tarred({"a/b.txt": b"x"})
        status, _, err = command("gsc")
        assert status == 1
        assert "holds no validation_list.txt" in err

    def test_leftovers_of_a_killed_download_go(self, command, gsc, tmp_path):
        leftover = tmp_path / "data" / ".unpacking-abc"
        (leftover / "yes").mkdir(parents=True)
        assert command("gsc")[0] == 0
        assert not leftover.exists()


class TestCommand:
    @pytest.mark.parametrize(
        ("argv", "named"),
        [
            ([], "name"),
            (["mnist"], "'mnist'"),
            (["shd", "--too", "x"], "--too"),
            (["shd", "--timeout", "0"], "--timeout"),
            (["shd", "--retries", "x"], "--retries"),
            (["shd", "--base-url", "ftp://a/"], "ftp://a/ is no http"),
            (["shd", "--base-url", "zenke"], "zenke is no http"),
        ],
    )
    def test_mistakes_are_one_line(self, argv, named, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert download.main(argv) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert named in err

    def test_a_folder_that_is_a_file(self, command, tmp_path):
        (tmp_path / "data").write_text("")
        status, _, err = command("shd")
        assert status == 2
        assert "cannot write to" in err

    def test_two_downloads_into_one_folder(self, command, tmp_path):
        (tmp_path / "data").mkdir()
        with download.FileLock(tmp_path / "data" / download.LOCK):
            status, _, err = command("shd")
        assert status == 2
        assert "another download" in err

    def test_a_missing_file(self, command):
        status, _, err = command("gsc")
        assert status == 1
        assert "404" in err

    def test_help_is_quick(self):
        code = (
            "import sys\n"
            "try: import datasets.download as d; d.main(['--help'])\n"
            "except SystemExit: pass\n"
            "assert 'torch' not in sys.modules and 'h5py' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True, capture_output=True)

    def test_an_interrupt_keeps_what_came(self, server, tmp_path):
        server.files["speech_commands_v0.02.tar.gz"] = NOISE
        server.stalls = 1
        argv = ["gsc", "--to", str(tmp_path / "data"), "--base-url", server.url]
        process = subprocess.Popen(
            [sys.executable, "-m", "datasets.download", *argv],
            cwd=REPO,
            stderr=subprocess.PIPE,
            # A shell that runs the tests in the background has them, and this, ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        path = tmp_path / "data" / "speech_commands_v0.02.tar.gz.part"
        deadline = time.monotonic() + 20
        while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert err.decode().count("\n") == 1
        assert "the same command continues" in err.decode()
        assert NOISE.startswith(path.read_bytes())


def test_the_folders_are_those_the_readers_look_into():
    for name in ("shd", "ssc"):
        assert download.PUBLISHED[name].default_folder == DATASETS[name].default_folder
        files = {f"{name}_{split}.h5.zip" for split in DATASETS[name].splits}
        assert download.PUBLISHED[name].archives.keys() == files
    for name, key in (("gsc", "sc"), ("hd", "hd")):
        assert download.PUBLISHED[name].default_folder == DATASETS[key].default_folder
