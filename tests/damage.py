# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Damage that any file can take; each takes the path of a sound one."""

import os


def cut(share):
    def damage(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return damage


def directory(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def symlink_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def no_bytes(path):
    path.write_bytes(b"")
