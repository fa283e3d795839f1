# SPDX-License-Identifier: BSD-2-Clause
"""See and change what the USB devices of a running system are attached to.

`router run` runs the system, or `router deploy` has brought it up on a board; this talks to it from another terminal.
Name a device by its busid in the server (1-2), by vendor and product (0627:0001), or by a unique part of its name.
attach and detach last until the system stops; lasting rules belong into the description's `usb:` section.

With --on BOARD the system is what `router deploy` has brought up on that board of the lab file. The process
that owns the board's serial line serves it; where there is none, one is started that lasts while clients are connected.

Examples:

  router usb list
  router usb attach client mouse
  router usb attach client 1-3 --port 2
  router usb attach desk 1-3 --take
  router usb detach client 2
  router usb watch
  router usb list --on desk
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from router import display
from router.cli import _running

if TYPE_CHECKING:
    from router.usb.facts import Snapshot

NAME = "usb"
HELP = "show, attach and detach the USB devices of a running system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common = argparse.ArgumentParser(add_help=False)
    _running.add_arguments(common)
    common.add_argument("--json", action="store_true", help="the same as JSON")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(run_verb=run)
        return sub

    verb("list", "all devices of the server guests: who may have each, by which rule, and who has it", show_list)
    verb("assignable", "the devices that are in no guest, and why", show_assignable)
    ports = verb("ports", "a guest's virtual ports and what is on them", show_ports)
    ports.add_argument("guest", metavar="GUEST")
    attach = verb("attach", "give a device to a guest and wait until it is there", run_attach)
    attach.add_argument("guest", metavar="GUEST")
    attach.add_argument("device", metavar="DEVICE", help="a busid, VID:PID, part of the name, or a disk's name")
    attach.add_argument("--port", type=int, metavar="N", default=0, help="the virtual port (default: any)")
    attach.add_argument("--take", action="store_true", help="also from another guest that has it, in one step")
    attach.add_argument("--force", action="store_true", help="with --take: even if a disk of it is mounted there")
    detach = verb("detach", "take a device from a guest; it is not attached again automatically", run_detach)
    detach.add_argument("guest", metavar="GUEST")
    detach.add_argument("device", metavar="PORT|DEVICE", help="a virtual port, or as for attach")
    detach.add_argument("--force", action="store_true", help="even if a disk of it is mounted in the guest")
    watch = verb("watch", "show what happens as it happens", run_watch)
    watch.add_argument("--all", action="store_true", help="also what is not about USB")
    watch.add_argument("--since-start", action="store_true", help="begin with what has happened already")
    watch.add_argument("--count", type=int, metavar="N", help="end after N events")
    controllers = verb("controllers", "a guest's virtual host controllers; create and destroy them", run_controllers)
    controllers.add_argument("guest", metavar="GUEST")
    controllers.add_argument("action", nargs="?", choices=("create", "destroy"))
    controllers.add_argument("index", nargs="?", type=int, metavar="INDEX", help="which one to destroy")
    controllers.add_argument("--ports", type=int, metavar="N", help="of each speed (default: all that the kernel has)")
    controllers.add_argument("--usb", type=int, choices=(2, 3), default=3, help="USB version (default: 3)")
    plug = verb("plug", "plug an emulated device into the server guest (QEMU)", run_plug)
    plug.add_argument("device", metavar="KIND[:ARGUMENT]", help="as for router run --usb")
    unplug = verb("unplug", "pull an emulated device out of its USB port (QEMU)", run_unplug)
    unplug.add_argument("port", metavar="PORT", type=int, help="as `plug` prints it; from 1 in --usb's order")


def run(args: argparse.Namespace) -> int:
    run_verb: Callable[[argparse.Namespace], int] = args.run_verb
    with _running.connector(args) as args.connect:
        return run_verb(args)


def report(args: argparse.Namespace, seen: Snapshot, rows: Any, lines: Sequence[str]) -> int:
    """Print an answer; 4 when a guest in it did not answer."""
    from router.usb.text import trouble_lines

    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for line in lines:
            display.styled(line)
    for line in trouble_lines(seen):
        display.styled(line, stream=sys.stderr)
    return 4 if seen.troubles else 0


def show_list(args: argparse.Namespace) -> int:
    from router.usb.text import list_lines, list_rows
    from router.usb.view import snapshot

    seen = snapshot(args.connect)
    return report(args, seen, list_rows(seen), list_lines(seen))


def show_assignable(args: argparse.Namespace) -> int:
    from router.usb.text import assignable_lines, assignable_rows
    from router.usb.view import snapshot

    seen = snapshot(args.connect)
    return report(args, seen, assignable_rows(seen), assignable_lines(seen))


def of_guest(args: argparse.Namespace, *, servers: bool) -> Snapshot:
    """What one client guest reports, with the servers' devices if wanted; MachineError when it does not answer."""
    from router.errors import MachineError
    from router.usb import find
    from router.usb.view import snapshot

    bare = snapshot(args.connect, ())
    guest = find.guest(bare, args.guest, "client")
    wanted = {guest.name, *(one.name for one in bare.with_role("server") if servers)}
    seen = snapshot(args.connect, wanted)
    if guest.name in seen.troubles:
        raise MachineError(f"guest '{guest.name}' {seen.troubles[guest.name]}", hint="see its console log")
    return seen


def show_ports(args: argparse.Namespace) -> int:
    from router.usb.text import port_lines, port_row

    seen = of_guest(args, servers=True)
    return report(args, seen, [port_row(port) for port in seen.ports[args.guest]], port_lines(seen, args.guest))


def run_controllers(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from router.errors import DescriptionError
    from router.usb.actions import create_controller, destroy_controller
    from router.usb.text import controller_lines

    if (args.action == "destroy") != (args.index is not None):
        raise DescriptionError("which controller?", hint="write: router usb controllers GUEST destroy INDEX")
    if args.action == "create":
        created = create_controller(args.connect, args.guest, args.ports, args.usb)
        if not args.json:
            display.styled(f"{args.guest}: {created}")
            return 0
    if args.action == "destroy":
        destroy_controller(args.connect, args.guest, args.index)
        if not args.json:
            display.styled(f"{args.guest}: controller {args.index} is gone")
            return 0
    seen = of_guest(args, servers=False)
    mine = seen.controllers[args.guest]
    return report(args, seen, [asdict(one) for one in mine], controller_lines(mine, seen.ports[args.guest]))


def run_attach(args: argparse.Namespace) -> int:
    from router.errors import DescriptionError
    from router.usb.actions import attach
    from router.usb.text import place_row, where

    if args.force and not args.take:
        raise DescriptionError("--force is for --take", hint="router usb attach GUEST DEVICE --take --force")
    place = attach(args.connect, args.guest, args.device, args.port, take=args.take, force=args.force)
    if args.json:
        print(json.dumps(place_row(place), indent=2))
    else:
        display.styled(f"{where(place)} of '{args.guest}', until the system stops")
    return 0


def run_detach(args: argparse.Namespace) -> int:
    from router.usb.actions import detach
    from router.usb.facts import BlockDisk
    from router.usb.text import place_row

    place = detach(args.connect, args.guest, args.device, force=args.force)
    if args.json:
        print(json.dumps(place_row(place), indent=2))
    elif isinstance(place, BlockDisk):
        display.styled(f"the disk {place.name} is taken from '{args.guest}', until it is attached again")
    else:
        assert place.device is not None, "detach tells what was there"
        display.styled(
            f"{place.device.name} is taken from port {place.number} of '{args.guest}', until it is attached again"
        )
    return 0


def run_watch(args: argparse.Namespace) -> int:
    from router.control.timeline import event_line
    from router.usb.text import EVENTS

    left = args.count
    with args.connect() as system:
        for event in system.watch(0 if args.since_start else None):
            if not event or not (args.all or event["event"] in EVENTS):
                continue
            if args.json:
                print(json.dumps(event), flush=True)
            else:
                display.styled(event_line(event["seconds"], event["guest"], event["text"]))
            left = None if left is None else left - 1
            if left == 0:
                break
    return 0


def run_plug(args: argparse.Namespace) -> int:
    with args.connect() as system:
        row = system.plug(args.device)
    if args.json:
        print(json.dumps(row))
    else:
        display.styled(f"{row['kind']} is on USB port {row['port']}; Linux will call it {row['path']}")
    return 0


def run_unplug(args: argparse.Namespace) -> int:
    with args.connect() as system:
        row = system.unplug(args.port)
    if args.json:
        print(json.dumps(row))
    else:
        display.styled(f"{row['kind']} is out of USB port {row['port']}")
    return 0
