# SPDX-License-Identifier: BSD-2-Clause
"""The verb `keep-disks`: keep attached the disks that a server exports as blocks."""

from __future__ import annotations

import os
import signal

from router.errors import DescriptionError, HostError
from router.usbip.client.nvme import FABRICS, LINKS, MAX_RECONNECT_S, KeepDisks, Target, request
from router.usbip.policy.rules import address_bits
from router.usbip.protocol.disks import valid_disk_name
from router.usbip.runtime import event_loop
from router.usbip.runtime.helper import Helper
from router.usbip.runtime.log import milestone
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.uevent import required_uevents

USAGE = f"""usage: usbip keep-disks [--config FILE] [--wait SECONDS] [--confine USER]

Attaches the disks that servers export to this machine as blocks, by NVMe over TCP, and links each to its name below
{LINKS}, partitions too (NAME-part1).

  --config FILE    lines `server ADDRESS PORT`, `name NAME` and `wait SECONDS`; /etc/router/disks by default
  --wait SECONDS   how long reads and writes wait for a server that is away; by default what the file says, or
                   {MAX_RECONNECT_S}
  --confine USER   run as USER, with nothing that this does not need

Needs the module nvme-tcp. Ends on SIGTERM and SIGINT; what is attached stays so.
"""

CONFIG = "/etc/router/disks"
LOOK_INTERVAL_S = 1.0
MAX_WAIT_S = 86400


class Disks:
    """What a `disks` file says. wait_s: 0 where it leaves that open."""

    __slots__ = ("names", "targets", "wait_s")

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.names: tuple[str, ...] = ()
        self.wait_s = 0


def parse_disks(text: str, file: str) -> Disks:
    """The contents of a `disks` file. DescriptionError names the wrong line."""
    disks = Disks()
    for number, line in enumerate(text.splitlines(), 1):
        match line.split("#")[0].split():
            case []:
                continue
            case ["server", address, tcp] if tcp.isascii() and tcp.isdecimal() and len(tcp) < 6 and _is_ipv4(address):
                disks.targets.append(Target(address, int(tcp)))
            case ["name", name] if valid_disk_name(name):
                disks.names += (name,)
            case ["wait", seconds] if _is_wait(seconds):
                disks.wait_s = int(seconds)
            case _:
                raise DescriptionError(
                    f"{line.strip()!r} is not understood",
                    "write server ADDRESS PORT, name NAME or wait SECONDS",
                    f"{file}:{number}",
                )
    return disks


def load_disks(file: str = CONFIG) -> Disks:
    """The `disks` file; one that names nothing where there is none. May raise DescriptionError."""
    try:
        with open(file, encoding="utf-8") as config:
            return parse_disks(config.read(), file)
    except FileNotFoundError:
        return Disks()


def _is_wait(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_WAIT_S)) and 1 <= int(text) <= MAX_WAIT_S


def _is_ipv4(text: str) -> bool:
    number = address_bits(text)
    return number is not None and number[1] == 32


def render_disks(places: list[tuple[str, int]], names: list[str], wait_s: int | None = None) -> str:
    """The `disks` file for a guest: the servers' addresses, its port at each, the names that its disks may have, and
    how long they wait for a server."""
    text = "".join(f"server {address} {tcp}\n" for address, tcp in places) + "".join(f"name {name}\n" for name in names)
    text += f"wait {wait_s}\n" if wait_s is not None else ""
    parse_disks(text, "disks")
    return text


def run(_: str, argv: list[str]) -> int:
    options = Options(argv, {"--config": "config", "--wait": "wait", "--confine": "confine", "--sysfs": "sysfs"}, {})
    if options.words:
        raise UsageError("keep-disks takes no words", "see --help")
    file = options.get("config", CONFIG)
    try:
        with open(file, encoding="utf-8") as config:
            disks = parse_disks(config.read(), file)
    except OSError as error:
        raise DescriptionError(f"cannot read it: {error.strerror}", "name a file by --config", file) from error
    wait = options.number("wait", disks.wait_s or MAX_RECONNECT_S)
    if not 1 <= wait <= MAX_WAIT_S:
        raise UsageError(f"--wait is 1 to {MAX_WAIT_S}", "see --help")
    if not os.path.exists(FABRICS):
        raise HostError(f"there is no {FABRICS}", "run: modprobe nvme-tcp")
    loop = event_loop.Loop()
    try:
        loop.on_signal(signal.SIGTERM, loop.stop)
        loop.on_signal(signal.SIGINT, loop.stop)
        os.makedirs(LINKS, exist_ok=True)
        confined = "confine" in options.all

        def confine_helper() -> None:
            confine_keeper(options.get("confine"), quiet=True)

        # Before anything is open that they should not have.
        helpers = {
            target.subsystem: Helper(
                loop, lambda words: request(FABRICS, words[0]), confine_helper if confined else None
            )
            for target in disks.targets
        }
        asks = {name: helper.ask for name, helper in helpers.items()}
        uevents = required_uevents()
        keeper = KeepDisks(Sysfs(options.get("sysfs", "/sys")), disks.targets, disks.names, asks, wait)
        if confined:
            confine_keeper(options.get("confine"))

        def heard(_: int) -> None:
            messages = uevents.read()
            if messages is None or any(message.get("SUBSYSTEM") in ("block", "nvme") for message in messages):
                keeper.look()

        def again() -> None:
            loop.call_later(LOOK_INTERVAL_S, again)
            keeper.connect()
            keeper.look()

        loop.watch(uevents.fileno(), event_loop.IN, heard)
        again()
        loop.run()
        uevents.close()
        for helper in helpers.values():
            helper.close()
    finally:
        loop.close()
    return 0


def confine_keeper(user: str, *, quiet: bool = False) -> None:
    """Keeps asking for connections, the disks' queues and the links. May raise HostError. quiet: says nothing."""
    from router.usbip.confinement import Needs, confine
    from router.usbip.confinement.seccomp import FOLDERS

    disks = "/sys/devices/virtual/nvme-fabrics"
    for missing in confine(Needs(user, [FABRICS, disks], FOLDERS, (LINKS,))):
        if not quiet:
            milestone(f"unhardened: {missing}")
