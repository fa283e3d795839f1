# SPDX-License-Identifier: BSD-2-Clause
"""Rules that give a disk as blocks: which client may have it, and what is wrong with a line."""

from __future__ import annotations

import pytest

from router.errors import DescriptionError
from router.usbip.policy.file import parse_policy
from tests.usbip.disk_samples import KEYBOARD, POLICY, device, planned, unit


def test_a_disk_goes_to_the_client_and_port_of_the_most_exact_rule_and_not_by_usbip() -> None:
    (one,) = planned(unit()).wanted
    assert (one.client, one.tcp, one.called) == ("10.77.0.3", 4421, "data")
    (one,) = planned(unit(), of=device("1-2.4")).wanted
    assert (one.client, one.tcp, one.called) == ("10.77.0.4", 4422, "usb-1-2.4")
    policy = parse_policy(POLICY)
    assert "gives it as blocks" in policy.decide("10.77.0.3", device()).reason
    assert not any(policy.decide(client, device()).allowed for client in ("10.77.0.3", "10.77.0.4"))
    assert not policy.is_granted(device())
    keyboard = device("1-3", interface=KEYBOARD)
    assert policy.decide("10.77.0.4", keyboard).allowed and policy.is_granted(keyboard)


def test_a_rule_for_any_client_does_not_take_a_disk_from_the_road_that_a_rule_names() -> None:
    policy = parse_policy("allow 10.77.0.3 path 1-1 blocks 4421\nallow any all\n")
    assert not policy.is_granted(device()) and not policy.decide("10.77.0.9", device()).allowed
    denied = parse_policy("allow 10.77.0.3 class mass-storage blocks 4421\ndeny 10.77.0.3 path 1-1\n")
    assert denied.blocks(device()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("allow any class hid blocks 4421", "any gets no disk as blocks"),
        ("allow 10.77.0.0/24 class hid blocks 4421", "10.77.0.0/24 gets no disk as blocks"),
        ("allow 10.77.0.3 class hid blocks 0", "'0' is not a TCP port"),
        ("allow 10.77.0.3 class hid blocks 65536", "'65536' is not a TCP port"),
        ("allow 10.77.0.3 class hid blocks 4421 port 1", "a disk that goes as blocks has no virtual port"),
        ("allow 10.77.0.3 class hid name data", "only what goes as blocks has a name"),
        ("allow 10.77.0.3 class hid blocks 4421 name ../sda", "'../sda' is not a disk's name"),
        (f"allow 10.77.0.3 class hid blocks 4421 name {'n' * 28}", f"'{'n' * 28}' is not a disk's name"),
        ("deny 10.77.0.3 class hid blocks 4421", "a deny rule has no blocks"),
        ("allow 10.77.0.3 blocks 4421", "the rule does not say which device"),
    ],
)
def test_a_wrong_line_of_the_policy_is_an_error_with_its_place(line: str, message: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_policy(line)
    assert (caught.value.message, caught.value.where) == (message, "usb-policy:1")
    assert caught.value.hint


def test_one_tcp_port_for_two_clients_is_an_error() -> None:
    parse_policy("allow 10.77.0.3 path 1-1 blocks 4421\nallow 10.77.0.3 path 1-2 blocks 4421\n")
    with pytest.raises(DescriptionError) as caught:
        parse_policy("allow 10.77.0.3 path 1-1 blocks 4421\nallow 10.77.0.4 path 1-2 blocks 4421\n")
    assert caught.value.message == "line 1 gives TCP port 4421 to 10.77.0.3"
    assert caught.value.where == "usb-policy:2" and caught.value.hint
