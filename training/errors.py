# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Faults of a run that the user can mend, each worded as one line."""

from parsers.options import UserError


class ExperimentError(UserError):
    """The experiment cannot be set up as asked: folder, device, model or dataset."""


class CheckpointError(ExperimentError):
    """A checkpoint cannot be read, or does not belong to the model."""


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


class StoppedEarlyError(RuntimeError):
    """A trial of a search does worse than others, and ends before its last epoch."""
