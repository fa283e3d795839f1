# SPDX-License-Identifier: BSD-2-Clause
"""The server: listens, answers, hands devices out, counts and captures what passes, takes commands."""
