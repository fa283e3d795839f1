# SPDX-License-Identifier: BSD-2-Clause
"""Where a built system runs: QEMU on this computer, or a board."""
