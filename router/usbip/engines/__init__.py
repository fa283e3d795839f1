# SPDX-License-Identifier: BSD-2-Clause
"""What moves the data of an exported device: the kernel's usbip-host, or usbfs from user space."""
