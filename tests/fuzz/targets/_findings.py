# SPDX-License-Identifier: BSD-2-Clause
"""What must hold for every error in a file that a person wrote."""

from __future__ import annotations

import json

from router.description.diagnostics import DescriptionErrors


def check_findings(errors: DescriptionErrors, data: bytes) -> None:
    """Each error has a place in the file, a message, and a text that can be shown on a terminal."""
    lines = len(data.decode("utf-8-sig", "replace").splitlines())
    for one in errors.diagnostics:
        assert one.message
        assert 1 <= one.span.line <= max(1, lines + 1) and one.span.column >= 1, one.span
        assert (one.span.end_line, one.span.end_column) >= (one.span.line, one.span.column), one.span
        json.dumps(one.as_dict())
    for line in str(errors).split("\n"):
        assert line.replace("\t", "").isprintable(), repr(line)
