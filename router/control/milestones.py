# SPDX-License-Identifier: BSD-2-Clause
"""What console lines mean: the milestones of a boot, and what no boot recovers from. The only table of both.

`router run` shows them as its time line, `router deploy` waits for some. Guests' lines come from guest-images/ and vmm/
(docs/reference/milestones.md). The loader, the kernel and Microkit's monitor print theirs in debug configurations only
(seL4 15 and 16; microkit loader/src and monitor/src, 2.0.1 to 2.3.0). Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Milestone:
    """A console line that shows progress. `pattern` may have a group, which `text` shows by `{0}`."""

    name: str
    pattern: str
    text: str
    warning: bool = False
    """The guest runs on, but not as its description asks: `router deploy` reports it too, and waits for others."""


GUEST = (
    Milestone("kernel", r"Linux version (\S+)", "kernel {0} up"),
    Milestone("userspace", r"router: guest \S+: userspace up", "user space up"),
    Milestone("unset", r"router: guest \S+: came up without its settings", "came up without its settings"),
    Milestone("network", r"router: guest \S+: network up (.*)", "network up {0}"),
    Milestone("listening", r"router: guest \S+: usbipd listening ?(.*)", "daemon listening {0}"),
    Milestone("exported", r"router: guest \S+: exported (.+)", "device exported: {0}"),
    Milestone("withdrawn", r"router: guest \S+: withdrawn (.+)", "device withdrawn: {0}"),
    Milestone("plugged", r"router: guest \S+: plugged (.+)", "device plugged in: {0}"),
    Milestone("unplugged", r"router: guest \S+: unplugged (.+)", "device unplugged: {0}"),
    Milestone("attached", r"router: guest \S+: attached (.+)", "device attached: {0}"),
    Milestone(
        "program", r"router: guest \S+: the image's program (failed .*)", "the image's program {0}", warning=True
    ),
    Milestone("root", r"router: guest \S+: root: (.+)", "root file system: {0}"),
    Milestone("no_root", r"router: guest \S+: no root: (.+)", "no root file system: {0}", warning=True),
    Milestone("root_lost", r"router: guest \S+: root lost: (.+)", "root file system lost: {0}", warning=True),
    Milestone("detached", r"router: guest \S+: detached (.+)", "device detached: {0}"),
    Milestone("disk-ready", r"router: guest \S+: disk (\S+ ready: .+)", "disk {0}"),
    Milestone("disk-news", r"router: guest \S+: disk (.+)", "disk {0}"),
    Milestone("no-disk", r"router: guest \S+: no disk: (.+)", "no disk: {0}", warning=True),
    Milestone("mounted", r"router: guest \S+: mounted (.+)", "mounted: {0}"),
    Milestone("unmounted", r"router: guest \S+: unmounted (.+)", "unmounted: {0}"),
    Milestone("not-mounted", r"router: guest \S+: not mounted: (.+)", "not mounted: {0}", warning=True),
    Milestone(
        "deferred", r"router: guest \S+: deferred (.+)", "device waits for another one's driver: {0}", warning=True
    ),
    Milestone("unhardened", r"router: guest \S+: unhardened: (.+)", "not hardened: {0}", warning=True),
    Milestone("loading", r"vmm \S+: loading the guest", "its VMM loads it"),
    Milestone("started", r"vmm \S+: the guest starts", "its kernel starts"),
    Milestone("stopped", r"vmm \S+: the guest has (crashed|powered off|reset itself)", "has {0}"),
    Milestone("delayed", r"vmm \S+: the guest is started again in (\d{1,9}) s", "is started again in {0} s"),
    Milestone("restarting", r"vmm \S+: restarting the guest", "is started again"),
    Milestone("down", r"vmm \S+: (.*; the guest stays down)", "{0}"),
    Milestone("panic", r"Kernel panic - not syncing: (.*)", "kernel panic: {0}"),
)
"""Of one guest, on its console."""

SYSTEM = (
    Milestone("loader", r"LDR\|INFO: +loader for seL4 starting", "the loader runs"),
    Milestone("kernel", r"Bootstrapping kernel", "the kernel starts"),
    Milestone("seL4", r"Booting all finished", "the kernel has booted"),
    Milestone("monitor", r"MON\|INFO: Microkit Monitor started", "the protection domains start"),
)
"""On lines that are no guest's."""

SYSTEM_FAILURE = (
    r"(?:LDR|MON)\|ERROR|seL4 (?:failed assertion|called fail)|KERNEL (?:DATA|PREFETCH|ABORT)|Caught cap fault"
    r"|^halting\.\.\.|^system: protection domain '\S+' does not answer"
)
"""What the loader, the kernel or Microkit's monitor prints of a fault, and what the console multiplexer says of a
protection domain that it has asked for 10 s, which needs no debug kernel (drivers/watch.h)."""
LINUX_FAILURE = r"Kernel panic - not syncing|Unable to mount root fs|router: guest \S+: came up without its settings"
BOOT_LOADER_FAILURE = r"Synchronous Abort|Please RESET the board|### ERROR ### Please RESET"
"""U-Boot stopped, and only a reset helps."""
BOOT_FAILURES = (SYSTEM_FAILURE, LINUX_FAILURE, BOOT_LOADER_FAILURE)

MAX_DETAIL = 200
"""Characters of a milestone's detail."""
MAX_LINE = 4096
"""Characters of a line that are looked at: a guest may print lines without end."""


def match(line: str) -> tuple[Milestone, str] | None:
    """The milestone that a guest's console line shows, with its detail (the first group)."""
    for milestone in GUEST:
        found = re.search(milestone.pattern, line[:MAX_LINE])
        if found:
            return milestone, (found.group(1).strip()[:MAX_DETAIL] if found.groups() else "")
    return None


def of_guest(guest: str, name: str) -> str:
    """The pattern of one guest's own milestone among all guests' lines."""
    (milestone,) = (one for one in GUEST if one.name == name)
    return milestone.pattern.replace(r"\S+", re.escape(guest), 1)


def of_system(name: str) -> str:
    """The pattern of a milestone of SYSTEM."""
    (milestone,) = (one for one in SYSTEM if one.name == name)
    return milestone.pattern
