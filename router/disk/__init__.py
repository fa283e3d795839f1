# SPDX-License-Identifier: BSD-2-Clause
"""Physical disks whose parts go to several guests: their partition tables, as a description's `disks` wants them."""
