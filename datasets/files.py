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
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from datasets.errors import DataError

REPO = Path(__file__).resolve().parents[1]
BLOCK = 1 << 22
ARCHIVES = (".gz", ".zip")
LEAST_SHOWN = 1 << 30  # bytes; smaller files are hashed before a bar could be read
PATIENCE = (30.0, 300.0)  # s without a sign of life, for small files and at most
BYTES_PER_SECOND = 1e6  # that the slowest disk gives
LEFTOVER_AGE = 24 * 3600  # s without a write, after which nothing is writing


def user_cache_folder() -> Path:
    """``$SPRACHE_CACHE``, else ``$XDG_CACHE_HOME/sprache``, else ``~/.cache/sprache``."""
    if os.environ.get("SPRACHE_CACHE"):
        return Path(os.environ["SPRACHE_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sprache"


def path_digest(path: Path) -> str:
    """Short name for a place on this machine, to distinguish equal file names in one folder."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when complete and on disk.

    Makes the folder. Whatever ends the block early, also an interrupt, removes the file; for what a
    killed process leaves see `remove_leftovers`.
    Raises OSError where the folder cannot be made or written.
    """
    _refuse_read_only(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    writer = f"{platform.node()}-{os.getpid()}"
    temporary = path.with_name(f".{path.name}.{writer}-{secrets.token_hex(4)}.tmp")
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


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed left of ``path``.

    One of this machine is known by its number; what another left is a leftover after a day.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        node, *numbers = leftover.name.removeprefix(f".{path.name}.").rsplit("-", 2)
        with suppress(OSError, ValueError):
            gone = node == platform.node() and not _is_running(int(numbers[0]))
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
    """Root, the usual user in a container, could write even where the owner took the right away."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the folder is read-only", str(existing))


def is_disk_full(error: OSError) -> bool:
    """Whether the space left on a disk, rather than the right to write there, ran out."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def find_file(folder: Path, name: str) -> Path | None:
    """``folder/name``, else its ``.gz``, else its ``.zip``; None where there is none of them."""
    candidates = [folder / name, *(folder / (name + suffix) for suffix in ARCHIVES)]
    return next((path for path in candidates if path.is_file()), None)


def unpacked(path: Path) -> Path:
    """The file itself, or what a ``.gz`` or ``.zip`` holds, unpacked on first use.

    It is unpacked beside the archive or, where that folder is read-only, in the user's cache
    folder.

    Raises:
        DataError: the archive is truncated or damaged, or nowhere can be written.
    """
    if path.suffix not in ARCHIVES:
        return path
    refusals = []
    for target in _unpack_targets(path):
        try:
            if not target.is_file():
                _unpack(path, target)
            return target
        except OSError as error:
            refusals.append(f"{target.parent}: {error.strerror or error}")
    raise DataError(
        f"cannot unpack {path} ({'; '.join(refusals)}): make room there or set SPRACHE_CACHE"
    )


def _unpack_targets(archive: Path) -> list[Path]:
    stat = archive.stat()
    name = archive.name.removesuffix(archive.suffix)
    version = f"{path_digest(archive)}-{stat.st_size}-{stat.st_mtime_ns}"
    return [archive.with_name(name), user_cache_folder() / "unpacked" / version / name]


def _unpack(archive: Path, target: Path) -> None:
    """Raises OSError only for what happens on the writing side."""
    with unpacking_bar(archive) as bar, atomic_file(target) as output:
        for block, position in _blocks(archive, target.name):
            output.write(block)
            bar.update(position - bar.n)


def unpacking_bar(archive: Path) -> tqdm:
    """A progress bar over the bytes of an archive."""
    return tqdm(
        total=archive.stat().st_size,
        desc=f"unpacking {archive.name}",
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None,  # no bar where stderr is not a terminal
    )


def _blocks(archive: Path, member: str) -> Iterator[tuple[bytes, int]]:
    """Unpacked blocks, each with the position reached in the archive."""
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(open(archive, "rb"))
            stream = stack.enter_context(_open_stream(archive, raw, member, stack))
            while block := stream.read(BLOCK):
                yield block, raw.tell()
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(
                f"{archive} cannot be unpacked, it is truncated or damaged ({error}): "
                "download it again"
            ) from error
        except (NotImplementedError, RuntimeError) as error:
            raise DataError(f"{archive} cannot be read ({error}): unpack it yourself") from error


def _open_stream(archive: Path, raw: BinaryIO, member: str, stack: ExitStack) -> BinaryIO:
    if archive.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    contents = stack.enter_context(zipfile.ZipFile(raw))
    matches = [name for name in contents.namelist() if Path(name).name == member]
    if len(matches) != 1:
        raise DataError(f"{archive} holds {len(matches)} files named {member}, not one")
    return contents.open(matches[0])


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
    for target in _notes(path):
        with suppress(OSError), atomic_file(target) as file:
            file.write(json.dumps(note).encode())
            break
    return found


def known_sum(path: Path) -> str | None:
    """The SHA-256 that was noted for the present state of ``path``, None where there is none."""
    stat = path.stat()
    for target in _notes(path):
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(target.read_text(encoding="utf-8"))
            if (note["bytes"], note["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
                return note["sha256"]
    return None


def _notes(path: Path) -> tuple[Path, Path]:
    name = f"{path.name}.sha256.json"
    elsewhere = user_cache_folder() / "frames" / path_digest(path.parent)
    return path.parent / ".frames" / name, elsewhere / name


def _hash(path: Path) -> str:
    digest, size = hashlib.sha256(), path.stat().st_size
    with (
        open(path, "rb") as file,
        tqdm(
            total=size,
            desc=f"checksum of {path.name}",
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None if size > LEAST_SHOWN else True,
        ) as bar,
    ):
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def check_new_files(paths: Iterable[Path], patience: float | None = None) -> None:
    """Read files in the SHD layout in a child process, unless they were read before.

    Args:
        paths: the files; those with a checksum on record, see `sha256_of_file`, are passed over.
        patience: seconds that the child may take for ``CHUNK_CLIPS`` clips; None: by their size.

    Raises:
        DataError: the HDF5 library dies of a file, or hangs.
    """
    new = [path for path in paths if known_sum(path) is None]
    if not new:
        return
    if patience is None:
        size = max(path.stat().st_size for path in new)
        patience = min(PATIENCE[0] + size / BYTES_PER_SECOND, PATIENCE[1])
    command = [sys.executable, "-m", "datasets.guard", *(str(path.absolute()) for path in new)]
    with subprocess.Popen(
        command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            last = _watch(child, new, patience)
        except BaseException:
            child.kill()
            raise
    if child.returncode < 0:
        cause = signal.strsignal(-child.returncode)
        raise DataError(
            f"{last} is damaged: the HDF5 library dies reading it ({cause}); download it again"
        )


def _watch(child: subprocess.Popen, paths: list[Path], patience: float) -> Path:
    """Show how far the child is, until it ends; the file it read last.

    Raises DataError if the child is silent for too long.
    """
    lines: queue.Queue[str] = queue.Queue()

    def pass_on() -> None:
        with suppress(ValueError):  # closed while it waited
            for line in child.stdout:
                lines.put(line)
        lines.put("")

    threading.Thread(target=pass_on, daemon=True).start()
    current = paths[0]
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(unit=" clips", leave=False, disable=None) as bar:
        try:
            while line := lines.get(timeout=patience):
                number, bar.n, bar.total = map(int, line.split())
                current = paths[number]
                bar.set_description(f"checking {current.name}")
        except queue.Empty:
            raise DataError(
                f"{current} is damaged: the HDF5 library hangs reading it; download it again"
            ) from None
    return current
