# SPDX-License-Identifier: BSD-2-Clause
"""Every decision made once: addresses, interrupts, channels, priorities. Pure: no files, no processes, no clock."""
