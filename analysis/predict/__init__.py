# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a trained network takes recordings for: ``python -m analysis.predict``."""
