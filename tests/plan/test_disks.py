# SPDX-License-Identifier: BSD-2-Clause
"""Disks that go as blocks: their ports in the plan, and what the guests read of it."""

from __future__ import annotations

from router.description.guest_image import load_definition
from router.pipeline.overlay import overlay_files
from router.plan.models import SystemPlan
from tests.support.systems import described, plan_of

RULES: list[dict[str, object]] = [
    {"path": "1-1", "to": "a", "as": "block", "name": "data"},
    {"class": "mass-storage", "to": "b", "as": "block"},
    {"class": "hid", "to": "b"},
]


def plan(rules: list[dict[str, object]], allow: list[str] | None = None) -> SystemPlan:
    guests = {
        "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]},
        "a": {"image": "usb-client"},
        "b": {"image": "usb-client"},
    }
    network = {} if allow is None else {"network": {"allow": allow}}
    return plan_of(described({"system": "blocks", "board": "qemu", "guests": guests, "usb": rules, **network}))


def ways(of: SystemPlan) -> set[tuple[str, int | None]]:
    return {(of.guests[rule.source].name, rule.port) for rule in of.vswitch.rules}


def test_each_client_has_a_port_of_its_own_and_reaches_what_its_rules_need_and_no_more() -> None:
    assert ways(plan(RULES)) == {("a", 4421), ("b", 4422), ("b", 3240)}


def test_the_guests_are_told_ports_and_names_and_load_drivers_only_where_disks_go_as_blocks() -> None:
    found = plan(RULES)
    server, a, b = (overlay_files(found, found.guest(name)) for name in ("server", "a", "b"))
    rules = server["etc/router/usb-policy"].decode().splitlines()[1:]
    assert rules == [
        "allow 10.77.0.3 path 1-1 blocks 4421 name data",
        "allow 10.77.0.4 class mass-storage blocks 4422",
        "allow 10.77.0.4 class hid",
    ]
    assert a["etc/router/disks"] == b"server 10.77.0.2 4421\nname data\n"
    assert b["etc/router/disks"] == b"server 10.77.0.2 4422\nname data\n", "a disk can be moved"
    assert "etc/router/usb-attach" not in a and "etc/router/usb-attach" in b
    assert all(b"DISKS=yes\n" in files["etc/router/guest.conf"] for files in (server, a, b))
    assert [guest.image for guest in found.guests] == ["usb-server-disks", "usb-client-disks", "usb-client-disks"]
    plain = plan(RULES[2:])
    assert [guest.image for guest in plain.guests] == ["usb-server", "usb-client", "usb-client"]
    for name in ("server", "a", "b"):
        files = overlay_files(plain, plain.guest(name))
        assert b"DISKS" not in files["etc/router/guest.conf"] and "etc/router/disks" not in files


def test_a_guest_that_the_switch_lets_to_its_port_for_disks_can_be_given_one_while_the_system_runs() -> None:
    allow = ["a -> server tcp/4421", "b -> server tcp/4422"]
    found = plan(RULES[:1], allow)
    server, b = (overlay_files(found, found.guest(name)) for name in ("server", "b"))
    assert server["etc/router/usb-policy"].decode().splitlines()[1:] == [
        "allow 10.77.0.3 path 1-1 blocks 4421 name data",
        "client 10.77.0.4 blocks 4422",
    ]
    assert b["etc/router/disks"] == b"server 10.77.0.2 4422\nname data\n"
    assert b"DISKS=yes\n" in b["etc/router/guest.conf"] and found.guest("b").image == "usb-client-disks"
    # Another port of the server is no port for disks.
    found = plan(RULES[:1], ["a -> server tcp/4421", "b -> server tcp/4423"])
    assert "etc/router/disks" not in overlay_files(found, found.guest("b"))


def test_an_image_has_the_drivers_only_where_disks_go_as_blocks() -> None:
    for image, driver in (("usb-server", "nvmet-tcp"), ("usb-client", "nvme-tcp"), ("usb-server-tools", "nvmet-tcp")):
        plain = load_definition(image)
        assert driver not in plain.modules()
        assert driver in plain.with_disks().modules()
