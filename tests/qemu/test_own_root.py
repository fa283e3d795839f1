# SPDX-License-Identifier: BSD-2-Clause
"""A client that goes on in a root file system on a routed disk: a small one here; test_debian_root.py has Debian."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable

import pytest

from router.testing import GuestFailure, Router, Setup
from tests.support.end_to_end import BOOT, set_up
from tests.support.small_root import make_small_root

ROOTED = """
system: rooted
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB, root: {label: SMALL}}
usb:
  - {class: mass-storage, to: client}
"""
BLOCKS = ROOTED.replace("to: client}", "to: client, as: block, name: root}")
DATA = "head -c 3000000 /dev/zero | tr '\\0' x >/data && sync && echo 3 >/proc/sys/vm/drop_caches && sha256sum </data"

NUMBER_OF_MARKS = 40
MARKS = (
    f"n=0; while [ $n -lt {NUMBER_OF_MARKS} ]; do echo $n >>/marks && sync || break;"
    " n=$((n + 1)); echo $n >/run/marks; done"
)


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Setup:
    """So many disks with the root are in the server from the start."""
    folder = tmp_path_factory.mktemp("rooted")
    text, count = request.param
    disks = [folder / f"{number}.img" for number in range(count)]
    make_small_root(disks[0], folder / "root", "SMALL")
    for disk in disks[1:]:
        shutil.copy(disks[0], disk)
    return set_up(folder, text, 0, *(f"storage:{disk}" for disk in disks), on="split")


@pytest.mark.parametrize("router_setup", [(ROOTED, 1)], indirect=True, ids=["one disk"])
def test_the_client_goes_on_in_its_root_and_restarts_when_that_is_lost(
    router: Router, router_setup: Setup, says: Callable[..., str]
) -> None:
    client = router.guest("client")
    client.wait_for_root()
    said = [event.detail for event in router.events("root", "client")]
    assert said == ["waiting for LABEL=SMALL", "LABEL=SMALL is /dev/sda (ext4); starting its /sbin/init"]
    assert client.run("cat /etc/name").stdout == "SMALL\n"
    assert client.run("tr '\\0' ' ' </proc/1/cmdline").stdout == "/bin/busybox sh /sbin/init "
    assert " / ext4 " in client.run("cat /proc/1/mounts").stdout
    assert client.run(DATA).stdout.split()[0] == hashlib.sha256(b"x" * 3000000).hexdigest()
    # The modules are the running kernel's, and what keeps the disk attached runs on.
    client.run("modprobe usbmon && grep -w usbmon /proc/modules")
    assert "46f4:0001" in client.run("router-usbip port").stdout
    assert client.run("cat /run/router/hosts").stdout.endswith("10.77.0.3 client\n")
    # The confined daemon knows that the root is in use, and so does a program of its own.
    refused = says("usb", "detach", "client", "46f4:0001", code=4)
    assert "is in use in 'client': sda on /\n" in refused
    assert '"sda on /"' in client.run("router-usbip ports --json && true").stdout
    assert client.run("head -c 4 /data").stdout == "xxxx"
    since = router.next_event
    with router.connect() as connection:
        connection.unplug(1)
    lost = router.wait_for_event("root_lost", "client", since=since, timeout=BOOT)
    assert lost.detail == "sda has gone; the guest restarts"
    router.wait_for_event("userspace", "client", since=since, timeout=BOOT)
    with router.connect() as connection:
        connection.plug(router_setup.usb[0])
    client.wait_for_root()
    assert [event.detail for event in router.events("root", "client", since=since)] == said
    assert client.run("head -c 4 /data").stdout == "xxxx"


@pytest.mark.parametrize("router_setup", [(ROOTED, 2)], indirect=True, ids=["two disks"])
def test_of_two_disks_with_the_roots_name_none_is_taken(router: Router) -> None:
    client = router.guest("client")
    with pytest.raises(GuestFailure, match="no root file system: several routed disks have LABEL=SMALL"):
        client.wait_for_root()
    (said,) = router.events("no_root", "client")
    assert said.detail.endswith(": /dev/sda /dev/sdb; the guest stays in its initramfs")
    assert client.run("cat /etc/router/image").stdout == "usb-client\n"
    client.run("! grep -q ' ext4 ' /proc/mounts")
    client.wait_for("ps | grep -v grep | grep 'sh -l'")


@pytest.mark.parametrize("router_setup", [(BLOCKS, 1)], indirect=True, ids=["as blocks"])
def test_a_root_as_blocks_waits_for_a_server_that_restarts_and_goes_on(router: Router) -> None:
    client = router.guest("client")
    client.wait_for_root()
    said = [event.detail for event in router.events("root", "client")]
    assert said[-1] == "LABEL=SMALL is /dev/nvme0n1 (ext4); starting its /sbin/init"
    written = hashlib.sha256(b"x" * 3000000).hexdigest()
    assert client.run(DATA).stdout.split()[0] == written
    since = router.next_event
    client.run(f"({MARKS}) >/run/marks.log 2>&1 &")
    client.run("until [ $(cat /run/marks) -ge 3 ]; do sleep 1; done", BOOT)
    router.guest("server").reset()
    for news in ("server away", "server back"):
        router.wait_for_event("disk-news", "client", detail=news, since=since, timeout=BOOT)
    client.run(f"until [ $(cat /run/marks) = {NUMBER_OF_MARKS} ]; do sleep 1; done", BOOT)
    assert client.run("cat /run/marks.log").stdout == ""
    client.run("echo 3 >/proc/sys/vm/drop_caches")
    assert client.run("sha256sum </data").stdout.split()[0] == written
    assert client.run("cat /marks").stdout.split() == [str(number) for number in range(NUMBER_OF_MARKS)]
    assert " / ext4 rw" in client.run("cat /proc/1/mounts").stdout
    assert not router.events("root_lost", "client")
