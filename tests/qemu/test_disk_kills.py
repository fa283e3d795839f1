# SPDX-License-Identifier: BSD-2-Clause
"""A server that is killed or frozen again and again while two guests write to their parts of one disk.

Nothing that was acknowledged is lost, and no older write comes over a newer one. ROUTER_DISK_KILLS and
ROUTER_DISK_FREEZES: how often.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from router.cli import main
from router.testing import Router, Setup
from router.testing.qemu import QemuMachine
from tests.support.end_to_end import BOOT, MiB
from tests.support.systems import SHIPPED

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]

KILLS = int(os.environ.get("ROUTER_DISK_KILLS", "20"))
FREEZES = int(os.environ.get("ROUTER_DISK_FREEZES", "5"))
FREEZE_S = 60
GUESTS = {"a": ("/dev/disk/by-router/data-a", MiB), "b": ("/dev/disk/by-router/data-b", 2049 * MiB)}
SECTORS = 8
"""Written in turn, so that each is soon written again: an older write that came later would be seen."""
WRITER = """\
(n=0; rm -f /tmp/end; while [ ! -e /tmp/stop ]; do
  printf '%-512s' $n | dd of={disk} bs=512 seek=$((n % {sectors})) conv=fsync,notrunc || break
  echo $n >/tmp/new; mv /tmp/new /tmp/log; n=$((n + 1))
done; touch /tmp/end) >/dev/null 2>&1 &"""


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """USB port 1 has a sparse image that `router disk prepare` has prepared."""
    folder = tmp_path_factory.mktemp("kills")
    disk = folder / "disk.img"
    disk.touch()
    os.truncate(disk, 5 << 30)
    description = SHIPPED / "shared-disk.yaml"
    assert main(["disk", "prepare", str(description), str(disk)]) == 0
    usb = (f"storage:{disk}",)
    return Setup(description=description, on="split", usb=usb, boot_timeout=BOOT, build=folder / "build")


def acknowledged(router: Router) -> dict[str, int]:
    """The last write of each guest that was acknowledged; a writer that has ended is a failure."""
    found = {}
    for name in GUESTS:
        guest = router.guest(name)
        assert guest.run("[ -e /tmp/end ]", check=False).code != 0, f"a write of '{name}' failed"
        found[name] = int(guest.wait_for("[ -s /tmp/log ] && cat /tmp/log").stdout)
    return found


def wait_for_more(router: Router, before: dict[str, int]) -> None:
    """Until each guest has written each sector again. What fails ends the writer, and this wait with it."""
    for name, count in before.items():
        router.guest(name).wait_for(f"[ -e /tmp/end ] || [ $(cat /tmp/log) -ge {count + SECTORS + 1} ]", timeout=BOOT)
    assert acknowledged(router).keys() == before.keys()


def test_nothing_acknowledged_is_lost_and_nothing_old_comes_back_in_kills_and_freezes(
    router: Router, router_setup: Setup
) -> None:
    assert isinstance(router.machine, QemuMachine)
    for name, (disk, _) in GUESTS.items():
        guest = router.guest(name)
        guest.wait_for(f"[ -b {disk} ]")
        guest.run(WRITER.format(disk=disk, sectors=SECTORS))
    qmp = router.machine.system.guests["server"].qmp
    wait_for_more(router, acknowledged(router))
    qmp.execute("set-action", reboot="reset")
    for _ in range(KILLS):
        before, since = acknowledged(router), router.next_event
        qmp.execute("system_reset")
        for name in GUESTS:
            router.wait_for_event("disk-news", name, detail="server back", since=since, timeout=BOOT)
        wait_for_more(router, before)
    qmp.execute("set-action", reboot="shutdown")
    for _ in range(FREEZES):
        before = acknowledged(router)
        qmp.execute("stop")
        time.sleep(FREEZE_S)
        qmp.execute("cont")
        wait_for_more(router, before)
    last = {}
    for name in GUESTS:
        guest = router.guest(name)
        guest.run("touch /tmp/stop")
        guest.wait_for("[ -e /tmp/end ]", timeout=BOOT)
        last[name] = int(guest.run("cat /tmp/log").stdout)
    with Path(router_setup.usb[0].removeprefix("storage:")).open("rb") as image:
        for name, (_, place) in GUESTS.items():
            image.seek(place)
            there = [int(image.read(512)) for _ in range(SECTORS)]
            wanted = [last[name] - (last[name] - sector) % SECTORS for sector in range(SECTORS)]
            assert there == wanted, f"the disk of '{name}' differs from its log of writes"
