# SPDX-License-Identifier: BSD-2-Clause
"""`router run` on seL4 as a user has it, with the oldest SDK, with a release kernel, and for the MaaXBoard."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.machines.qemu.tool import VARIABLE
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import BOOT, MiB, own_place, processes_in, router
from tests.support.patience import PATIENCE
from tests.support.skips import need_newer

TWO = """
system: {name}
board: {board}
microkit: {{sdk: {sdk}, config: {config}}}
guests:
  server: {{image: usb-server, memory: 256 MiB, passthrough: [{devices}]}}
  client: {{image: usb-client, memory: 256 MiB}}
usb:
  - {{class: mass-storage, to: client}}
  - {{class: hid, to: client}}
"""


def describe(folder: Path, name: str, *, board: str = "qemu", sdk: str = "auto", config: str = "debug") -> Path:
    devices = {
        "qemu": "pcie@3f000000",
        "maaxboard": "usb@38100000, usb@38200000",
        "imx8mp_evk": "usb@38200000",
    }[board]
    path = folder / f"{name}.yaml"
    path.write_text(TWO.format(name=name, board=board, sdk=sdk, config=config, devices=devices))
    return path


def booted(path: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A run on seL4, which tells itself what was missing before the test's own time is over."""
    return subprocess.run(
        [*router("run", path, "--mode", "microkit", *words), "--timeout", f"{BOOT:g}", "--exec-timeout", "50"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )


def routed(path: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A run with a disk and a keyboard, whose last command fails with 7; the disk is at `folder`/disk.img."""
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(4 * MiB))
    return booted(
        path,
        folder,
        *("--usb", f"storage:{disk}", "--usb", "keyboard", *words),
        *("--exec", "client: dd if=/dev/sda bs=1M count=4 2>/dev/null | sha256sum"),
        *("--exec", "client: grep Name /proc/bus/input/devices"),
        *("--exec", "client: dmesg | grep -E 'KASLR|crng'; od -An -tx1 /proc/device-tree/chosen/kaslr-seed"),
        *("--exec", "server: echo trouble >&2; exit 7"),
    )


def checked(run: subprocess.CompletedProcess[str], folder: Path) -> None:
    """The disk's checksum, the keyboard and the exit code are as they must be."""
    disk = (folder / "disk.img").read_bytes()
    assert run.returncode == 7, run.stderr
    assert run.stdout.split()[0] == hashlib.sha256(disk).hexdigest()
    assert "QEMU USB Keyboard" in run.stdout
    assert "KASLR enabled" in run.stdout and " 00 00 00 00 00 00 00 00" in run.stdout, "Linux wipes what it has used"
    assert "trouble" in run.stdout


@pytest.fixture(autouse=True)
def place() -> Iterator[Path]:
    """Where the runs of a test have their temporary files."""
    with own_place() as folder:
        yield folder


def test_the_oldest_sdk_routes_too_and_exit_codes_arrive(tmp_path: Path, place: Path) -> None:
    need_sdk("2.0.1")
    need_qemu()
    run = routed(describe(tmp_path, "oldest", sdk="2.0.1"), tmp_path)
    checked(run, tmp_path)
    assert "the kernel starts" in run.stderr
    assert "note: configuration 'debug': any guest can stop the whole machine" in run.stderr
    assert "note: Microkit SDK 2.0.1: its seL4 does not keep PAR_EL1 apart" in run.stderr
    assert "Linux version" in (tmp_path / "build/oldest/logs/client.console.log").read_text()
    assert processes_in(tmp_path) == []
    assert list(place.glob("router-*")) == []


def test_ctrl_c_stops_a_release_system_and_leaves_nothing_behind(tmp_path: Path, place: Path) -> None:
    need_sdk(config="release")
    need_qemu()
    path = describe(tmp_path, "stopped", config="release")
    with subprocess.Popen(
        router("run", path, "--timeout", f"{BOOT:g}"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        head = []
        for line in run.stderr:
            head.append(line)
            if "up; Ctrl-C stops it" in line:
                break
        assert len(processes_in(tmp_path)) > 1
        assert list(place.glob("router-*")) != []
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
        assert run.wait(PATIENCE) == 130
    assert any("microkit run" in line for line in head)
    assert not any("debug calls" in line for line in head)
    assert any("client     user space up" in line for line in head)
    assert "Traceback" not in rest
    assert processes_in(tmp_path) == []
    assert list(place.glob("router-*")) == []


def test_the_maaxboards_image_routes_on_the_emulated_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_sdk(board="maaxboard", config="release")
    monkeypatch.setenv(VARIABLE, need_newer("qemu-system-aarch64"))
    run = routed(describe(tmp_path, "maax", board="maaxboard", config="release"), tmp_path)
    checked(run, tmp_path)
    assert "note: this is QEMU's imx8mp-evk, not the Avnet MaaXBoard" in run.stderr
    assert "device attached: 2-1" in run.stderr
    assert not (tmp_path / "build/maax").exists()


def test_the_evks_own_image_runs_on_the_emulated_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole closure, clocks, power domains and PHY included; what QEMU has by name only is said."""
    need_sdk(board="imx8mp_evk", config="release")
    monkeypatch.setenv(VARIABLE, need_newer("qemu-system-aarch64"))
    disk = tmp_path / "disk.img"
    disk.write_bytes(os.urandom(4 * MiB))
    run = booted(
        describe(tmp_path, "evk", board="imx8mp_evk", config="release"),
        tmp_path,
        *("--usb", f"storage:{disk}"),
        *("--exec", "client: dd if=/dev/sda bs=1M count=4 2>/dev/null | sha256sum"),
        *("--exec", "server: ls /sys/bus/platform/drivers/imx8mq-usb-phy /sys/bus/platform/drivers/imx8mp-dwc3"),
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0] == hashlib.sha256(disk.read_bytes()).hexdigest()
    assert "382f0040.usb-phy" in run.stdout and "32f10108.usb" in run.stdout
    assert "no model of the power controller, HSIO's block control, the pin controller or the USB PHYs" in run.stderr
    # The image is the board's: `router build` finds nothing to do but to say so.
    image = (tmp_path / "build/evk/loader.img").stat().st_mtime_ns
    built = subprocess.run(
        router("build", tmp_path / "evk.yaml", "--require-image"), cwd=tmp_path, capture_output=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "build/evk/loader.img").stat().st_mtime_ns == image
