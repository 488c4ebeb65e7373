# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One file over HTTP, resumed where it was cut: into ``NAME.part`` until it is complete."""

import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

BLOCK = 1 << 18
LONGEST_PAUSE = 60.0  # s between two attempts
WORTH_REPEATING = (408, 425, 429, 500, 502, 503, 504)  # HTTP status
CUT = (http.client.HTTPException, urllib.error.URLError, ConnectionError, TimeoutError)


class DownloadError(Exception):
    """Why a download failed, as one line for the user."""


@dataclass(frozen=True)
class Patience:
    """How long to keep trying: ``timeout`` s without a byte end an attempt, ``retries`` attempts in
    a row without a byte follow a first one, the first of them after ``pause`` s and each next one
    after twice as long."""

    timeout: float = 30.0
    retries: int = 5
    pause: float = 1.0


class _CutError(Exception):
    """An attempt that ended early, for a reason that may pass."""


def part_of(target: Path) -> Path:
    """Where an incomplete download of ``target`` lies."""
    return target.with_name(target.name + ".part")


def fetch(url: str, target: Path, md5: str | None, patience: Patience) -> None:
    """Download ``url`` to ``target``, in a folder that exists, continuing an earlier attempt.

    ``target`` appears when it is complete and has the published checksum ``md5`` in hexadecimal,
    where there is one.

    Raises DownloadError where the server refuses or stays silent, the checksum is wrong (the
    ``.part`` is removed), or the disk is full. In other cases the part received is kept.
    """
    part = part_of(target)
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(
        desc=target.name, unit="B", unit_scale=True, unit_divisor=1024, leave=False, disable=None
    ) as bar:
        try:
            _fetch_with_patience(url, part, patience, bar)
        except OSError as error:
            raise DownloadError(f"cannot write {part} ({error.strerror or error})") from error
    if md5 is not None and (found := md5_of(part)) != md5:
        part.unlink()
        raise DownloadError(
            f"{url} is not the published file (MD5 {found}, not {md5}), and was removed: "
            "try again, or use another --base_url"
        )
    os.replace(part, target)


def md5_of(path: Path) -> str:
    """The MD5 checksum of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _fetch_with_patience(url: str, part: Path, patience: Patience, bar: tqdm) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part, patience.timeout, bar)
        except _CutError as cut:
            failures = 1 if _size(part) > before else failures + 1
            if failures > patience.retries:
                kept = f"; {megabytes(_size(part))} are kept in {part}" if _size(part) else ""
                raise DownloadError(
                    f"{url}: {cut}, {failures} times in a row{kept}: try again later"
                ) from cut
            pause = min(patience.pause * 2 ** (failures - 1), LONGEST_PAUSE)
            print(f"{part.stem}: {cut} at {megabytes(_size(part))}, continuing in {pause:g} s")
            time.sleep(pause)


def _attempt(url: str, part: Path, timeout: float, bar: tqdm) -> None:
    """Append to ``part`` until it is complete; _CutError if the connection ends before."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "Sprache"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            start, total = _range_of(response)
            if start not in (0, have):
                raise DownloadError(f"{url}: the server sends a part that was not asked for")
            if start != have:
                print(f"{part.stem}: the server cannot resume in the middle; starting over")
            _require_room(part, start, total)
            bar.reset(total)
            bar.update(start)
            with open(part, "r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                while block := _read(response, timeout):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return  # all is there
            part.unlink()
            raise _CutError("the part from an earlier attempt is longer than the file") from error
        answer = f"the server answers {error.code} {error.reason}"
        if error.code in WORTH_REPEATING:
            raise _CutError(answer) from error
        raise DownloadError(f"{url}: {answer}") from error
    except http.client.InvalidURL as error:
        raise DownloadError(f"{url} is not a valid address ({error})") from error
    except CUT as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise DownloadError(f"{url}: the server's certificate is not valid") from error
        raise _CutError(_reason(error, timeout)) from error
    if total is not None and _size(part) != total:
        raise _CutError("the connection was cut")


def _read(response, timeout: float) -> bytes:
    try:
        return response.read1(BLOCK)
    except (http.client.HTTPException, OSError) as error:
        raise _CutError(_reason(error, timeout)) from error


def _range_of(response) -> tuple[int, int | None]:
    """(first byte that is sent, size of the whole file if the server gives it)."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None:
            raise DownloadError(f"{response.url}: the server sends a part without saying which")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _reason(error: Exception, timeout: float) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"no data for {timeout:g} s"
    if isinstance(cause, http.client.HTTPException | ConnectionResetError):
        return "the connection was cut"
    return f"no connection ({getattr(cause, 'strerror', None) or cause})"


def _require_room(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and free < total - start:
        raise DownloadError(
            f"{part.stem} needs {megabytes(total - start)} more in {part.parent}, where "
            f"{megabytes(free)} are free: make room, or choose another folder with --to"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def megabytes(nbytes: int) -> str:
    """'12.3 MB'"""
    return f"{nbytes / 1e6:.1f} MB"
