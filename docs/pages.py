# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The pages of the web site: the documents of the repository where they are, so that links hold."""

import re
import runpy
from pathlib import Path

from mkdocs.structure.files import File, Files

REPO = Path(__file__).resolve().parents[1]
DOCUMENTS = runpy.run_path(str(REPO / "tests" / "docs" / "doc_pages.py"))


def on_files(files: Files, config) -> Files:
    """Those of the theme, all documents, and what these link to or show."""
    pages = DOCUMENTS["PAGES"]
    targets = [page.parent / link.partition("#")[0] for page in pages for link in links(page)]
    found = sorted({path.resolve() for path in [*pages, *targets] if path.is_file()})
    kept = [file for file in files if Path(file.src_dir or "") != Path(config.docs_dir)]
    for path in found:
        place = path.relative_to(REPO).as_posix()
        kept.append(File(place, str(REPO), config.site_dir, config.use_directory_urls))
    return Files(kept)


def links(page: Path) -> list[str]:
    """The targets of links and pictures of ``page`` in the repository."""
    return DOCUMENTS["links"](page)


def on_page_content(html: str, **_) -> str:
    """Without the roles of docstrings, such as :func:."""
    return re.sub(r":(?:class|func|meth|mod):(?=<code>)", "", html)
