# SPDX-License-Identifier: BSD-2-Clause
"""The policy file: its grammar, its errors, and who gets what."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.description.values import parse_class
from router.errors import DescriptionError
from router.usbip.policy.edit import granted, revoked
from router.usbip.policy.file import load_policy, parse_policy, render_policy
from router.usbip.policy.rules import MARK
from router.usbip.protocol.classes import CODES, NAMES, class_word
from router.usbip.protocol.descriptors import all_interfaces_of
from router.usbip.protocol.device import Device

KEYBOARD = Device("1-2", 2, 1, 3, 0x046D, 0xC31C, interfaces=((3, 1, 1), (3, 0, 0)))
DISK = Device("1-1", 3, 1, 2, 0x0781, 0x5567, interfaces=((8, 6, 0x50),), serial="4C53 0001")
A, B = "10.77.0.3", "10.77.0.4"


def allowed(text: str, client: str, device: Device) -> bool:
    return parse_policy(text).decide(client, device).allowed


@pytest.mark.parametrize(
    "rule",
    [
        "path 1-1",
        "device 0781:5567",
        "device 0781:*",
        'serial "4C53 0001"',
        "class mass-storage",
        "class 08",
        "class 08/06",
        "class 08/06/50",
        "class 08/*/50",
        "interface 08/06/50",
        "all",
        'device 0781:5567 serial "4C53 0001" path 1-1',
    ],
)
def test_each_way_to_describe_a_device_fits_it_and_not_another(rule: str) -> None:
    assert allowed(f"allow {A} {rule}", A, DISK)
    assert allowed(f"allow {A} {rule}", A, KEYBOARD) == (rule == "all")


def test_what_no_rule_allows_is_denied() -> None:
    decision = parse_policy(f"allow {A} path 1-1").decide(B, DISK)
    assert (decision.allowed, decision.reason) == (False, "no rule allows it")


@pytest.mark.parametrize(
    ("client", "who", "fits"),
    [
        ("any", B, True),
        ("10.77.0.0/24", B, True),
        ("10.77.0.0/24", "10.77.1.4", False),
        ("10.77.0.0/24", "fd00::4", False),
        ("0.0.0.0/0", B, True),
        ("fd00::/64", "fd00::1:4", True),
        ("fd00::4", "fd00::4", True),
        ("vsock:4", "vsock:4", True),
        ("vsock:4", "vsock:5", False),
        ("unix", "unix", True),
        ("unix", B, False),
    ],
)
def test_clients_are_named_by_address_network_or_kind(client: str, who: str, fits: bool) -> None:
    assert allowed(f"allow {client} all", who, DISK) == fits


def test_a_port_named_by_its_controller_stays_the_same_port_when_buses_are_numbered_otherwise() -> None:
    text = f"allow {A} path usb@38100000/1.4\nallow {B} path 00:02.0/1"
    first = Device("1-1.4", 3, 1, 2, 1, 1, sockets=("usb@38100000/1.4",))
    later = Device("3-1.4", 3, 3, 2, 1, 1, sockets=("usb@38100000/1.4",))
    other = Device("1-1.4", 3, 1, 2, 1, 1, sockets=("usb@38200000/1.4",))
    assert [allowed(text, A, device) for device in (first, later, other)] == [True, True, False]
    pci = Device("2-1", 3, 2, 2, 1, 1, sockets=("0000:00:02.0/1",))
    assert allowed(text, B, pci) and not allowed(text, B, first)


def test_a_number_sign_in_quotation_marks_is_part_of_the_value_and_of_the_rules_text() -> None:
    policy = parse_policy(f'allow {A} serial "No #7" class mass-storage # the blue one')
    (rule,) = policy.rules
    assert (rule.serial, rule.cls) == ("No #7", (8, None, None))
    assert rule.text == f'allow {A} serial "No #7" class mass-storage'
    marked = parse_policy(f'allow {A} serial "No #7" {MARK}').rules[0]
    assert marked.text == f'allow {A} serial "No #7" {MARK}'


def test_all_parts_of_a_line_must_fit() -> None:
    assert not allowed(f"allow {A} class mass-storage serial other", A, DISK)


def test_a_devices_own_class_counts_as_its_interfaces_do_but_not_for_interface() -> None:
    printer = Device("1-3", 2, 1, 4, 1, 1, triple=(7, 0, 0))
    assert allowed(f"allow {A} class printer", A, printer)
    assert not allowed(f"allow {A} interface printer", A, printer)


def test_the_more_exact_rule_counts_wherever_it_stands() -> None:
    for text in (
        f"deny {A} class mass-storage\nallow {A} path 1-1",
        f"allow {A} path 1-1\ndeny {A} class mass-storage",
    ):
        assert allowed(text, A, DISK)
    for text in (
        f"allow {A} class mass-storage\ndeny {A} path 1-1",
        f"deny {A} path 1-1\nallow {A} class mass-storage",
    ):
        assert not allowed(text, A, DISK)


def test_deny_goes_before_allow_between_equals_and_an_address_before_a_network() -> None:
    both = Device("1-4", 3, 1, 5, 1, 1, interfaces=((8, 6, 0x50), (3, 1, 1)))
    assert not allowed("allow any class mass-storage\ndeny any class hid", A, both)
    assert not allowed("allow any class mass-storage\ndeny 10.77.0.0/24 class mass-storage", A, DISK)
    assert allowed(f"deny any class mass-storage\nallow {A} class mass-storage", A, DISK)


def test_a_port_given_to_one_guest_is_not_anothers_by_class() -> None:
    policy = parse_policy(f"allow {A} class mass-storage\nallow {B} path 1-1")
    refused = policy.decide(A, DISK)
    assert not refused.allowed
    assert refused.reason == f"line 2 gives it to {B}: allow {B} path 1-1"
    assert policy.decide(B, DISK).allowed
    assert policy.decide(A, Device("1-9", 3, 1, 9, 1, 1, interfaces=((8, 6, 0x50),))).allowed


def test_a_deny_for_one_guest_does_not_concern_another() -> None:
    assert allowed(f"deny {A} path 1-1\nallow {B} class mass-storage", B, DISK)


def test_the_port_comes_with_the_rule_that_counts() -> None:
    policy = parse_policy(f"allow {A} class mass-storage port 7\nallow {A} path 1-1 port 2")
    assert policy.decide(A, DISK).port == 2


def test_only_granted_devices_are_exported() -> None:
    assert parse_policy("allow 10.77.0.0/24 path 1-1").is_granted(DISK)
    assert not parse_policy("allow 10.77.0.0/24 path 1-1").is_granted(KEYBOARD)
    assert not parse_policy(f"allow {A} class mass-storage\ndeny {A} path 1-1").is_granted(DISK)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("permit 10.0.0.1 all", "a rule starts with allow or deny, not with 'permit'"),
        ("allow", "the line ends where a client is due"),
        ("allow 10.0.0 all", "'10.0.0' is not a client"),
        ("allow 10.0.0.0/33 all", "'10.0.0.0/33' is not a client"),
        ("allow guest all", "'guest' is not a client"),
        ("allow any", "the rule does not say which device"),
        ("allow any port 1", "the rule does not say which device"),
        ("allow any path", "the line ends where a port path is due"),
        ("allow any path ../1-1", "'../1-1' is not a port path"),
        ("allow any path usb1", "'usb1' is not a port path"),
        ("allow any device 046d", "'046d' is not VID:PID"),
        ("allow any device 46dx:1", "'46dx' is not a vendor id"),
        ("allow any device 046d:123456", "'123456' is not a product id"),
        ("allow any class mass", "'mass' is not a USB class"),
        ("allow any class 08/06/50/1", "class '08/06/50/1' has more than three parts"),
        ("allow any class 08/xx", "'xx' is not a byte"),
        ('allow any serial "abc', "a quotation mark is not closed"),
        ("allow any all port 0", "'0' is not a port"),
        ("allow any all port 256", "'256' is not a port"),
        ("deny any all port 1", "a deny rule has no port"),
        ("allow any path 1-1 path 1-2", "'path' is there twice"),
        ("allow any usb 1-1", "unknown word 'usb'"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place_and_what_to_write(line: str, text: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_policy(f"# comment\n\n{line}\n", "policy")
    assert caught.value.message.startswith(text)
    assert (caught.value.where, bool(caught.value.hint)) == ("policy:3", True)


def test_the_same_client_and_device_twice_is_refused() -> None:
    with pytest.raises(DescriptionError, match="line 1 already speaks of the same client and device"):
        parse_policy(f"allow {A} path 1-1 port 1\nallow {A} path 1-1 port 2")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError) as caught:
        load_policy(str(tmp_path / "none"))
    assert caught.value.where == str(tmp_path / "none")


def test_rendered_grants_read_as_written() -> None:
    text = render_policy(
        [
            {"client": A, "device": "046d:c31c", "port": 1},
            {"client": B, "serial": 'a "b" #\\c', "class": "mass-storage"},
        ]
    )
    assert text.splitlines()[1:] == [
        "allow 10.77.0.3 device 046d:c31c port 1",
        'allow 10.77.0.4 serial "a \\"b\\" #\\\\c" class mass-storage',
    ]
    assert parse_policy(text).rules[1].serial == 'a "b" #\\c'


def test_a_grant_that_makes_no_rule_is_refused() -> None:
    with pytest.raises(DescriptionError):
        render_policy([{"client": A}])
    with pytest.raises(DescriptionError, match="a grant has no gadget"):
        render_policy([{"client": A, "gadget": "1"}])


grants = st.fixed_dictionaries(
    {"client": st.sampled_from([A, B, "10.0.0.0/8", "any", "vsock:7"])},
    optional={
        "path": st.from_regex(r"\A[1-9]-[1-9](\.[1-9]){0,3}\Z"),
        "serial": st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
        "device": st.from_regex(r"\A[0-9a-f]{4}:([0-9a-f]{4}|\*)\Z"),
        "class": st.sampled_from(sorted(CODES)),
        "port": st.integers(1, 255),
    },
).filter(lambda grant: set(grant) - {"client", "port"})


@given(grants)
def test_any_grant_survives_rendering_and_parsing(grant: dict[str, str | int]) -> None:
    (rule,) = parse_policy(render_policy([grant])).rules
    assert (rule.client, rule.path, rule.serial, rule.port) == (
        grant["client"],
        grant.get("path"),
        grant.get("serial"),
        grant.get("port", 0),
    )


@given(st.text(max_size=200))
def test_no_text_does_worse_than_an_error_with_a_place(text: str) -> None:
    try:
        policy = parse_policy(text, "f")
    except DescriptionError as error:
        assert error.where and error.where.startswith("f:")
    else:
        assert all(rule.line for rule in policy.rules)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("storage", "mass-storage"),
        ("comm", "communications"),
        ("misc", "miscellaneous"),
        ("app", "application"),
    ],
)
def test_a_class_word_of_an_earlier_version_is_an_error_with_todays_word(old: str, new: str) -> None:
    with pytest.raises(DescriptionError) as raised:
        parse_policy(f"allow any class {old}", "p")
    assert (raised.value.where, raised.value.hint) == ("p:1", f"write {new}")
    assert parse_policy(f"allow any class {new}").rules


def test_every_class_word_of_the_description_is_one_of_the_policy() -> None:
    for word, code in CODES.items():
        (rule,) = parse_policy(f"allow any class {word}").rules
        assert rule.cls == (code, None, None) == (parse_class(word), None, None)
        assert class_word(code) == word and code in NAMES
    assert parse_policy(f"allow any class {class_word(0x77)}").rules[0].cls == (0x77, None, None)


KEYS, STORE = (3, 1, 1), (8, 6, 0x50)


@pytest.mark.parametrize(
    ("rule", "has", "fits"),
    [
        ("only hid", (KEYS,), True),
        ("only hid", (KEYS, (3, 0, 0)), True),
        ("only hid", (KEYS, STORE), False),
        ("only hid", (STORE,), False),
        ("only mass-storage", (STORE, KEYS), False),
        ("only mass-storage,hid", (STORE, KEYS), True),
        ("only 03/01/01", (KEYS, (3, 0, 0)), False),
        ("only hid", (), False),
        ("only hid", None, False),
    ],
)
def test_only_takes_a_device_without_any_other_interface(
    rule: str, has: tuple[tuple[int, int, int], ...] | None, fits: bool
) -> None:
    device = Device("1-1", 3, 1, 2, 1, 1, interfaces=(KEYS,), all_interfaces=has)
    assert parse_policy(f"allow any path 1-1 {rule}").decide(A, device).allowed is fits


def test_only_is_for_allow_rules() -> None:
    with pytest.raises(DescriptionError, match="a deny rule has no only"):
        parse_policy("deny any only hid")


def config(value: int, *interfaces: tuple[int, int, tuple[int, int, int]]) -> bytes:
    """A configuration of (number, alternate setting, class triple) interfaces."""
    body = b"".join(bytes([9, 4, number, alternate, 0, *triple, 0]) for number, alternate, triple in interfaces)
    return bytes([9, 2, 9 + len(body), 0, 1, value, 0, 0x80, 50]) + body


DEVICE_DESCRIPTOR = bytes([18, 1]) + bytes(16)


@pytest.mark.parametrize(
    ("configs", "found"),
    [
        pytest.param([config(1, (0, 0, KEYS))], (KEYS,), id="one"),
        pytest.param([config(1, (0, 0, KEYS), (0, 1, STORE))], (KEYS, STORE), id="in an alternate setting"),
        pytest.param([config(1, (0, 0, KEYS)), config(2, (0, 0, STORE))], (KEYS, STORE), id="in another configuration"),
        pytest.param([config(1, (0, 0, KEYS), (0, 0, STORE))], (KEYS, STORE), id="in a duplicate"),
        pytest.param([config(1, (0, 0, KEYS)), bytes([0, 4])], None, id="a chain that breaks off"),
        pytest.param([config(1, (0, 0, KEYS)), bytes([9, 4, 0])], None, id="a descriptor that is cut off"),
        pytest.param([config(1, (0, 0, KEYS)), bytes([5, 4, 0, 0, 0])], None, id="an interface without a class"),
    ],
)
def test_every_interface_counts_wherever_a_device_hides_it(
    configs: list[bytes], found: tuple[tuple[int, int, int], ...] | None
) -> None:
    assert all_interfaces_of(b"".join([DEVICE_DESCRIPTOR, *configs])) == found


def test_a_grant_at_run_time_does_not_fit_the_device_once_it_has_another_interface() -> None:
    plain = Device("1-1", 3, 1, 2, 1, 1, interfaces=(STORE,), all_interfaces=(STORE,), serial="S")
    changed = Device("1-1", 3, 1, 3, 1, 1, interfaces=(STORE,), all_interfaces=(STORE, KEYS), serial="S")
    text = granted("", A, plain)
    assert parse_policy(text).decide(A, plain).allowed
    assert not parse_policy(text).decide(A, changed).allowed
    assert not parse_policy(revoked(text, A, plain)).decide(A, plain).allowed
