# SPDX-License-Identifier: BSD-2-Clause
"""From a build folder to a booted devkit: U-Boot over serial, the image by TFTP, here or through a lab host.

What runs on the machine that the board is wired to (`runner` and everything it imports) needs the standard library and
pyserial alone, because it travels to lab hosts inside a zipapp. `lab_host`, `lab_connection` and `archive` stay on the
user's machine.
"""
