# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Get a published data set: ``python -m datasets.download shd|ssc|gsc|hd [--to FOLDER]``."""

if __name__ == "__main__":
    from parsers.start import start

    start()

import gzip
import os
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from datasets.errors import DataError
from datasets.files import open_with_bar, require_room, unpack
from datasets.transfer import DownloadError, Patience, fetch, md5_of, megabytes, part_of
from parsers.program import Parser, numeric, refuse, run_command

PROGRAM = "datasets.download"
REPO = Path(__file__).resolve().parents[1]
ZENKE_LAB = "https://zenkelab.org/datasets/"
TENSORFLOW = "http://download.tensorflow.org/data/"
TEMPORARY = ".unpacking-"
LOCK = ".download.lock"
MOST_SECONDS = 1e6  # longest timeout of a socket


@dataclass(frozen=True)
class Published:
    """A data set as it is published.

    ``archives`` maps names to MD5 checksums, None where there is none. ``lists`` are the files that
    name the recordings of an audio set; recordings lie below ``recordings``. ``default_folder`` is
    relative to the repository.
    """

    base_url: str
    default_folder: str
    archives: dict[str, str | None]
    lists: tuple[str, ...] = ()
    recordings: str = ""


PUBLISHED = {
    "shd": Published(
        ZENKE_LAB,
        "data/SHD",
        {
            "shd_train.h5.zip": "f3252aeb598ac776c1b526422d90eecb",
            "shd_test.h5.zip": "1503a5064faa34311c398fb0a1ed0a6f",
        },
    ),
    "ssc": Published(
        ZENKE_LAB,
        "data/SSC",
        {
            "ssc_train.h5.zip": "d102be95e7144fcc0553d1f45ba94170",
            "ssc_valid.h5.zip": "b4eee3516a4a90dd0c71a6ac23a8ae43",
            "ssc_test.h5.zip": "a35ff1e9cffdd02a20eb850c17c37748",
        },
    ),
    "gsc": Published(
        TENSORFLOW,
        "data/GSC",
        {"speech_commands_v0.02.tar.gz": None},
        lists=("validation_list.txt", "testing_list.txt"),
    ),
    "hd": Published(
        ZENKE_LAB,
        "data/HD",
        {"hd_audio.tar.gz": None},
        lists=("train_filenames.txt", "test_filenames.txt"),
        recordings="audio",
    ),
}
ALIASES = {"sc": "gsc"}


def download(name: str, folder: str | None, base_url: str | None, patience: Patience) -> None:
    """Download and unpack what is not there yet of a data set.

    Spiking sets end as .h5 files, audio sets as folders of recordings with the lists that name
    them. An archive that was downloaded is removed once it is unpacked; one that was already
    there is used and kept.

    ``name`` is a key of ``PUBLISHED``, ``base_url`` the address of the archives' folder; None for
    it and ``folder`` stands for what is published.

    Raises:
        DataError: the folder or the address cannot be used.
        DownloadError: the download failed, or is not what was published.
    """
    source = PUBLISHED[name]
    base_url = source.base_url if base_url is None else base_url
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).netloc:
        raise DataError(f"--base_url {base_url} is not an http:// or https:// address")
    folder = REPO / source.default_folder if folder is None else Path(os.path.expanduser(folder))
    with _locked(folder):
        for archive, md5 in source.archives.items():
            url = f"{base_url.rstrip('/')}/{archive}"
            get = _get_recordings if source.lists else _get_spikes
            get(source, url, folder / archive, md5, patience)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, keep other downloads out of it, and remove what they left half unpacked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        with lock:
            for leftover in folder.glob(f"{TEMPORARY}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            try:
                yield
            finally:
                with suppress(OSError):
                    (folder / LOCK).unlink()
    except Timeout:
        raise DataError(f"another download into {folder} is under way: wait for it") from None
    except OSError as error:
        raise DataError(f"cannot write to {folder} ({error.strerror or error})") from error


def _get_spikes(source, url, archive: Path, md5, patience) -> None:
    """One .h5 file from its .zip."""
    target = archive.with_suffix("")
    if target.exists():
        if (fault := _fault_of_hdf5(target)) is None:
            return print(f"{target} is already there")
        print(f"{target} is damaged ({fault}): getting it again")
    with _archive_in_place(url, archive, md5, patience):
        unpack(archive, target)
        if fault := _fault_of_hdf5(target):
            raise DownloadError(f"{archive} holds no valid {target.name} ({fault})")
    print(f"{target} is ready")


def _get_recordings(source, url, archive: Path, md5, patience) -> None:
    """Folders of recordings from their .tar.gz."""
    folder = archive.parent
    missing = _first_missing(source, folder)
    if missing is None:
        return print(f"{folder} is complete")
    if all((folder / name).exists() for name in source.lists):
        print(f"{folder} has no {missing}: getting it again")
    with (
        _archive_in_place(url, archive, md5, patience),
        tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as temporary,
    ):
        require_room(folder, archive.stat().st_size)  # at least
        with (
            open_with_bar(archive, f"unpacking {archive.name}") as raw,
            tarfile.open(fileobj=raw, mode="r:gz") as contents,
        ):
            contents.extractall(temporary, filter="data")
        root = Path(temporary)
        places = [root, *(path for path in root.iterdir() if path.is_dir())]
        home = next((place for place in places if (place / source.lists[0]).is_file()), root)
        if missing := _first_missing(source, home):
            raise DownloadError(f"{archive} holds no {missing}: it is not the published data set")
        # The lists last: a set counts as complete by them.
        for entry in sorted(home.iterdir(), key=lambda entry: entry.name in source.lists):
            place = folder / entry.name
            if entry.is_dir():
                shutil.copytree(entry, place, copy_function=os.replace, dirs_exist_ok=True)
            else:
                os.replace(entry, place)
    print(f"{folder} is ready")


@contextmanager
def _archive_in_place(url: str, archive: Path, md5: str | None, patience) -> Iterator[None]:
    """Download the archive unless it is there; one that was downloaded is removed after use."""
    is_new = not archive.exists()
    if not is_new and md5 is not None and md5_of(archive) != md5:
        print(f"{archive} is damaged: getting it again")
        is_new = True
    if is_new:
        part = part_of(archive)
        at = f", continuing at {megabytes(part.stat().st_size)}" if part.exists() else ""
        print(f"{archive.name} from {url}{at}")
        fetch(url, archive, md5, patience)
    else:
        print(f"{archive} is already there")
    try:
        yield
    except tarfile.FilterError as error:
        raise DownloadError(f"{archive} would write outside its folder ({error})") from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, DataError) as error:
        if is_new:
            archive.unlink()
            raise DownloadError(
                f"{archive} arrived damaged ({error}), and is removed: try again"
            ) from error
        raise DownloadError(f"{archive} is damaged ({error}): remove it and try again") from error
    except OSError as error:
        raise DownloadError(
            f"cannot unpack {archive} ({error.strerror or error}): {archive} is kept, make room "
            "and try again"
        ) from error
    if is_new:
        archive.unlink()


def _first_missing(source: Published, folder: Path) -> str | None:
    """A list, or a recording that one of them names, that is not there; None if all are."""
    for name in source.lists:
        if not (folder / name).is_file():
            return name
        for line in (folder / name).read_text(encoding="utf-8", errors="replace").split():
            places = (folder / line, folder / source.recordings / line)
            if not any(place.is_file() for place in places):
                return line
    return None


def _fault_of_hdf5(path: Path) -> str | None:
    """Why a file is not a valid .h5 of spikes; opening one compares its size with its header."""
    import h5py  # only here, so that --help answers at once

    try:
        with h5py.File(path) as file:
            absent = next((key for key in ("spikes", "labels") if key not in file), None)
    except OSError as error:
        return str(error).split("(")[-1].rstrip(")")
    return absent and f"no {absent} in it"


def command(argv: list[str] | None) -> int:
    """Do what the command line asks for; the exit status (1: the download failed)."""
    parser = Parser(
        PROGRAM,
        description="Download and unpack a data set. An interrupted download resumes where "
        "it stopped; files that exist are kept.",
    )
    parser.add_argument("name", choices=[*PUBLISHED, *ALIASES], help="sc is another name for gsc")
    parser.add_argument(
        "--to", metavar="FOLDER", help="where the data go [default: data/SHD etc. by data set]"
    )
    parser.add_argument(
        "--base_url", "--base-url", metavar="URL", help="another server with the same files"
    )
    parser.add_argument(
        "--timeout",
        type=numeric(float, 1e-3, MOST_SECONDS),
        default=Patience.timeout,
        help="seconds without a byte after which to connect again [default: %(default)g]",
    )
    parser.add_argument(
        "--retries",
        type=numeric(int, 0),
        default=Patience.retries,
        help="attempts in a row without a byte before giving up [default: %(default)s]",
    )
    arguments = parser.parse_args(argv)
    patience = Patience(arguments.timeout, arguments.retries)
    name = ALIASES.get(arguments.name, arguments.name)
    try:
        download(name, arguments.to, arguments.base_url, patience)
    except DownloadError as error:
        refuse(PROGRAM, str(error))
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status (2: a mistake in it, 1: the download failed)."""
    kept = "interrupted; the part received is kept, and the same command continues"
    return run_command(PROGRAM, lambda: command(argv), interrupted=kept)


if __name__ == "__main__":
    sys.exit(main())
