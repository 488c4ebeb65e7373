# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Find data files, unpack them once, and write files that are never incomplete."""

import errno
import glob
import gzip
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import threading
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from datasets.errors import DataError

BLOCK = 1 << 22
ARCHIVES = (".gz", ".zip")
PACKED = (*ARCHIVES, ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")  # what users unpack themselves
LEAST_SHOWN = 1 << 26  # bytes; smaller files are done before anyone could read a bar
LEFTOVER_AGE = 24 * 3600  # s without a write, after which no process is writing
UNDECODED = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}  # as Python reads such bytes
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def readable(name: str) -> str:
    """A name as text to print, write and compare: accents composed (NFC), in whichever form a disk
    has them, and bytes that are not UTF-8 read as Latin-1."""
    return unicodedata.normalize("NFC", name.translate(UNDECODED))


def refuse_file(folder: Path) -> None:
    """DataError for a file in place of a folder of data."""
    if folder.is_file():
        unpack = "unpack it, and " if folder.name.lower().endswith(PACKED) else ""
        raise DataError(f"{folder} is a file: {unpack}name the folder of the data")


def user_cache() -> list[Path]:
    """``$SPRACHE_CACHE``, else ``$XDG_CACHE_HOME/sprache``, else ``~/.cache/sprache``; no folder
    where it would lie in the home of a user who has none."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    place = os.environ.get("SPRACHE_CACHE") or os.path.join(base, "sprache")
    found = os.path.expanduser(place)
    return [] if found.startswith("~") else [Path(found)]


def cache_files(folder: Path, name: str) -> list[Path]:
    """Where a file ``name`` that is made from the data in ``folder`` may be kept, best first."""
    elsewhere = (cache / "frames" / path_digest(folder) / name for cache in user_cache())
    return [folder / ".frames" / name, *elsewhere]


def path_digest(path: Path) -> str:
    """Short name for a place on this machine, to distinguish equal file names in one folder."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when complete and on disk.

    Makes the folder. Whatever ends the block early, including an interrupt and SIGTERM, removes the
    file; for what a killed process leaves behind see `remove_leftovers`.
    Raises OSError where the folder cannot be made or written.
    """
    _refuse_read_only(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    writer = f"{platform.node()}-{os.getpid()}"
    temporary = path.with_name(f".{path.name}.{writer}-{secrets.token_hex(4)}.tmp")
    with _ended_by_exception():
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


class _EndedError(BaseException):
    """A signal that ends the process."""


@contextmanager
def _ended_by_exception() -> Iterator[None]:
    """Let a signal that would end the process at once unwind the block before it does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame) -> None:
        raise _EndedError(number)

    heard = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    except _EndedError as ended:
        signal.signal(ended.args[0], signal.SIG_DFL)
        os.kill(os.getpid(), ended.args[0])
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove temporary files that killed writers left in ``folder``, of the file ``name`` or all.

    A process of this machine is recognised by its number; what another machine left is removed
    after a day.
    """
    pattern = ".*" if name is None else f".{glob.escape(name)}.*"
    for leftover in folder.glob(f"{pattern}.tmp"):
        node, *numbers = leftover.name.rsplit("-", 2)
        with suppress(OSError, ValueError):
            here = node.endswith(f".{platform.node()}")
            gone = here and not _is_running(int(numbers[0]))
            if gone or time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                leftover.unlink()


def _is_running(number: int) -> bool:
    """Whether there is a process of that number on this machine."""
    if os.name == "nt":  # where os.kill would end it
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _refuse_read_only(folder: Path) -> None:
    """Root, the usual user in a container, could write even where permission was removed."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the folder is read-only", str(existing))


def require_room(folder: Path, nbytes: int) -> None:
    """OSError, as of a full disk, where ``folder`` has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        lack = f"{in_words(nbytes)} are needed, {in_words(free)} are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {lack}")


def in_words(nbytes: int) -> str:
    """'5.4 GB'"""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


def is_disk_full(error: OSError) -> bool:
    """Whether the disk is full, rather than not writable."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def find_file(folder: Path, name: str) -> Path | None:
    """``folder/name``, else its ``.gz``, else its ``.zip``; None where there is none of them."""
    candidates = [folder / name, *(folder / (name + suffix) for suffix in ARCHIVES)]
    return next((path for path in candidates if path.is_file()), None)


def unpacked(path: Path) -> Path:
    """The file itself, or what a ``.gz`` or ``.zip`` holds, unpacked on first use.

    It is unpacked beside the archive or, where that folder is read-only, in the user's cache
    folder. Raises DataError where the archive is truncated or damaged, or nowhere can be written.
    """
    if path.suffix not in ARCHIVES:
        return path
    stat = path.stat()
    name = path.name.removesuffix(path.suffix)
    version = f"{path_digest(path)}-{stat.st_size}-{stat.st_mtime_ns}"
    refusals = []
    elsewhere = (cache / "unpacked" / version / name for cache in user_cache())
    for target in (path.with_name(name), *elsewhere):
        try:
            if not target.is_file():
                unpack(path, target)
            return target
        except OSError as error:
            refusals.append(f"{target.parent}: {error.strerror or error}")
    raise DataError(
        f"cannot unpack {path} ({'; '.join(refusals)}): make room there or set SPRACHE_CACHE"
    )


def unpack(archive: Path, target: Path) -> None:
    """Unpack the file ``target.name`` of a ``.gz`` or ``.zip``, into its place when it is whole.

    Raises DataError where the archive is damaged, and OSError where ``target`` cannot be written.
    """
    with atomic_file(target) as output:
        require_room(target.parent, _unpacked_size(archive, target.name))
        output.writelines(_blocks(archive, target.name))


def _unpacked_size(archive: Path, member: str) -> int:
    """Bytes of a file in a ``.zip``; 0 where it is damaged, or the archive is another one."""
    try:
        with zipfile.ZipFile(archive) as contents:
            entries = contents.infolist()
    except (OSError, zipfile.BadZipFile):
        return 0
    return sum(entry.file_size for entry in entries if Path(entry.filename).name == member)


def _blocks(archive: Path, member: str) -> Iterator[bytes]:
    """The unpacked content, piece by piece."""
    try:
        with (
            open_with_bar(archive, f"unpacking {archive.name}") as raw,
            _open_stream(archive, raw, member) as stream,
        ):
            yield from iter(partial(stream.read, BLOCK), b"")
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(
            f"{archive} cannot be unpacked, it is truncated or damaged ({error}): download it again"
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} cannot be read ({error}): unpack it yourself") from error


def _open_stream(archive: Path, raw: BinaryIO, member: str) -> BinaryIO:
    if archive.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    contents = zipfile.ZipFile(raw)
    matches = [name for name in contents.namelist() if Path(name).name == member]
    if len(matches) != 1:
        raise DataError(f"{archive} holds {len(matches)} files named {member}, not one")
    return contents.open(matches[0])


@contextmanager
def open_with_bar(path: Path, description: str) -> Iterator[BinaryIO]:
    """Open a file to be read, with a progress bar where it is large enough to take time."""
    size = path.stat().st_size
    quiet = {"leave": False, "disable": None if size > LEAST_SHOWN else True}
    with (
        open(path, "rb") as file,
        tqdm.wrapattr(file, "read", total=size, desc=description, **quiet) as watched,
    ):
        yield watched


def progress(description: str, total: int, unit: str) -> tqdm:
    """A progress bar that goes when it is full; none where stderr is not a terminal."""
    return tqdm(desc=description, total=total, unit=unit, leave=False, disable=None)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the content of ``path``, in hexadecimal digits.

    It is noted in ``.frames/`` beside the file or, where that cannot be written, in the user's
    cache folder, and read back for as long as size and modification time stay the same.
    """
    known = known_sum(path)
    if known is not None:
        return known
    stat = path.stat()
    found = _hash(path)
    note = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": found}
    for target in cache_files(path.parent, f"{path.name}.sha256.json"):
        with suppress(OSError), atomic_file(target) as file:
            file.write(json.dumps(note).encode())
            break
    return found


def known_sum(path: Path) -> str | None:
    """The SHA-256 that was noted for the present state of ``path``, None where there is none."""
    stat = path.stat()
    for target in cache_files(path.parent, f"{path.name}.sha256.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(target.read_text(encoding="utf-8"))
            if (note["bytes"], note["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
                return note["sha256"]
    return None


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open_with_bar(path, f"checksum of {path.name}") as file:
        for block in iter(partial(file.read, BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()
