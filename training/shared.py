# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs that others share: a zip archive, or the address of one, as a folder on this machine.

    RUN.zip    RUN.zip#sha256=HEX    https://HOST/RUN.zip#sha256=HEX

An archive is unpacked once, into the user's cache folder under its SHA-256, and nothing in it is
run: checkpoints are read as tensors only (``weights_only``).
"""

import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from datasets.errors import DataError
from datasets.files import in_words, progress, require_room, sha256_of_file, user_cache
from datasets.transfer import DownloadError, Patience, fetch
from training.record.checkpoint import BEST, LAST

SHARED = re.compile(r"(?P<place>https?://[^#]+|.+\.zip)(?:#(?P<fragment>.*))?", re.IGNORECASE)
SUM = re.compile(r"sha256=([0-9a-f]{64})", re.IGNORECASE)
MOST_BYTES, MOST_FILES = 8 << 30, 10_000  # of an archive of one run, unpacked
PATIENCE = Patience(retries=3)


def is_shared(name: str | Path) -> bool:
    """Whether ``name`` is an address, or that of an archive, rather than of a folder."""
    return SHARED.fullmatch(str(name)) is not None and not os.path.isdir(name)


def local_run(name: str | Path) -> str | Path:
    """The folder of a shared run, which is downloaded and unpacked on first use; any other ``name``
    as it is.

    Raises DataError where the archive cannot be had, is not the one of the checksum, or holds
    anything but one run. The address of an archive must come with its checksum.
    """
    if not is_shared(name):
        return name
    found = SHARED.fullmatch(str(name))
    place, fragment = found["place"], found["fragment"]
    wanted = fragment and SUM.fullmatch(fragment)
    if fragment is not None and not wanted:
        raise DataError(f"{name}: what follows # must be sha256= and 64 hexadecimal digits")
    wanted = wanted[1].lower() if wanted else None
    if not user_cache():
        raise DataError(f"there is no folder to unpack {place} into: name one by SPRACHE_CACHE")
    shelf = user_cache()[0] / "models"
    if wanted and (run := _run_in(shelf / wanted, missing_ok=True)):
        return run
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        if "://" in place:
            archive = _download(place, wanted, shelf)
        else:
            archive = Path(os.path.expanduser(place))
            if not archive.is_file():
                raise DataError(f"there is no archive {archive}")
        digest = sha256_of_file(archive)
        if wanted not in (None, digest):
            raise DataError(f"{archive} is not the archive that was meant: its SHA-256 is {digest}")
        if not (shelf / digest).is_dir():
            _unpack(archive, shelf / digest)
    except OSError as error:
        raise DataError(f"cannot write to {shelf} ({error.strerror or error})") from error
    if "://" in place:
        archive.unlink(missing_ok=True)
    return _run_in(shelf / digest, place)


def with_local_runs(argv: Sequence[str]) -> list[str]:
    """A command line of main.py with folders in place of shared runs that it tests."""
    if not any(flag.split("=")[0] == "--evaluate_pretrained" for flag in argv):
        return list(argv)
    flag, found = "--load_exp_folder", []
    for before, text in zip(["", *argv], argv, strict=False):
        is_value = before.startswith("--") and "=" not in before
        if text.startswith(f"{flag}="):
            text = f"{flag}={local_run(text.removeprefix(f'{flag}='))}"
        elif not text.startswith("--") and (before == flag or not is_value):
            text = str(local_run(text))
        found.append(text)
    return found


def _download(address: str, wanted: str | None, shelf: Path) -> Path:
    """The archive at an address, whole and checked."""
    parts = urlsplit(address)
    if wanted is None:
        raise DataError(
            f"{address} needs the SHA-256 of the archive: add #sha256=HEX, which sha256sum prints"
        )
    if not parts.netloc:
        raise DataError(f"{address} is not an http:// or https:// address of an archive")
    archive = shelf / f"{wanted}.zip"
    if not archive.exists():
        print(f"{unquote(PurePosixPath(parts.path).name)} from {parts.netloc}")
        try:
            fetch(address, archive, None, PATIENCE)
        except DownloadError as error:
            raise DataError(str(error)) from error
    if (digest := sha256_of_file(archive)) != wanted:
        archive.unlink()
        raise DataError(f"{address} is not the archive that was meant: its SHA-256 is {digest}")
    return archive


def _unpack(archive: Path, target: Path) -> None:
    """Unpack an archive as the folder ``target``, whole or not at all; it writes nowhere else."""
    try:
        with (
            zipfile.ZipFile(archive) as content,
            tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target.parent) as temporary,
        ):
            entries = [entry for entry in content.infolist() if not entry.is_dir()]
            for entry in entries:
                _refuse_outside(entry, archive)
            size = sum(entry.file_size for entry in entries)
            if size > MOST_BYTES or len(entries) > MOST_FILES:
                held = f"{len(entries):,} files, {in_words(size)}"
                raise DataError(f"{archive} holds more than a run: {held}")
            require_room(target.parent, size)
            (place := Path(temporary, "run")).mkdir()
            with progress(f"unpacking {archive.name}", len(entries), "file") as bar:
                for entry in entries:
                    content.extract(entry, place)
                    bar.update()
            if not target.exists():
                os.replace(place, target)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is no zip archive, or is damaged ({error})") from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed in another way
        raise DataError(f"{archive} cannot be unpacked ({error})") from error


def _refuse_outside(entry: zipfile.ZipInfo, archive: Path) -> None:
    """DataError for a file that would lie outside the folder, or is a link."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    is_drive = re.match(r"[A-Za-z]:", entry.filename) is not None
    if path.is_absolute() or ".." in path.parts or is_drive:
        raise DataError(f"{archive} would write outside its folder ({entry.filename})")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{archive} holds a link ({entry.filename}): pack the files themselves")


def _run_in(folder: Path, archive: str = "", *, missing_ok: bool = False) -> Path | None:
    """The one run in an unpacked archive, at any depth: `zip -r` keeps the folders above it."""
    if not folder.is_dir() and missing_ok:
        return None
    found = {path.parent.parent for name in (BEST, LAST) for path in folder.rglob(str(name))}
    runs = [run for run in sorted(found) if found.isdisjoint(run.parents)]  # none within a run
    if len(runs) != 1:
        held = f"{len(runs)} runs, not one" if runs else f"no run: nothing in it is {BEST}"
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"{archive or folder} holds {held}; pack the folder of one run")
    return runs[0]
