# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a user can fix, as an exception."""


class UserError(ValueError):
    """A mistake of the user; the message is one line that says what, where and what to do."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
