# SPDX-License-Identifier: BSD-2-Clause
"""The client of disks: its connection, and the names that it gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router.errors import DescriptionError
from router.usbip.client.nvme import Ask, KeepDisks, Target, request
from router.usbip.commands.keep_disks import parse_disks, render_disks
from router.usbip.protocol.disks import Disk, nguid_of, place_of, subsystem
from router.usbip.runtime.sysfs import Sysfs
from tests.usbip.disk_samples import device


@pytest.fixture
def client(tmp_path: Path) -> KeepDisks:
    """nvme0 is the connection; links and requests are in files."""
    sys, links = tmp_path / "sys", tmp_path / "dev/disk/by-router"
    links.mkdir(parents=True)
    (tmp_path / "fabrics").touch()
    (sys / "class/nvme").mkdir(parents=True)
    (sys / "class/block").mkdir()
    targets = [Target("10.77.0.2", 4421)]

    def ask(words: list[str], done: Callable[[OSError | None], None]) -> None:
        request(str(tmp_path / "fabrics"), words[0])
        done(None)

    return KeepDisks(Sysfs(str(sys)), targets, ("data",), {targets[0].subsystem: ask}, 120, str(links))


def connect(root: Path, state: str = "live", nqn: str = subsystem("10.77.0.2", 4421)) -> None:
    controller = root / "sys/class/nvme/nvme0"
    controller.mkdir(parents=True, exist_ok=True)
    (controller / "subsysnqn").write_text(f"{nqn}\n")
    (controller / "state").write_text(f"{state}\n")


def appear(root: Path, disk: Disk, name: str, block: str = "nvme0n1", sectors: int = 4096) -> Path:
    real = root / f"sys/devices/virtual/nvme-fabrics/ctl/nvme0/{block}"
    (real / f"{block}p1").mkdir(parents=True)
    (real / "queue").mkdir()
    (real / "queue/read_ahead_kb").write_text("128\n")
    (real / "nguid").write_text(f"{nguid_of(disk.digest(), place_of(disk, name))}\n")
    (real / "size").write_text(f"{sectors}\n")
    (real / f"{block}p1/partition").write_text("1\n")
    (root / f"sys/class/block/{block}").symlink_to(real)
    (root / f"sys/class/block/{block}p1").symlink_to(real / f"{block}p1")
    return real


def links(root: Path) -> dict[str, str]:
    return {path.name: str(path.readlink()) for path in (root / "dev/disk/by-router").iterdir()}


def test_the_client_asks_for_its_own_port_with_stated_times(client: KeepDisks, tmp_path: Path) -> None:
    client.connect()
    words = dict(word.split("=") for word in (tmp_path / "fabrics").read_text().split(","))
    assert words.pop("hostnqn") and words.pop("nqn") == subsystem("10.77.0.2", 4421)
    assert words == {
        "transport": "tcp",
        "traddr": "10.77.0.2",
        "trsvcid": "4421",
        "keep_alive_tmo": "5",
        "reconnect_delay": "1",
        "ctrl_loss_tmo": "120",
    }
    (tmp_path / "fabrics").write_text("")
    connect(tmp_path, "connecting")
    client.connect()
    assert (tmp_path / "fabrics").read_text() == "", "the kernel is at it already"


def test_a_server_that_does_not_answer_is_asked_once_and_holds_up_no_other(tmp_path: Path) -> None:
    asked: list[tuple[str, Callable[[OSError | None], None]]] = []
    targets = [Target("10.77.0.2", 4421), Target("10.77.0.9", 4421)]

    def ask_of(name: str) -> Ask:
        return lambda words, done: asked.append((name, done))

    asks = {target.subsystem: ask_of(target.address) for target in targets}
    client = KeepDisks(Sysfs(str(tmp_path)), targets, (), asks, 120, str(tmp_path))
    for _ in range(3):
        client.connect()
    assert [name for name, _ in asked] == ["10.77.0.2", "10.77.0.9"]
    asked[1][1](OSError(111, "Connection refused"))
    client.connect()
    assert [name for name, _ in asked[2:]] == ["10.77.0.9"]


def test_a_disk_and_its_partitions_are_linked_by_name_and_go_with_it(
    client: KeepDisks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(tmp_path)
    real = appear(tmp_path, Disk(device(), 0, "sda", 4096), "data")
    client.look()
    client.look()
    assert links(tmp_path) == {"data": "../../nvme0n1", "data-part1": "../../nvme0n1p1"}
    assert (real / "queue/read_ahead_kb").read_text() == "4096"
    assert capsys.readouterr().out == "router-usbip: disk data ready: nvme0n1, 2 MiB\n"
    for name in ("nvme0n1", "nvme0n1p1"):
        (tmp_path / "sys/class/block" / name).unlink()
    client.look()
    assert links(tmp_path) == {}
    assert capsys.readouterr().out == "router-usbip: disk data has gone\n"
    rescan = tmp_path / "sys/class/nvme/nvme0/rescan_controller"
    for asked in (True, True, True, False):
        rescan.write_text("")
        client.connect()
        assert (rescan.read_text() == "1") is asked, "the kernel may have left out the same disk under a new number"


def test_disks_of_other_connections_and_without_a_name_of_ours_are_left_alone(
    client: KeepDisks, tmp_path: Path
) -> None:
    connect(tmp_path, nqn="nqn.2014-08.org.example:else")
    appear(tmp_path, Disk(device(), 0, "sda", 4096), "data")
    client.look()
    assert links(tmp_path) == {}
    connect(tmp_path)
    (tmp_path / "sys/class/block/nvme0n1").resolve().joinpath("nguid").write_text("00" * 16)
    client.look()
    assert links(tmp_path) == {}


def test_waiting_for_a_server_is_said_once_and_so_is_its_return(
    client: KeepDisks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in ("connecting", "live", "resetting", "connecting", "connecting", "live"):
        connect(tmp_path, state)
        client.look()
    assert capsys.readouterr().out.splitlines() == [
        "router-usbip: disk server away: reads and writes wait for it, 120 s at the most",
        "router-usbip: disk server back",
    ]


def test_the_clients_file_is_read_as_it_is_written() -> None:
    text = render_disks([("10.77.0.2", 4421)], ["data", "more"])
    disks_file = parse_disks(text, "disks")
    targets, names = disks_file.targets, disks_file.names
    assert ([(one.address, one.tcp) for one in targets], names) == ([("10.77.0.2", 4421)], ("data", "more"))
    for wrong in ("server 10.77.0.2", "server host 1", "server 10.77.0.2,x=1 4421", "name a/b", "else"):
        with pytest.raises(DescriptionError):
            parse_disks(wrong, "disks")
