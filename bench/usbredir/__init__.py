# SPDX-License-Identifier: BSD-2-Clause
"""USB devices made of Python objects on the emulated controller of a QEMU, through its `usb-redir`.

The devices are those of `router.usbip.virtual`, and more of their kind in `bench.usbredir.devices`. `Plug` listens on a
unix socket; QEMU connects by `router run --usb redir:SOCKET` or `Rig.plug`.
"""
