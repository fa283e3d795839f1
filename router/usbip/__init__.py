"""USB/IP for Linux: a server, a client, their policy and the verbs people know. Standard library only.

The package is bundled into the guests and also runs on any Linux host: `python -m router.usbip --help`. Its modules,
from the bytes up:

- `wire`: the handshake's structures; `device`: what is known of a USB device
- `net`: addresses, sockets, keepalive; `loop`: the epoll loop with timers; `uevent`: the kernel's hot-plug messages
- `sysfs`: devices under /sys/bus/usb; `rules`: who may have which device; `policy`: the rules' text form
- `engine_kernel`: exports through the kernel's usbip-host; `server`: listens and hands devices out; `conversation`: one
  client's request; `exchange`: the same from the client's end
- `vhci`: the virtual host controller; `client`: attaches, and keeps attached

A daemon that starts in an emulated guest pays for each import, so the daemons' path does without asyncio, re, json,
logging, typing, dataclasses, argparse and pathlib.
"""
