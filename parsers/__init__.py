# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""Command line and YAML configs: every option is declared once, in the two typed dataclasses."""
