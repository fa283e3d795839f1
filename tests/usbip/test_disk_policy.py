# SPDX-License-Identifier: BSD-2-Clause
"""Rules that give a disk as blocks: which client may have it, and what is wrong with a line."""

from __future__ import annotations

import pytest

from router.errors import DescriptionError, HostError
from router.usbip.policy.edit import granted, revoked
from router.usbip.policy.file import parse_policy, render_policy
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
        ("client any blocks 4421", "any gets no disk as blocks"),
        ("client 10.77.0.3 port 4421", "unknown word 'port'"),
        ("client 10.77.0.3 blocks 0", "'0' is not a TCP port"),
        ("client 10.77.0.3 blocks 4421 name data", "unknown word 'name'"),
        ("client 10.77.0.3", "the line ends where blocks is due"),
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


def readers(text: str, of: str = "1-1") -> dict[str, tuple[int, str]]:
    """Who gets the disk as blocks: by client the TCP port and the name."""
    return {one.rule.client: (one.rule.tcp, one.rule.name) for one in parse_policy(text).blocks(device(of)) if one.rule}


def test_a_disk_is_moved_to_another_clients_port_under_its_name_and_back() -> None:
    moved = granted(POLICY, "10.77.0.4", device())
    assert readers(moved) == {"10.77.0.4": (4422, "data")}
    assert readers(moved, "1-2") == readers(POLICY, "1-2"), "another disk stays where it is"
    assert granted(moved, "10.77.0.3", device()) == POLICY and revoked(moved, "10.77.0.4", device()) == POLICY


def test_a_client_to_which_no_rule_gives_a_disk_has_the_port_that_the_file_says() -> None:
    text = POLICY + "client 10.77.0.5 blocks 4423\n"
    assert readers(text) == readers(POLICY)
    assert readers(granted(text, "10.77.0.5", device())) == {"10.77.0.5": (4423, "data")}
    with pytest.raises(HostError, match=r"10\.77\.0\.6 has no TCP port for disks"):
        granted(text, "10.77.0.6", device())
    assert parse_policy(render_policy([], {"10.77.0.5": 4423})).places == {"10.77.0.5": 4423}
    with pytest.raises(DescriptionError, match="gives TCP port 4422 to"):
        parse_policy(POLICY + "client 10.77.0.5 blocks 4422\n")
    with pytest.raises(DescriptionError, match="already speaks of the same client"):
        parse_policy(text + "client 10.77.0.5 blocks 4424\n")


def test_where_the_client_has_another_disk_of_that_name_the_disk_is_called_by_its_port() -> None:
    text = POLICY + "allow 10.77.0.4 path 1-7 blocks 4422 name data\n"
    assert readers(granted(text, "10.77.0.4", device())) == {"10.77.0.4": (4422, "")}


def test_a_disk_that_was_taken_from_its_client_does_not_go_by_usbip_instead() -> None:
    text = "allow 10.77.0.3 class mass-storage blocks 4421\nallow 10.77.0.4 class mass-storage\nallow any all\n"
    taken = revoked(text, "10.77.0.3", device())
    assert readers(taken) == {}
    policy = parse_policy(taken)
    assert not policy.is_granted(device()) and not policy.decide("10.77.0.4", device()).allowed
    assert granted(taken, "10.77.0.3", device()) == text
