# SPDX-License-Identifier: BSD-2-Clause
"""A real U-Boot (Debian's, in QEMU) with its serial line on a pty, loading from our TFTP server over a tap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from router.deploy.bootimage import wrap_for_booti
from router.deploy.plan import AwaitedMilestone, DeployPlan, payload, write_plan
from router.microkit.sdk import Sdk, installed_sdks
from tests.deploy.lab import write_build
from tests.deploy.machines import BOARD, HOST, Namespace, lab_file, namespace, qemu, router
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(20 * PATIENCE)]

BIG = 40_000_000
SOON = 10.0
"""Seconds for half a megabyte on a bad network."""


@pytest.fixture(scope="module")
def net() -> Iterator[Namespace]:
    with namespace() as one:
        yield one


def events_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def deploy(net: Namespace, folder: Path, lab: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return router(
        net, "deploy", str(folder), "--lab", str(lab), *arguments, env={"ROUTER_LOCK_DIR": str(folder / "locks")}
    )


@pytest.mark.packages
def test_a_kernel_of_40_mb_is_loaded_in_time_and_its_guest_comes_up(net: Namespace, tmp_path: Path) -> None:
    from router.guests.cpio import build_overlay
    from router.guests.image import build_image

    image = build_image("usb-client")
    conf = b"GUEST=client\nROLE=client\nIP=10.77.0.3\nPREFIX=24\nSERVER=10.77.0.2\n"
    kernel = image.kernel.read_bytes()
    (tmp_path / "Image").write_bytes(kernel.ljust(BIG, b"\0"))
    (tmp_path / "initrd").write_bytes(image.initramfs.read_bytes() + build_overlay({"etc/router/guest.conf": conf}))
    initrd = payload(tmp_path, "initrd", 0x4A00_0000)
    plan = DeployPlan(
        system="client",
        board="qemu",
        payloads=(payload(tmp_path, "Image", 0x4200_0000), initrd),
        prepare=("setenv bootargs console=ttyAMA0 earlycon quiet",),
        start=f"booti 0x42000000 0x4a000000:{initrd.size:x} ${{fdtcontroladdr}}",
        identity="qemu-arm",
        milestones=(
            AwaitedMilestone(name="kernel", pattern="Starting kernel"),
            AwaitedMilestone(name="client up", pattern="router: guest client: userspace up"),
        ),
        boot_seconds=300.0,
    )
    write_plan(tmp_path, plan)
    took = []
    for _ in range(3):  # the quickest, if need be: what else the computer does only adds to it
        with qemu(net) as serial:
            done = deploy(net, tmp_path, lab_file(tmp_path, serial), "--json")
        assert done.returncode == 0
        events = events_of(done)
        assert [e["name"] for e in events if e["event"] == "milestone"] == ["kernel", "client up"]
        prompt = next(float(str(e["at"])) for e in events if e["event"] == "done" and e["name"] == "prompt")
        commands = [e for e in events if e["event"] == "command"]
        took.append(next(float(str(e["at"])) for e in commands if str(e["text"]).startswith("booti")) - prompt)
        if took[-1] < 10.0:
            break
    assert min(took) < 10.0, f"prompt to booti: {took}"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A build whose start command says so and stays."""
    (tmp_path / "loader.img").write_bytes(os.urandom(200_001))
    start = "echo started; sleep 600"
    milestones = (AwaitedMilestone(name="started", pattern="^started"),)
    write_build(tmp_path, board="qemu", start=start, milestones=milestones)
    return tmp_path


@pytest.mark.parametrize("window", [1, 16])
def test_windows_of_any_size_arrive_whole(net: Namespace, small: Path, window: int) -> None:
    with qemu(net) as serial:
        done = deploy(net, small, lab_file(small, serial, tftp={"window": window}))
    assert done.returncode == 0
    assert "crc32" in done.stdout


@pytest.mark.parametrize("window", [1, 8])
def test_on_a_bad_network_u_boot_gets_the_file_whole_and_soon(net: Namespace, window: int) -> None:
    networks = [
        {"loss": 0.02},
        {"duplicate": 0.05},
        {"reorder": 0.05},
        {"loss": 0.01, "duplicate": 0.01, "reorder": 0.01},
    ]
    helper = str(Path(__file__).with_name("uboot_on_a_bad_network.py"))
    cases = json.dumps([[window, network, SOON] for network in networks])
    with qemu(net) as serial:
        done = subprocess.run(
            net.argv(sys.executable, helper, serial, HOST, BOARD, cases),
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * PATIENCE,
            env={**os.environ, "PYTHONPATH": str(Path(bench.__file__).parents[1])},  # the checkout, for bench
        )
    print(done.stdout, done.stderr)
    results = json.loads(done.stdout)
    assert len(results) == len(networks)
    for runs in results:
        assert all(run["status"] == 0 and run["whole"] for run in runs)
        assert min(run["seconds"] for run in runs) < SOON
    assert results[0][0]["lost"] > 0


def test_a_tftp_server_that_runs_already_is_used_and_left_as_it_was(net: Namespace, small: Path) -> None:
    program = shutil.which("in.tftpd", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("tftpd-hpa is not installed")
    root = small / "tftproot"
    root.mkdir()
    daemon = [program, "--foreground", "--user", "root", "--address", f"{HOST}:69", "--secure", str(root)]
    with net.popen(*daemon) as server, qemu(net) as serial:
        lab = lab_file(small, serial, tftp={"root": str(root)})
        done = deploy(net, small, lab)
        served = [path.name for path in root.iterdir()]
        locks = str(small / "locks")
        undone = router(net, "undeploy", str(small), "--lab", str(lab), env={"ROUTER_LOCK_DIR": locks})
        server.terminate()
    assert done.returncode == 0 and len(served) == 1 and served[0].startswith("router-")
    assert undone.returncode == 0 and not list(root.iterdir())
    assert "virt has no `power: off`: it runs on" in undone.stdout


def test_a_file_goes_over_the_serial_line_by_ymodem(net: Namespace, small: Path) -> None:
    with qemu(net) as serial:
        done = deploy(net, small, lab_file(small, serial, load="ymodem"))
    assert done.returncode == 0
    assert "verify loader.img" in done.stdout and "crc32" in done.stdout


def test_a_port_that_the_boot_loader_ignores_is_said(net: Namespace, small: Path) -> None:
    with qemu(net) as serial:
        done = deploy(net, small, lab_file(small, serial, tftp={"port": 6969}))
    assert done.returncode == 4
    assert "no request reached port 6969" in done.stderr and "tftpdstp" in done.stderr


def test_another_kind_of_board_is_refused_before_anything_is_loaded(net: Namespace, small: Path) -> None:
    write_build(small, board="qemu", identity="MaaXBoard")
    with qemu(net) as serial:
        done = deploy(net, small, lab_file(small, serial))
    assert done.returncode == 4
    assert "this is another board" in done.stderr and "(board=qemu-arm)" in done.stderr


def test_an_sd_card_image_boots(net: Namespace, small: Path) -> None:
    done = router(None, "image", str(small), "--sdcard", str(small / "card.img"))
    assert done.returncode == 0
    drive = f"if=none,id=card,format=raw,file={small / 'card.img'}"
    with qemu(net, "-drive", drive, "-device", "virtio-blk-device,drive=card") as serial:
        lab = lab_file(small, serial)
        locks = str(small / "locks")
        done = router(
            None, "console", "--on", "virt", "--lab", str(lab), until="\nstarted", env={"ROUTER_LOCK_DIR": locks}
        )
    assert "router: demo for qemu" in done.stdout
    assert f"{200_001} bytes read" in done.stdout
    assert "started" in done.stdout


HELLO = """
#include <microkit.h>
void init(void) { microkit_dbg_puts("hello from a protection domain\\n"); }
void notified(microkit_channel ch) { (void)ch; }
"""
SYSTEM = """
<system>
    <protection_domain name="hello" priority="100"><program_image path="hello.elf" /></protection_domain>
</system>
"""
FLAGS = ("-nostdlib", "-ffreestanding", "-mstrict-align", "-fno-pic", "-fno-stack-protector", "-mno-outline-atomics")


def make_loader(sdk: Sdk, folder: Path) -> None:
    """A loader.img with one protection domain that says hello."""
    place = sdk.board_dir("qemu_virt_aarch64", "debug")
    (folder / "hello.c").write_text(HELLO)
    (folder / "hello.system").write_text(SYSTEM)
    compile_it = ["aarch64-linux-gnu-gcc", "-O2", *FLAGS, f"-I{place}/include", f"-L{place}/lib", "hello.c"]
    subprocess.run(
        [*compile_it, "-lmicrokit", "-Tmicrokit.ld", "-static", "-Wl,--build-id=none", "-o", "hello.elf"],
        cwd=folder,
        check=True,
    )
    tool = [str(sdk.tool), "hello.system", "--board", "qemu_virt_aarch64", "--config", "debug", "-o", "loader.img"]
    environment = {**os.environ, "MICROKIT_SDK": str(sdk.path)}
    report = ["-r", "report.txt", "--search-path", "."]
    subprocess.run([*tool, *report], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)


@pytest.mark.sel4
@pytest.mark.parametrize("sdk", installed_sdks() or [None], ids=lambda sdk: sdk.version if sdk else "none")
def test_a_microkit_loader_is_started_by_booti(net: Namespace, tmp_path: Path, sdk: Sdk | None) -> None:
    if sdk is None:
        pytest.skip("no Microkit SDK is installed: set MICROKIT_SDK")
    if not shutil.which("aarch64-linux-gnu-gcc"):
        pytest.skip("gcc-aarch64-linux-gnu is not installed")
    make_loader(sdk, tmp_path)
    image = wrap_for_booti((tmp_path / "loader.img").read_bytes(), 0x7000_0000)
    (tmp_path / "loader.booti").write_bytes(image.data)
    milestones = (
        AwaitedMilestone(name="loader", pattern=r"LDR\|INFO"),
        AwaitedMilestone(name="seL4", pattern="Booting all finished"),
        AwaitedMilestone(name="hello", pattern="hello from a protection domain"),
    )
    plan = DeployPlan(
        system="hello",
        board="qemu",
        payloads=(payload(tmp_path, "loader.booti", image.address),),
        start=f"booti {image.address:#x} - ${{fdtcontroladdr}}",
        milestones=milestones,
        boot_seconds=300.0,
    )
    write_plan(tmp_path, plan)
    with qemu(net, machine="virt,virtualization=on", memory="2G") as serial:
        done = deploy(net, tmp_path, lab_file(tmp_path, serial), "--console")
    assert done.returncode == 0
    assert [name in done.stdout for name in ("● loader", "● seL4", "● hello")] == [True] * 3
