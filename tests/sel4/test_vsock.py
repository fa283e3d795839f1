# SPDX-License-Identifier: BSD-2-Clause
"""On seL4 without any network interface: USB goes over vsock, what no rule allows is refused, guests come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.testing import Router, Setup
from tests.sel4.needs import need_qemu, need_sdk
from tests.sel4.test_guests import restarted, sha256, uptime
from tests.support.end_to_end import MiB, set_up
from tests.support.vsock import check_refusals

TEXT = """
system: without-network
board: qemu
microkit: {config: debug}
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
network: {transport: vsock}
usb:
  - {class: mass-storage, to: client}
"""


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """A server with a disk, and its client; neither has a network interface."""
    need_sdk()
    need_qemu()
    return set_up(tmp_path_factory.mktemp("vsock"), TEXT, 4 * MiB)


def test_a_client_on_sel4_without_a_network_interface_reads_the_disk(router: Router, disk: Path) -> None:
    assert router.guest("client").sha256("/dev/sda") == sha256(disk)
    for guest in ("client", "server"):
        assert router.guest(guest).run("ls /sys/class/net").stdout == "lo\n"


def test_what_a_client_on_sel4_writes_over_vsock_is_in_the_image(router: Router, disk: Path) -> None:
    write = "dd of=/dev/sda bs=64k seek=32 conv=fsync,notrunc 2>/dev/null"
    router.guest("client").run(f"yes routed | head -c 1048576 | {write}")
    assert disk.read_bytes()[2 * MiB : 3 * MiB] == (b"routed\n" * MiB)[:MiB]


def test_a_vsock_port_that_no_rule_allows_is_refused_on_sel4(router: Router) -> None:
    before = router.counters()
    check_refusals(router)
    after = router.counters()
    risen = {}
    for name, port in after.items():
        vsock, earlier = port.vsock, before[name].vsock
        assert vsock is not None and earlier is not None and vsock.connected and not port.connected
        reasons = ("not-allowed", "destination-cid")
        risen[name] = {each: vsock.drops.get(each, 0) - earlier.drops.get(each, 0) for each in reasons}
    assert risen["client"]["not-allowed"] > 0 and risen["client"]["destination-cid"] > 0
    assert risen["server"]["not-allowed"] > 0 and risen["server"]["destination-cid"] == 0


def test_a_client_on_vsock_that_resets_has_its_disk_again(router: Router, disk: Path) -> None:
    before = uptime(router, "server")
    restarted(router, "client")
    router.guest("client").wait_for("ls /dev/sda")
    assert router.guest("client").sha256("/dev/sda") == sha256(disk)
    assert uptime(router, "server") > before


@pytest.mark.long
def test_a_server_on_vsock_that_resets_gives_its_disk_to_the_client_again(router: Router, disk: Path) -> None:
    """The switch resets the client's connection, so the client loses the disk without waiting for its beats."""
    since = router.next_event
    restarted(router, "server")
    router.wait_for_event("attached", "client", since=since, timeout=120)
    read = router.guest("client").wait_for(f"sha256sum /dev/sd? | grep {sha256(disk)}").stdout
    assert read.split()[1].startswith("/dev/sd")
