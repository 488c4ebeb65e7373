# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The demo data set: spoken digits as spikes, and the code that made them."""
