# SPDX-License-Identifier: BSD-2-Clause
"""What U-Boot says when something is wrong, and what that means for the person in front of the board.

The texts are those of U-Boot's sources (net/tftp.c, net/arp.c, net/eth-uclass.c, boot/image-fdt.c,
arch/arm/lib/image.c, common/cli_*.c, lib/lmb.c), from 2018 to 2025.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.display import last_line
from router.errors import MachineError


@dataclass(frozen=True, slots=True)
class BootAdvice:
    """A text of U-Boot's (regular expression), what it means and what to do; both may use the pattern's groups."""

    pattern: str
    message: str
    hint: str


ADVICE: tuple[BootAdvice, ...] = (
    BootAdvice(
        r"No ethernet found|No network device|[Cc]ould not (?:initialize|get) PHY|PHY.*not found",
        "the boot loader finds no network interface",
        "is this the right board? `load: ymodem` in the lab file loads over the serial line instead",
    ),
    BootAdvice(
        r"(?i)no link|link (?:is )?down|auto.?negotiation.*(?:TIMEOUT|timed out)|phy.*timed? ?out",
        "the board's Ethernet has no link",
        "plug the cable in, and look at the lights of the socket and of the switch",
    ),
    BootAdvice(
        r"ARP Retry count exceeded",
        "no answer from the TFTP server's address (ARP)",
        "are `network: server` and `network: board` in one subnet, and is the cable in the right socket?",
    ),
    BootAdvice(
        r"TFTP error: (?:'(.*?)'|trying to overwrite reserved memory)",
        "TFTP failed: {0}",
        "the address may collide with the boot loader itself (`bdinfo` shows where it lives), or the server refuses",
    ),
    BootAdvice(
        r"Retry count exceeded|TFTP server died",
        "the TFTP transfer timed out",
        "a firewall between the board and this host, a wrong address, or a lossy cable",
    ),
    BootAdvice(
        r"`(?:ipaddr|serverip)' not set|\*\*\* ERROR: `(\w+)' not set",
        "the boot loader lacks a network address",
        "give `network: board` and `network: server` in the lab file",
    ),
    BootAdvice(
        r"BOOTP/DHCP.*exceeded|DHCP client.*timeout|Retry time exceeded",
        "the board got no address by DHCP",
        "is there a DHCP server on its network? a fixed `network: board: 192.0.2.2/24` needs none",
    ),
    BootAdvice(
        r"Bad Linux ARM64 Image magic|Wrong Image (?:Format|Type)|Unknown image format|Bad Magic Number",
        "the boot loader does not take the file for an image that this command starts",
        "was the file built for this board? `router build` picks the start command from the board's description",
    ),
    BootAdvice(
        r"Did not find a cmdline Flattened Device Tree|FDT.*(?:not valid|FDT_ERR\w+)",
        "the boot loader has no device tree to hand over",
        "this build of U-Boot keeps none at the address that the plan names",
    ),
    BootAdvice(
        r"Unknown command '?([\w-]+)'?",
        "this boot loader has no command '{0}'",
        "another build of U-Boot, or another `load:` in the lab file, gets around it",
    ),
    BootAdvice(
        r'"?Synchronous Abort"? handler|data abort|prefetch abort',
        "the boot loader crashed (an access to an address that this board does not have)",
        "is this the board that the system was built for?",
    ),
    BootAdvice(
        r"Please RESET the board|### ERROR ###",
        "the boot loader stopped and asks for a reset",
        "power-cycle the board; the console log has the reason above that line",
    ),
)

SIGN_ON = re.compile(r"(?:^|[\r\n])(U-Boot (?:SPL |TPL )?20\d\d\.\d\d[^\r\n]*)")


def explain(output: str, command: str) -> MachineError:
    """The error for a command that failed with this output: advice where we know the text, its last line otherwise."""
    for item in ADVICE:
        if match := re.search(item.pattern, output):
            groups = [group or match.group(0) for group in match.groups()]
            return MachineError(item.message.format(*groups), hint=item.hint, where=f"U-Boot: {command}")
    said = f": {last_line(output, 120)}" if output.strip() else ""
    return MachineError(
        f"the command failed{said}", hint="the console log has all of its output", where=f"U-Boot: {command}"
    )
