# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Pictures of a data set as it is read; see ``python -m datasets.preview --help``."""
