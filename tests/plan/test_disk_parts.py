# SPDX-License-Identifier: BSD-2-Clause
"""`disks` in the plan: one grant a part, each guest at its own port, and what the guests and QEMU's run make of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.cli import main
from router.disk.layout import owner_of
from router.errors import DescriptionError
from router.machines.qemu.usb import grant_of, parse_plug, plugs_of
from router.pipeline.overlay import overlay_files
from router.plan.models import Grant, SystemPlan
from router.report.topology import usb_text
from tests.support.systems import described, plan_of, shipped


def plan() -> SystemPlan:
    return plan_of(shipped("shared-disk"))


def test_the_shipped_description_gives_each_client_its_part_at_its_own_port() -> None:
    found = plan()
    ways = {(found.guests[rule.source].name, rule.port) for rule in found.vswitch.rules}
    assert ways == {("a", 4421), ("b", 4422)}
    files = {name: overlay_files(found, found.guest(name)) for name in ("server", "a", "b")}
    assert files["server"]["etc/router/usb-policy"].decode().splitlines()[1:] == [
        f"allow 10.77.0.3 class mass-storage blocks 4421 name data-a size {2 << 30} owner {owner_of('a')}",
        f"allow 10.77.0.4 class mass-storage blocks 4422 name data-b size {2 << 30} owner {owner_of('b')}",
    ]
    assert files["a"]["etc/router/disks"] == b"server 10.77.0.2 4421\nname data-a\n"
    assert files["b"]["etc/router/disks"] == b"server 10.77.0.2 4422\nname data-b\n"
    assert [guest.image for guest in found.guests] == ["usb-server-disks", "usb-client-disks", "usb-client-disks"]


def test_a_part_is_called_by_its_size_and_its_disk() -> None:
    assert usb_text(plan().grants[0]) == "2 GiB of mass-storage as blocks → data-a"


def test_a_plugged_in_disk_brings_every_part_of_it_and_no_part_of_another_one() -> None:
    grants = (
        *plan().grants,
        Grant("server", "a", path="1-4", blocks=4421, name="far", size=1 << 20),
    )
    grant = grant_of(parse_plug("storage:/dev/null", 1), grants)
    assert grant is not None and [one.name for one in grant.parts_in(grants)] == ["data-a", "data-b"]


def test_of_two_rules_that_fit_a_plug_the_more_exact_one_counts_as_in_the_guest() -> None:
    grants = (Grant("server", "a", device_class=8), Grant("server", "b", path="1-1"))
    grant = grant_of(parse_plug("storage:/dev/null", 1), grants)
    assert grant is not None and grant.to == "b"


def test_run_refuses_an_image_that_is_not_prepared_before_it_boots(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.touch()
    os.truncate(disk, 5 << 30)
    with pytest.raises(DescriptionError) as caught:
        plugs_of([f"storage:{disk}"], plan())
    assert "is not prepared: it has no partition data-a, data-b" in caught.value.message
    assert caught.value.hint == f"router disk prepare FILE.yaml {disk}"
    assert main(["disk", "prepare", "shared-disk.yaml", str(disk)]) == 0
    (plug,) = plugs_of([f"storage:{disk}"], plan())
    assert plug.argument == disk


def test_a_guests_wait_for_its_server_is_in_its_file_in_seconds() -> None:
    guests = {
        "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]},
        "a": {"image": "usb-client", "disk_wait": "30 s"},
    }
    rules = [{"path": "1-1", "to": "a", "as": "block"}]
    found = plan_of(described({"system": "x", "board": "qemu", "guests": guests, "usb": rules}))
    assert overlay_files(found, found.guest("a"))["etc/router/disks"] == b"server 10.77.0.2 4421\nwait 30\n"


def test_a_guests_root_may_be_on_its_part() -> None:
    guests = {
        "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]},
        "a": {"image": "usb-client", "root": {"label": "DEBIAN"}},
    }
    disks = [{"name": "root", "to": "a", "on": {"class": "mass-storage"}, "size": "2 GiB"}]
    found = plan_of(described({"system": "x", "board": "qemu", "guests": guests, "disks": disks}))
    assert [(grant.name, grant.size) for grant in found.grants] == [("root", 2 << 30)]
