# SPDX-License-Identifier: BSD-2-Clause
"""Debian on a routed disk: made by `router image rootfs`, configured and booted by a guest, split and on seL4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.usb import parse_plugs
from tests.sel4.needs import need_sdk
from tests.support.end_to_end import BOOT, Booted, build_text, own_place
from tests.support.patience import wait_until
from tests.support.small_root import wait_for_event, wait_for_root

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
LONG_S = 3000.0
"""For what takes minutes under emulation: the packages' configuration, the start of systemd."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command; the first test configures it."""
    from router.cli import main

    out = tmp_path_factory.mktemp("debian") / "root.img"
    assert main(["image", "rootfs", "less", "-o", str(out), "--label", "LIVING", "--size", "1 GiB"]) == 0
    return out


@contextmanager
def running(folder: Path, disk: Path, *, sel4: bool) -> Iterator[Booted]:
    built = build_text(LIVING, folder, loader_image=sel4)
    plugs = parse_plugs([f"storage:{disk}"])
    start = microkit_run if sel4 else split_run
    with own_place(), start(built, plugs, folder / "logs", Timeline()) as system:
        wait_for_event(system, "client", "userspace", seconds=3 * BOOT)
        yield Booted(system, disk)


def lives(booted: Booted) -> None:
    """systemd is up, and the guest is a Debian in which a person can work."""
    wait_for_root(booted, "client", LONG_S)

    # Not by --wait: that needs a systemd and a dbus that are there already.
    def started() -> bool:
        _, state = booted.system.execute("client", "systemctl is-system-running 2>/dev/null", LONG_S)
        return state.strip() in (b"running", b"degraded")

    assert wait_until(started, LONG_S, 2), f"systemd is not up within {LONG_S} s"
    state = booted.run("client", "systemctl is-system-running || systemctl --failed --no-legend", LONG_S)
    assert state == "running\n"
    assert " / ext4 rw" in booted.run("client", "cat /proc/1/mounts")
    assert booted.run("client", "hostname") == "client\n"
    assert "10.77.0.2 server" in booted.run("client", "cat /etc/hosts")
    booted.run("client", "systemctl is-active serial-getty@hvc0 systemd-udevd dbus")
    booted.run("client", "modprobe usbmon && lsmod | grep -w usbmon")
    assert "46f4:0001" in booted.run("client", "router-usbip port")


def test_debian_is_configured_at_the_first_start_and_systemd_comes_up(disk: Path, tmp_path: Path) -> None:
    with running(tmp_path, disk, sel4=False) as booted:
        said = wait_for_event(booted.system, "client", "root", 4, LONG_S)
        assert said[1] == "configuring the packages of LABEL=LIVING for the first time"
        assert said[2].startswith("configured in ")
        lives(booted)
        assert booted.run("client", "dpkg -l | grep -v '^ii' | grep -c '^[a-z][a-zA-Z] ' || true") == "0\n"
        assert booted.run("client", "dpkg --audit") == ""
        assert "less" in booted.run("client", "less --version")
        assert booted.run("client", "find / -xdev \\( -nouser -o -nogroup \\) | head") == ""
        assert booted.run("client", "stat -c '%U:%G %a' /usr/bin/chage /usr/bin/su / /root") == (
            "root:shadow 2755\nroot:root 4755\nroot:root 755\nroot:root 700\n"
        )
        assert booted.run("client", "cat /var/log/router-configure.log | grep -c '^Setting up'")
        booted.run("client", "echo kept >/root/kept && sync")


@pytest.mark.sel4
def test_the_same_disk_boots_on_sel4_without_being_configured_again(disk: Path, tmp_path: Path) -> None:
    need_sdk(config="release")
    with running(tmp_path, disk, sel4=True) as booted:
        said = wait_for_event(booted.system, "client", "root", 2, LONG_S)
        assert [line.split()[0] for line in said] == ["waiting", "LABEL=LIVING"]
        lives(booted)
        assert booted.run("client", "cat /root/kept") == "kept\n"
