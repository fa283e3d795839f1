# SPDX-License-Identifier: BSD-2-Clause
"""USB/IP for Linux: a server, a client, their policy and the verbs of Linux's usbip. Standard library only.

The package is bundled into the guests and also runs on any Linux host: `python -m router.usbip --help`. A room imports
from the floors below it and never from above or from its own floor (a contract in pyproject.toml):

    __main__                    finds the verb
    commands                    one module per verb: options in, text out
    server   client   virtual   who exports; who attaches; devices made of Python objects
    engines                     what moves an exported device's data: usbip-host, or usbfs from user space
    policy   runtime            who may have which device; event loop, sockets, sysfs, uevents, log, text
    protocol                    what is on the wire and in descriptors, without files or sockets

A daemon that starts in an emulated guest pays for each import, so the daemons' path does without asyncio, re, json,
logging, typing, dataclasses, argparse and pathlib.

What comes from a peer, a device or a file may be hostile: an exception in one peer's callback ends that peer's session
(`runtime.event_loop`), sums and queues have limits, and text goes through `runtime.text.printable` before it is shown.
"""
