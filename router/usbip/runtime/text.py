# SPDX-License-Identifier: BSD-2-Clause
"""What exceptions say, in one line that is safe to show. Text from outside is judged by `router.display`."""

from __future__ import annotations

from router.display import safe

printable = safe
"""Whatever comes from outside goes through this on its way to a terminal or a log."""


def error_text(error: BaseException) -> str:
    """One line that says what an exception means: the system's words for an OSError, else the type and its message."""
    strerror = getattr(error, "strerror", None)
    if strerror:
        return printable(str(strerror))
    message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    return printable(str(message))
