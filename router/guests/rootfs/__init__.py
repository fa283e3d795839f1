# SPDX-License-Identifier: BSD-2-Clause
"""A Debian root file system on a disk, for a guest that lives there: made without root, configured in the guest."""
