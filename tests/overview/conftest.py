# SPDX-License-Identifier: BSD-2-Clause
"""A served system, as the tests of the control socket have it."""

from tests.control.conftest import runtime_folder, system

__all__ = ["runtime_folder", "system"]
