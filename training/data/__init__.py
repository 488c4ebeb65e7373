# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The data of a run: loading, streaming to a GPU, augmentation, and what a run recorded of them."""
