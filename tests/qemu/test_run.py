# SPDX-License-Identifier: BSD-2-Clause
"""`router run` as a user has it: exit codes, clean stops, and a clear word when a guest does not come up."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from router import resources
from router.control.place import Claim
from router.devicetree.dtc import compile_source
from tests.support.end_to_end import BOOT, MiB, describe_two, own_place, processes_in, router
from tests.support.patience import PATIENCE


@pytest.fixture(autouse=True)
def place() -> Iterator[Path]:
    """Where the runs of a test have their temporary files."""
    with own_place() as folder:
        yield folder


def finished(
    folder: Path, path: Path, *words: str, mode: str = "split", seconds: float = BOOT
) -> subprocess.CompletedProcess[str]:
    """A `router run` in a folder, to its end; it waits so long for the guests."""
    command = router("run", path, "--mode", mode, "--timeout", f"{seconds:g}", *words)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BOOT + PATIENCE, check=False)


def test_exec_is_a_complete_test(tmp_path: Path, place: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(os.urandom(4 * MiB))
    path = describe_two(tmp_path, "exec-codes")
    run = finished(
        tmp_path,
        path,
        *("--usb", f"storage:{disk}"),
        *("--exec", "client: dd if=/dev/sda bs=1M count=4 2>/dev/null | sha256sum"),
        *("--exec", "client: echo trouble >&2; exit 7"),
        *("--exec", "server: exit 9"),
        *("--junit", "reports/junit.xml"),
    )
    assert run.returncode == 7, run.stderr
    boot, good, seven, nine = ElementTree.parse(tmp_path / "reports/junit.xml").iter("testcase")
    assert [case.find("failure") is None for case in (boot, good, seven, nine)] == [True, True, False, False]
    assert str(seven.findtext("failure")) == "exit code 7\ntrouble\n"
    assert "logs/client.console.log]]" in str(nine.findtext("system-out"))
    assert run.stdout.split()[0] == hashlib.sha256(disk.read_bytes()).hexdigest()
    assert "trouble" in run.stdout
    assert "device attached: 2-1 port 1" in run.stderr
    assert "Linux version" in (tmp_path / "build/exec-codes/logs/client.early.log").read_text()
    assert processes_in(tmp_path) == []
    assert list(place.glob("router-*")) == []


def test_events_and_results_are_json_lines(tmp_path: Path) -> None:
    path = describe_two(tmp_path, "as-json")
    run = finished(tmp_path, path, "--json", "--exec", "client: uname -m")
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {row["guest"] for row in rows if row["event"] == "userspace"} == {"server", "client"}
    assert rows[-1]["event"] == "command"
    assert (rows[-1]["code"], rows[-1]["output"]) == (0, "aarch64\n")


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, place: Path) -> None:
    path = describe_two(tmp_path, "interrupted")
    with subprocess.Popen(
        router("run", path, "--mode", "split"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "user space up" in line:
                break
        assert len(processes_in(tmp_path)) > 1
        assert list(place.glob("router-*")) != []
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
        assert run.wait(PATIENCE) == 130
    assert "Traceback" not in rest
    assert processes_in(tmp_path) == []
    assert list(place.glob("router-*")) == []


def test_a_guest_that_panics_is_named_with_its_last_lines(tmp_path: Path) -> None:
    path = describe_two(tmp_path, "panics", more="bootargs: rdinit=/no/such/init")
    run = finished(tmp_path, path)
    assert run.returncode == 4
    assert "error: guest 'server' is gone: kernel panic: VFS: Unable to mount root fs" in run.stderr
    assert processes_in(tmp_path) == []


def endless_image() -> bytes:
    """An arm64 Image whose first instruction jumps to itself."""
    return struct.pack("<IIQQ", 0x14000000, 0, 0, 4096).ljust(56, b"\0") + b"ARM\x64" + bytes(4032)


def test_a_guest_that_goes_quiet_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(endless_image())
    (tmp_path / "initramfs").write_bytes(bytes(4))
    path = describe_two(tmp_path, "quiet", server="{kernel: Image, initramfs: initramfs, role: server}")
    start = time.monotonic()
    run = finished(tmp_path, path, seconds=12)
    assert run.returncode == 4
    assert time.monotonic() - start < 60
    assert "not up after 12 s: guest 'server' is not up" in run.stderr


def test_microkit_without_an_image_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("~/.cache").expanduser()))
    path = describe_two(tmp_path, "no-image")
    run = finished(tmp_path, path, mode="microkit")
    assert run.returncode == 3
    assert "error: no Microkit SDK" in run.stderr
    assert "--mode split" in run.stderr


def test_a_system_runs_once_at_a_time(tmp_path: Path) -> None:
    path = describe_two(tmp_path, "only-once")
    with Claim("only-once"):
        run = finished(tmp_path, path)
    assert run.returncode == 3
    assert f"the system 'only-once' runs already, in process {os.getpid()}" in run.stderr
    assert processes_in(tmp_path) == []


def test_a_tree_of_ones_own_says_what_waits_and_a_port_by_its_controller_is_routed(tmp_path: Path) -> None:
    """A device whose provider has no driver is named by check and by the guest; guests have seeds of their own."""
    source = tmp_path / "own.dts"
    source.write_text(
        f'/include/ "{resources.folder("dts")}/qemu_virt_aarch64.dts"\n'
        "/ {\n"
        '\tregulator-waits { compatible = "regulator-fixed"; regulator-name = "waits"; vin-supply = <&never>; };\n'
        '\tnever: regulator-never { compatible = "test,no-driver"; };\n'
        "};\n"
    )
    (tmp_path / "own.dtb").write_bytes(compile_source(source))
    path = tmp_path / "own-tree.yaml"
    path.write_text(
        "system: own-tree\nboard: qemu\ndevice_tree: own.dtb\nguests:\n"
        "  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000, regulator-waits]}\n"
        "  client: {image: usb-client, memory: 256 MiB}\n"
        'usb: [{path: "00:01.0/1", to: client}]\n'
    )
    disk = tmp_path / "disk.img"
    disk.write_bytes(os.urandom(MiB))
    attached = "for n in $(seq 60); do [ -b /dev/sda ] && break; sleep 1; done; sha256sum /dev/sda"
    waits = "for n in $(seq 60); do dmesg | grep 'server: deferred' && break; sleep 1; done"
    run = finished(
        tmp_path,
        path,
        *("--usb", f"storage:{disk}"),
        *("--exec", f"client: {attached}"),
        *("--exec", f"server: {waits}"),
        *("--exec", "client: dmesg | grep -E 'KASLR|crng'; od -An -tx1 /proc/device-tree/chosen/kaslr-seed"),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert hashlib.sha256(disk.read_bytes()).hexdigest() in run.stdout
    assert "server: deferred regulator-waits" in run.stdout
    assert "KASLR enabled" in run.stdout and " 00 00 00 00 00 00 00 00" in run.stdout, "Linux wipes what it has used"
    checked = subprocess.run(router("check", path), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "has no driver for regulator-never ('test,no-driver')" in checked.stdout + checked.stderr
    assert "regulator-waits waits for it" in checked.stdout + checked.stderr
