# SPDX-License-Identifier: BSD-2-Clause
"""Changing a policy file while the daemon runs: one device to one client, or away from it. The rest of it stays.

Each change is a line that ends with `file.MARK`. It names one device by all that is known of it, so it goes before
whatever the file says of ports, products and classes, and it does not fit another device in the same port.
"""

from __future__ import annotations

import os

from router.errors import HostError
from router.usbip.policy.file import parse_policy, parse_rule, quoted
from router.usbip.policy.rules import MARK, Policy, Rule
from router.usbip.protocol.descriptors import Triple
from router.usbip.protocol.device import Device

# Kinds of interface that a line lists; a device with more is granted without that list.
MAX_LISTED = 16


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as policy:
            return policy.read()
    except OSError as error:
        raise HostError(f"cannot read the policy: {error.strerror}", None, file) from error


def _write(file: str, text: str) -> None:
    """Writes the new policy aside and puts it into its place; where a link leads, not instead of the link."""
    file = os.path.realpath(file)
    try:
        with open(f"{file}.new", "w", encoding="utf-8") as policy:
            policy.write(text)
        os.replace(f"{file}.new", file)
    except OSError as error:
        raise HostError(f"cannot write the policy: {error.strerror}", None, file) from error


def grant(file: str, client: str, device: Device, port: int = 0) -> None:
    """Gives the device to that client and to no other. May raise RouterError; the file is then as it was."""
    _write(file, granted(_read(file), client, device, port, file))


def revoke(file: str, client: str, device: Device) -> None:
    """Takes the device away from that client, whatever rule gave it. May raise RouterError."""
    _write(file, revoked(_read(file), client, device, file))


def identity(device: Device) -> str:
    """The words of a rule that describes this device and, as far as can be known, no other.

    With everything in it, a class too, it is more exact than any rule that there is a reason to write.
    """
    words = f"path {device.busid}"
    if device.serial and device.serial.isprintable():
        words += f" serial {quoted(device.serial)}"
    words += f" device {device.vidpid}"
    if not device.interfaces:
        return f"{words} class {_triple(device.triple)}"
    return f"{words} interface {_triple(device.interfaces[0])} class {_triple(device.interfaces[0])}"


def _no_others(device: Device) -> str:
    """The words that keep a device out which comes back under the same names with another interface."""
    if not device.all_interfaces or len(device.all_interfaces) > MAX_LISTED:
        return ""
    return " only " + ",".join(_triple(triple) for triple in device.all_interfaces)


def _triple(numbers: Triple) -> str:
    return "/".join(f"{number:02x}" for number in numbers)


def _without(text: str, device: Device, client: str | None, file: str) -> list[str]:
    """The file's lines without those of run time that describe the device (None: of every client)."""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.endswith(MARK):
            rule = parse_rule(file, number, line)
            if rule and rule.describes(device) and client in (None, rule.client):
                continue
        lines.append(line)
    return lines


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def granted(text: str, client: str, device: Device, port: int = 0, file: str = "usb-policy") -> str:
    """The policy's text with the device given to this client and to no other; port 0: as the file says, or any.

    A rule of run time goes before all others, and an allow that is less exact is void for other clients.

    DescriptionError for a text that is not a policy, or a client or port that cannot exist.
    """
    lines = _without(text, device, None, file)
    policy = parse_policy(_joined(lines), file)
    if rule := policy.disk_rule(device):
        lines += _disk_granted(policy, rule, client, device)
        return _checked(lines, file)
    decision = policy.decide(client, device)
    others = {rule.client for rule in policy.rules} - {client}
    alone = not any(policy.decide(other, device).allowed for other in others)
    if not (decision.allowed and alone and port in (0, decision.port)):
        place = f" port {port}" if port else ""
        lines.append(f"allow {client} {identity(device)}{_no_others(device)}{place} {MARK}")
    return _checked(lines, file)


def _readers(policy: Policy, device: Device) -> list[str]:
    """The clients that the policy gives the device as blocks."""
    return [one.rule.client for one in policy.blocks(device) if one.rule]


def _disk_granted(policy: Policy, rule: Rule, client: str, device: Device) -> list[str]:
    """What a policy lacks that gives a disk as blocks to this client alone. rule: what gives it away otherwise.

    The client calls the disk what that rule says, unless it has another disk of that name.
    """
    if _readers(policy, device) == [client]:
        return []
    tcp = policy.places.get(client)
    if not tcp:
        raise HostError(
            f"{client} has no TCP port for disks as blocks", "add to the policy: client ADDRESS blocks PORT"
        )
    others = (one for one in policy.rules if one.client == client and one.allow and not one.describes(device))
    name = f" name {quoted(rule.name)}" if rule.name and rule.name not in {one.name for one in others} else ""
    return [f"allow {client} {identity(device)}{_no_others(device)} blocks {tcp}{name} {MARK}"]


def revoked(text: str, client: str, device: Device, file: str = "usb-policy") -> str:
    """The policy's text with the device not given to this client; what the file says of others stays."""
    lines = _without(text, device, client, file)
    policy = parse_policy(_joined(lines), file)
    if policy.decide(client, device).allowed or client in _readers(policy, device):
        lines.append(f"deny {client} {identity(device)} {MARK}")
    return _checked(lines, file)


def _checked(lines: list[str], file: str) -> str:
    text = _joined(lines)
    parse_policy(text, file)
    return text
