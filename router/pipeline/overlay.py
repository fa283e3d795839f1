# SPDX-License-Identifier: BSD-2-Clause
"""What one guest has that other guests of its image have not: its name, its address, its USB rules."""

from __future__ import annotations

from router.description.models import DISK_PORT, USBIP_PORT
from router.disk.layout import owner_of
from router.guests.cpio import build_overlay
from router.plan.models import Grant, GuestPlan, SystemPlan
from router.usbip.commands.keep_attached import render_attach
from router.usbip.commands.keep_disks import render_disks
from router.usbip.policy.file import render_policy
from router.usbip.protocol.classes import class_word


def guest_settings(plan: SystemPlan, guest: GuestPlan) -> str:
    """`/etc/router/guest.conf`: lines of KEY=value that a shell reads."""
    source = server_of(plan, guest)
    settings = {
        "GUEST": guest.name,
        "ROLE": guest.role,
        **way_to_others(plan, guest),
        "SERVER": source.peer if source else "",
        **({"AUTOMOUNT": "yes"} if guest.automount else {}),
        "ROOT": guest.root,
        **({"DISKS": "yes"} if has_disks(plan, guest) else {}),
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def way_to_others(plan: SystemPlan, guest: GuestPlan) -> dict[str, str]:
    """The settings of the guest's Ethernet, or of its vsock device."""
    if guest.cid is not None:
        return {"CID": str(guest.cid)}
    return {
        "IP": str(guest.address),
        "PREFIX": str(plan.vswitch.subnet.prefixlen),
        "MTU": str(plan.vswitch.mtu),
        "MAC": guest.mac or "",
    }


def guest_names(plan: SystemPlan) -> str:
    """`/etc/router/hosts`, to which `/etc/hosts` of our images leads: each guest that has an address by its name."""
    named = (guest for guest in plan.guests if guest.address is not None)
    return "127.0.0.1 localhost\n" + "".join(f"{guest.address} {guest.name}\n" for guest in named)


def has_disks(plan: SystemPlan, guest: GuestPlan) -> bool:
    """Whether the guest exports or gets disks as blocks: only then are the drivers for that loaded."""
    return any(grant.blocks and grant.source == guest.name for grant in plan.grants) or bool(disk_places(plan, guest))


def disk_places(plan: SystemPlan, guest: GuestPlan) -> dict[str, int]:
    """The servers of disks as blocks that the switch lets this guest reach at its own port, with that port."""
    exporting = {grant.source for grant in plan.grants if grant.blocks}
    names = [port.guest for port in plan.vswitch.ports]
    return {
        names[rule.destination]: rule.port
        for rule in plan.vswitch.rules
        if names[rule.source] == guest.name
        and guest.role == "client"
        and not guest.own_image
        and names[rule.destination] in exporting
        and rule.protocol == "tcp"
        and rule.port == DISK_PORT + guest.index
    }


def disks_of(plan: SystemPlan, guest: GuestPlan) -> bytes:
    """`/etc/router/disks` of a client: where its disks are, and what those are called that it has or can be given."""
    places = disk_places(plan, guest)
    names = dict.fromkeys(
        grant.name
        for grant in plan.grants
        if grant.blocks and grant.name and (grant.to == guest.name or (grant.source in places and not grant.size))
    )
    servers = [(str(plan.guest(server).address), tcp) for server, tcp in places.items()]
    return render_disks(servers, list(names), guest.disk_wait).encode()


def server_of(plan: SystemPlan, guest: GuestPlan) -> GuestPlan | None:
    """The guest whose devices this one gets, or could be given while the system runs; or None."""
    routed = (grant for grant in plan.grants if grant.to == guest.name and not grant.blocks)
    granted = next((plan.guest(grant.source) for grant in routed), None)
    return granted or next(iter(reachable(plan, guest)), None)


def reachable(plan: SystemPlan, guest: GuestPlan) -> list[GuestPlan]:
    """The servers to which the switch lets USB/IP from this guest through."""
    names = [port.guest for port in plan.vswitch.ports]
    targets = [
        names[rule.destination]
        for rule in plan.vswitch.rules
        if names[rule.source] == guest.name and rule.protocol in ("tcp", "vsock") and rule.port == USBIP_PORT
    ]
    return [other for other in plan.guests if other.name in targets and other.role == "server"]


def policy_line(plan: SystemPlan, grant: Grant) -> dict[str, str | int]:
    """A grant in the words of the policy file (docs/reference/usb-policy.md)."""
    line: dict[str, str | int] = {"client": plan.guest(grant.to).peer}
    if grant.path is not None:
        line["path"] = grant.path
    if grant.serial is not None:
        line["serial"] = grant.serial
    if grant.vendor is not None and grant.product is not None:
        line["device"] = f"{grant.vendor:04x}:{grant.product:04x}"
    if grant.device_class is not None:
        line["class"] = class_word(grant.device_class)
    if grant.only:
        line["only"] = ",".join(class_word(code) for code in grant.only)
    if grant.port is not None:
        line["port"] = grant.port
    if grant.blocks:
        line["blocks"] = grant.blocks
        if grant.name:
            line["name"] = grant.name
        if grant.size:
            line["size"] = grant.size
            line["owner"] = owner_of(grant.to)
    return line


def spare_places(plan: SystemPlan, server: GuestPlan) -> dict[str, int]:
    """Clients with a port for disks that no rule gives them, by address: a disk can be moved there."""
    served = {grant.to for grant in plan.grants if grant.source == server.name and grant.blocks}
    places = ((guest, disk_places(plan, guest).get(server.name)) for guest in plan.guests if guest.name not in served)
    return {str(guest.address): tcp for guest, tcp in places if tcp}


def overlay_files(plan: SystemPlan, guest: GuestPlan) -> dict[str, bytes]:
    """The files by their paths in the guest."""
    files = {
        "etc/router/guest.conf": guest_settings(plan, guest).encode(),
        "etc/router/hosts": guest_names(plan).encode(),
    }
    if guest.role == "server":
        grants = [policy_line(plan, grant) for grant in plan.grants if grant.source == guest.name]
        files["etc/router/usb-policy"] = render_policy(grants, spare_places(plan, guest)).encode()
    if guest.role == "client" and has_disks(plan, guest):
        files["etc/router/disks"] = disks_of(plan, guest)
    source = server_of(plan, guest)
    if guest.role == "client" and source is not None:
        attach = render_attach(source.peer, guest.usb_ports, guest.usb_version, validate=not source.trusted)
        files["etc/router/usb-attach"] = attach.encode()
    return files


def overlay(plan: SystemPlan, guest: GuestPlan) -> bytes:
    """A compressed archive that Linux unpacks behind the image's initramfs."""
    return build_overlay(overlay_files(plan, guest))
