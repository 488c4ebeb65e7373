# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which folder a user means: relative to where it was written, or the name of a trained model."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parsers.options import ConfigError, near

REPOSITORY = Path(__file__).resolve().parents[1]
RESUME_AUTO = "auto"
AUTHORS = "ref_SSC_"


def locate(values: Mapping[str, Any], base: Path, repository: Path) -> dict[str, Any]:
    """`values`, single ones or tuples of them by option name, with every folder absolute."""
    return {
        name: tuple(_locate(name, one, base, repository) for one in value)
        if isinstance(value, tuple)
        else _locate(name, value, base, repository)
        for name, value in values.items()
    }


def resolve_pretrained(
    name: str | Path, *, relative_to: Path | None = None, repository: Path = REPOSITORY
) -> Path:
    """The folder of a trained model: a path relative to `relative_to` (by default the working
    directory), else one in the repository, else a name in its reference_models/.

    Raises ConfigError with the names in reference_models/ if there is no such folder.
    """
    folder = _find_model(name, relative_to or Path.cwd(), repository)
    if os.path.isdir(folder):
        return folder
    if os.path.exists(folder):
        raise ConfigError(f"pretrained model {name} is a file; name its experiment folder")
    shelf = repository / "reference_models"
    names = (
        sorted(entry.name for entry in shelf.iterdir() if entry.is_dir()) if shelf.is_dir() else ()
    )
    if folder.name.startswith(AUTHORS) and not any(n.startswith(AUTHORS) for n in names):
        raise ConfigError(
            f"pretrained model {name} is not a folder: the authors' models are not here, and "
            f"{shelf / 'README.md'} says how to add them"
        )
    has = f"has {', '.join(names)}" if names else "has no models"
    raise ConfigError(
        f"pretrained model {name} is not a folder{near(folder.name, names)}; {shelf} {has}"
    )


def _locate(name: str, value: Any, base: Path, repository: Path) -> Any:
    if not isinstance(value, Path) or (name == "resume" and str(value) == RESUME_AUTO):
        return value
    if name == "load_exp_folder":
        return _find_model(value, base, repository)
    return Path(os.path.abspath(base / os.path.expanduser(value)))


def _find_model(name: str | Path, base: Path, repository: Path) -> Path:
    """Where a trained model is, or where it would be relative to `base`."""
    typed = os.path.expanduser(name)
    places = [Path(place, typed) for place in (base, repository, repository / "reference_models")]
    found = next((place for place in places if os.path.isdir(place)), places[0])
    return Path(os.path.abspath(found))
