# SPDX-License-Identifier: BSD-2-Clause
"""Systems in QEMU: `split`, each guest in a QEMU of its own, or `microkit`, seL4 with all guests in one."""
