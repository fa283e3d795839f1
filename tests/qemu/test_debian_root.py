# SPDX-License-Identifier: BSD-2-Clause
"""Debian on a routed disk: made by `router image rootfs`, configured and booted by a guest, split and on seL4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from router.testing import Guest, Router, Setup
from tests.sel4.needs import need_sdk
from tests.support.end_to_end import BOOT, set_up
from tests.support.small_root import make_small_root

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]

LIVING = """
system: living
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 512 MiB, root: {label: LIVING}}
usb:
  - {class: mass-storage, to: client}
"""
CONFIGURE = """#!/bin/busybox sh
until [ -e /run/go ]; do /bin/busybox sleep 0.1; done
echo Setting up everything
/bin/busybox rm /var/lib/router/unconfigured
/bin/busybox sync
"""
LONG_S = 3000.0
"""For what takes minutes under emulation: the packages' configuration, the start of systemd."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command; the first test configures it."""
    from router.cli import main

    out = tmp_path_factory.mktemp("debian") / "root.img"
    assert main(["image", "rootfs", "less", "-o", str(out), "--label", "LIVING", "--size", "1 GiB"]) == 0
    return out


@pytest.fixture(scope="module")
def router_setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    if request.param == "microkit":
        need_sdk(config="release")
    folder = tmp_path_factory.mktemp("living")
    if request.param == "small":
        make_small_root(folder / "small.img", folder / "root", "LIVING", configure=CONFIGURE)
        return set_up(folder, LIVING, 0, f"storage:{folder / 'small.img'}", on="split")
    setup = set_up(folder, LIVING, 0, f"storage:{request.getfixturevalue('disk')}", on=request.param)
    return replace(setup, boot_timeout=3 * BOOT)


def living(router: Router) -> Guest:
    """The guest with systemd up: a Debian in which a person can work."""
    client = router.guest("client")
    client.wait_for_root(LONG_S)
    # Not by --wait: that needs a systemd and a dbus that are there already.
    client.wait_for("systemctl is-system-running 2>/dev/null | grep -E 'running|degraded'", LONG_S)
    # Units have 90 s to start, which is little for an emulated guest on a busy computer. Any other failure counts.
    for line in client.run("systemctl --failed --no-legend --plain", LONG_S).stdout.splitlines():
        unit = line.split()[0]
        assert client.run(f"systemctl show -p Result --value {unit}", LONG_S).stdout == "timeout\n", line
        client.run(f"systemctl start {unit}", LONG_S)
    state = client.run("systemctl is-system-running || systemctl --failed --no-legend", LONG_S)
    assert state.stdout == "running\n"
    assert " / ext4 rw" in client.run("cat /proc/1/mounts").stdout
    assert client.run("hostname").stdout == "client\n"
    assert "10.77.0.2 server" in client.run("cat /etc/hosts").stdout
    client.run("systemctl is-active serial-getty@hvc0 systemd-udevd dbus")
    client.run("modprobe usbmon && lsmod | grep -w usbmon")
    assert "46f4:0001" in client.run("router-usbip port").stdout
    return client


@pytest.mark.parametrize("router_setup", ["split"], indirect=True)
def test_debian_is_configured_at_the_first_start_and_systemd_comes_up(router: Router) -> None:
    client = living(router)
    said = [event.detail for event in router.events("root", "client")]
    assert said[1] == "configuring the packages of LABEL=LIVING for the first time"
    assert said[2].startswith("configured in ")
    assert client.run("dpkg -l | grep -v '^ii' | grep -c '^[a-z][a-zA-Z] ' || true").stdout == "0\n"
    assert client.run("dpkg --audit").stdout == ""
    assert "less" in client.run("less --version").stdout
    assert client.run("find / -xdev \\( -nouser -o -nogroup \\) | head").stdout == ""
    assert client.run("stat -c '%U:%G %a' /usr/bin/chage /usr/bin/su / /root").stdout == (
        "root:shadow 2755\nroot:root 4755\nroot:root 755\nroot:root 700\n"
    )
    client.run("cat /var/log/router-configure.log | grep -c '^Setting up'")
    client.run("echo kept >/root/kept && sync")


@pytest.mark.sel4
@pytest.mark.parametrize("router_setup", ["microkit"], indirect=True)
def test_the_same_disk_boots_on_sel4_without_being_configured_again(router: Router) -> None:
    client = living(router)
    said = [event.detail for event in router.events("root", "client")]
    assert [line.split()[0] for line in said] == ["waiting", "LABEL=LIVING"]
    assert client.run("cat /root/kept").stdout == "kept\n"


@pytest.mark.parametrize("router_setup", ["small"], indirect=True)
def test_what_the_configuration_printed_outlives_a_power_cut_right_after_it(router: Router) -> None:
    client = router.guest("client")
    configuring = "configuring the packages of LABEL=LIVING for the first time"
    router.wait_for_event("root", "client", detail=configuring, since=0, timeout=BOOT)
    since = router.next_event
    client.run("touch /run/go")
    router.wait_for_event("root", "client", detail="configured in", since=since, timeout=BOOT)
    since = router.next_event
    client.reset()
    client.wait_for_root()
    said = [event.detail for event in router.events("root", "client", since=since)]
    assert not any("configur" in line for line in said)
    assert client.run("cat /var/log/router-configure.log").stdout == "Setting up everything\n"
