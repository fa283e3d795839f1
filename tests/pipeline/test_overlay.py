# SPDX-License-Identifier: BSD-2-Clause
"""What a guest is told about USB: where to attach from, also when it has no device yet."""

from __future__ import annotations

from typing import Any

import pytest

from router.pipeline.overlay import overlay_files
from tests.support.systems import described, plan_of


def attach_file(name: str, **network: Any) -> str | None:
    """`/etc/router/usb-attach` of a guest, in a system whose only rule is for `client`."""
    fields = {
        "system": "two-clients",
        "board": "qemu",
        "guests": {
            "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]},
            "client": {"image": "usb-client", "usb": {"version": 3, "ports": 4}},
            "later": {"image": "usb-client", "usb": {"version": 2, "ports": 2}},
        },
        "usb": [{"path": "1-1", "to": "client"}],
        **network,
    }
    plan = plan_of(described(fields))
    found = overlay_files(plan, plan.guest(name)).get("etc/router/usb-attach")
    return None if found is None else found.decode()


def test_a_guest_with_a_rule_attaches_from_its_server() -> None:
    assert attach_file("client") == "server 10.77.0.2\nports 4\nusb 3\n"


@pytest.mark.parametrize(
    ("allow", "text"),
    [
        (["client -> server tcp/3240", "later -> server tcp/3240"], "server 10.77.0.2\nports 2\nusb 2\n"),
        (["client -> server tcp/3240", "later -> server tcp/22"], None),
        (["client -> server tcp/3240", "later -> client tcp/3240"], None),
    ],
)
def test_a_guest_without_a_rule_is_ready_for_devices_if_the_switch_lets_it(allow: list[str], text: str | None) -> None:
    assert attach_file("later", network={"allow": allow}) == text


def test_without_a_rule_and_without_the_network_there_is_nothing_to_attach() -> None:
    assert attach_file("later") is None


def test_the_answers_of_a_server_that_is_not_trusted_are_checked() -> None:
    fields = {
        "system": "hostile-server",
        "board": "qemu",
        "guests": {
            "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"], "trusted": False},
            "client": {"image": "usb-client", "usb": {"version": 2, "ports": 8}},
        },
        "usb": [{"path": "1-1", "to": "client", "only": ["hid", 8]}],
    }
    plan = plan_of(described(fields))
    files = overlay_files(plan, plan.guest("client"))
    assert files["etc/router/usb-attach"] == b"server 10.77.0.2\nports 8\nusb 2\nvalidate yes\n"
    policy = overlay_files(plan, plan.guest("server"))["etc/router/usb-policy"].decode()
    assert policy.splitlines()[1:] == ["allow 10.77.0.3 path 1-1 only hid,mass-storage"]


def test_a_guest_knows_every_guest_by_its_name() -> None:
    fields = {
        "system": "names",
        "board": "qemu",
        "guests": {
            "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]},
            "client": {"image": "usb-client", "address": "10.77.0.9"},
        },
    }
    plan = plan_of(described(fields))
    hosts = overlay_files(plan, plan.guest("client"))["etc/router/hosts"].decode()
    assert hosts.splitlines() == ["127.0.0.1 localhost", "10.77.0.2 server", "10.77.0.9 client"]
