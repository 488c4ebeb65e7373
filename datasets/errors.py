# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The one exception type that a reader of data raises for something the user can fix."""

from parsers.options import UserError


class DataError(UserError):
    """A fault in the data or its path."""
