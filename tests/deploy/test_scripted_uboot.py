# SPDX-License-Identifier: BSD-2-Clause
"""`router deploy` and boards that misbehave: the documented error, its exit code, and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
from pathlib import Path

import pytest

from router.deploy import runner
from router.deploy.job import Job
from router.deploy.plan import AwaitedMilestone, read_plan
from router.lab import lock
from router.lab.board import Board
from tests.deploy.fakeboard import FakeBoard, Faults
from tests.deploy.lab import (
    FACTS,
    MILESTONES,
    SERVER,
    LabOfOne,
    MakeLab,
    seeds_in,
    with_room_for_seeds,
    write_build,
)
from tests.support.patience import PATIENCE


def left_in_order(lab: LabOfOne, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The board's lock is free and its terminal has the settings that it had."""
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(lab.locks))
    assert isinstance(lab.board, FakeBoard)
    return lock.holder_of("desk") is None and lab.board.terminal() == lab.board.settings


def test_a_healthy_board_comes_up_and_every_milestone_is_shown(
    build: Path, lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeBoard() as board:
        one = lab(board)
        done = one.run("deploy", str(build))
        assert done.returncode == 0
        for name in ("loader", "seL4", "server up", "client up"):
            assert f"● {name}" in done.stdout
        assert board.memory[0x50000000] == (build / "loader.img").read_bytes()
        assert not board.saved
        assert left_in_order(one, monkeypatch)
    log = (build / "logs" / "console-desk.log").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z server\| up$", log, re.M)


def test_only_what_is_needed_is_set_and_all_of_it_is_what_dry_run_prints(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        one = lab(board)
        dry = one.run("deploy", str(build), "--dry-run")
        assert dry.returncode == 0 and board.commands == []
        assert one.run("deploy", str(build)).returncode == 0
        printed = [line.removeprefix("=> ") for line in dry.stdout.splitlines() if line.startswith("=> ")]
        assert printed == board.commands


@pytest.mark.parametrize("fault", [Faults(one_byte=True), Faults(no_echo=True), Faults(drop_echo=1)])
def test_a_slow_or_lossy_console_is_coped_with(build: Path, lab: MakeLab, fault: Faults) -> None:
    with FakeBoard(fault) as board:
        assert lab(board).run("deploy", str(build)).returncode == 0
        assert board.memory[0x50000000] == (build / "loader.img").read_bytes()


def test_a_missing_crc32_is_replaced_by_the_length(build: Path, lab: MakeLab) -> None:
    with FakeBoard(Faults(unknown=("crc32", "bdinfo"))) as board:
        done = lab(board).run("deploy", str(build))
        assert done.returncode == 0
        assert "300000 bytes (this boot loader has no crc32)" in done.stdout


FAULTS = {
    "garbage": (Faults(garbage=True), "only garbage comes from the board at 115200 baud", "`baud` in the lab file"),
    "silence": (Faults(silent=True), "the board says nothing within 2 s", "is it powered"),
    "wrong board": (
        Faults(board="imx8mp-evk"),
        "this is another board: nothing it says matches 'qemu-arm' (board=imx8mp-evk)",
        "the system was built for 'fake'",
    ),
    "reset": (
        Faults(reset="tftpboot"),
        "the board reset in the middle of this command (U-Boot 2023.01",
        "power supply, watchdog",
    ),
    "tftp half way": (
        Faults(tftp="####T T T T T T T T T T \r\nRetry count exceeded; starting again\r\n"),
        "the TFTP transfer timed out",
        ": a firewall, or a boot loader that ignores tftpdstp",
    ),
    "no link": (
        Faults(tftp="Waiting for PHY auto negotiation to complete... TIMEOUT !\r\n"),
        "Ethernet has no link",
        "cable",
    ),
    "no answer to ARP": (
        Faults(tftp="\r\nARP Retry count exceeded; starting again\r\n"),
        "no answer from the TFTP server's address",
        "subnet",
    ),
    "crc mismatch": (Faults(corrupt=True), "loader.img arrived damaged: crc32", "try once more"),
    "unknown command": (
        Faults(unknown=("tftpboot",)),
        "this boot loader has no command 'tftpboot'",
        "another `load:` in the lab file",
    ),
    "no memory there": (
        Faults(ram=(0x80000000, 0x10000000)),
        "does not fit this board's memory [0x80000000, 0x90000000)",
        "is this the board",
    ),
    "start returns": (Faults(returns=True), "the command failed: ## Application terminated, rc = 0x1", "console log"),
    "boot is silent": (Faults(boot=("LDR|INFO: x",)), "nothing was heard for 2 s, after 'loader'", "--quiet-timeout"),
    "kernel panic": (
        Faults(boot=("LDR|INFO: x", "server| Kernel panic - not syncing: VFS")),
        "the boot failed: server| Kernel panic - not syncing: VFS",
        "after 'loader'; not seen: seL4, server up, client up",
    ),
    "reset while booting": (
        Faults(boot=("LDR|INFO: x", "U-Boot 2023.01 (Jan 01 2024)")),
        "the board reset while booting",
        "after 'loader'",
    ),
    "hanging command": (Faults(hangs="setenv"), "no answer within 10 s", "its last line was"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_error_and_leaves_nothing_behind(
    name: str, build: Path, lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, message, hint = FAULTS[name]
    with FakeBoard(fault) as board:
        one = lab(board)
        # Those that never come to a prompt are not waited for as long as they are by default.
        patience = ["--catch-timeout", "2"] if fault.silent or fault.garbage else []
        done = one.run("deploy", str(build), *patience)
        assert done.returncode == 4
        assert message in done.stderr and hint in done.stderr
        assert left_in_order(one, monkeypatch)


def test_an_autoboot_that_does_not_stop_is_said(build: Path, lab: MakeLab, tmp_path: Path) -> None:
    reset = tmp_path / "reset"
    with FakeBoard(Faults(autoboot=True, countdown=1.0), reset) as board:
        done = lab(board, power={"cycle": f"touch {reset}"}).run("deploy", str(build))
        assert done.returncode == 4
        assert "the board booted on: its autoboot was not stopped" in done.stderr
        assert "`stop_keys` in the lab file" in done.stderr


def test_a_power_hook_resets_the_board_and_autoboot_is_stopped(build: Path, lab: MakeLab, tmp_path: Path) -> None:
    reset = tmp_path / "reset"
    with FakeBoard(reset_file=reset) as board:
        done = lab(board, power={"cycle": f"touch {reset}"}).run("deploy", str(build))
        assert done.returncode == 0
        assert "after a power cycle" in done.stdout


AUTOBOOTS: dict[str, tuple[Faults, dict[str, str]]] = {
    "the count is written again and again": (
        Faults(asking="\x1b[2K\rHit any key to stop autoboot: 3\x1b[2K\rHit any key to stop autoboot: 2"),
        {},
    ),
    "no text": (Faults(asking=""), {}),
    "no text, one key only": (Faults(asking="", keys="x"), {"stop_keys": "x"}),
    "one key only": (Faults(keys="x"), {"stop_keys": "x"}),
    "no text, and an instant": (Faults(asking="", keys=" ", instant=1.0), {"stop_keys": " "}),
    "a word": (Faults(asking="Enter 'shc' to enter prompt (times out) 4 \n", keys="shc"), {"stop_keys": "shc"}),
    "escape twice": (
        Faults(asking='Autobooting in 4 seconds, press "<Esc><Esc>" to stop\n', keys="\x1b\x1b"),
        {"stop_keys": "\x1b\x1b"},
    ),
    "a text of its own": (Faults(asking="Zum Anhalten: s\r\n", keys="s"), {"stop_keys": "s", "autoboot": "Anhalten"}),
    "a word before the prompt": (Faults(prompt="u-boot=> "), {}),
    "words before the prompt": (Faults(prompt="Verdin iMX8MM # "), {"prompt": "# "}),
    "all of the prompt named": (Faults(prompt="Verdin iMX8MM # "), {"prompt": "Verdin iMX8MM # "}),
    "a coloured prompt": (Faults(prompt="\x1b[1;32m=> \x1b[0m"), {}),
    "a coloured prompt named with its colours": (
        Faults(prompt="\x1b[1;32m=> \x1b[0m"),
        {"prompt": "\x1b[1;32m=> \x1b[0m"},
    ),
    "a prompt behind a cursor that is switched on": (Faults(prompt="\x1b[?25h=> "), {}),
}


@pytest.mark.parametrize("name", AUTOBOOTS)
def test_autoboot_is_stopped_and_the_prompt_found_however_the_boot_loader_asks(
    name: str, build: Path, lab: MakeLab, tmp_path: Path
) -> None:
    faults, entry = AUTOBOOTS[name]
    reset = tmp_path / "reset"
    with FakeBoard(faults, reset) as board:
        done = lab(board, power={"cycle": f"touch {reset}"}, **entry).run("deploy", str(build))
        assert done.returncode == 0, done.stderr
        assert "after a power cycle" in done.stdout
        assert not [command for command in board.commands if command == "x" or "shc" in command]


def test_without_a_hook_the_user_is_asked_for_a_reset(build: Path, lab: MakeLab, tmp_path: Path) -> None:
    with FakeBoard(Faults(silent=True)) as board:
        done = lab(board).run("deploy", str(build), "--catch-timeout", "1")
        assert "reset the board 'desk' now" in done.stdout
        assert done.returncode == 4


def test_a_failing_power_hook_is_the_hosts_fault(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        done = lab(board, power={"cycle": "echo relay 7 is stuck; exit 5"}).run("deploy", str(build))
        assert done.returncode == 3
        assert "power cycle failed with status 5: relay 7 is stuck" in done.stderr


def test_a_board_in_use_names_its_holder_and_can_be_stolen(
    build: Path, lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(build, quiet_seconds=60.0, boot_seconds=60.0)
    with FakeBoard(Faults(boot=("LDR|INFO: x",))) as board:
        one = lab(board)
        with subprocess.Popen(
            one.command("deploy", str(build)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=one.environment(),
        ) as first:
            assert first.stdout is not None
            for line in first.stdout:
                if "loader" in line and "●" in line:
                    break
            busy = one.run("power", "cycle", "--on", "desk")
            assert busy.returncode == 3  # no hook: said before the lock is asked for
            second = one.run("deploy", str(build))
            assert second.returncode == 4
            assert re.search(
                rf"board 'desk' is held by \S+@\S+ \(process {first.pid}, deploying demo\) since", second.stderr
            )
            assert "--steal" in second.stderr
            third = one.run("console", "--steal", "--on", "desk")
            _, said = first.communicate(timeout=PATIENCE)
            assert third.returncode == 0
            assert first.returncode == 130 and "stopped by SIGTERM" in said
        assert left_in_order(one, monkeypatch)


def test_a_full_disk_is_said_and_leaves_no_half_file(build: Path, lab: MakeLab, tmp_path: Path) -> None:
    root = tmp_path / "tftproot"
    root.mkdir()
    with FakeBoard() as board:
        one = lab(board, tftp={"root": str(root)})
        mounted = f"mount -t tmpfs -o size=64k none {root} && "
        script = mounted + '"$@"; code=$?; ls -A ' + str(root) + "; exit $code"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *one.command("deploy", str(build))],
            capture_output=True,
            text=True,
            check=False,
            env=one.environment(),
            timeout=2 * PATIENCE,
        )
        if done.stderr.startswith("unshare:") or ("mount" in done.stderr and "ermission" in done.stderr):
            pytest.skip(f"no mount namespace with a small file system here: {done.stderr.strip()}")
        assert done.returncode == 3
        assert "cannot put the file into the TFTP folder: No space left on device" in done.stderr
        assert "router-" not in done.stdout


def test_json_streams_every_event_and_ends_in_the_result(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        done = lab(board).run("deploy", str(build), "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "result" and events[-1]["ok"] is True
    assert [event["name"] for event in events if event["event"] == "milestone"] == [
        "loader",
        "seL4",
        "server up",
        "client up",
    ]
    with FakeBoard(Faults(corrupt=True)) as board:
        done = lab(board).run("deploy", str(build), "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["ok"] is False and last["exit_code"] == done.returncode == 4


def test_patterns_of_the_users_own_complete_and_fail_a_boot(build: Path, lab: MakeLab) -> None:
    boot = (*Faults().boot, "client| usb 1-1: new device", "client| disk has errors")
    with FakeBoard(Faults(boot=boot)) as board:
        done = lab(board).run("deploy", str(build), "--until", "usb 1-1: new")
        assert done.returncode == 0 and "'usb 1-1: new'" in done.stdout
    with FakeBoard(Faults(boot=boot)) as board:
        done = lab(board).run("deploy", str(build), "--until", "never", "--fail-on", "disk has errors")
        assert done.returncode == 4 and "the boot failed: client| disk has errors" in done.stderr


def test_what_need_not_come_is_missed_with_a_warning(build: Path, lab: MakeLab) -> None:
    extra = AwaitedMilestone(name="device attached", pattern="attached", required=False)
    write_build(build, milestones=(*MILESTONES, extra))
    with FakeBoard() as board:
        done = lab(board).run("deploy", str(build))
        assert done.returncode == 0 and "not seen (yet): device attached" in done.stdout
    with FakeBoard(Faults(boot=(*Faults().boot, "client| attached 1-1 port 0"))) as board:
        done = lab(board).run("deploy", str(build))
        assert done.returncode == 0 and "● device attached" in done.stdout


def test_the_environment_is_saved_only_when_asked(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        assert lab(board).run("deploy", str(build), "--save").returncode == 0
        assert board.saved


def test_a_device_that_is_not_there_is_named_with_what_is(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        one = lab(board, serial="/dev/serial/by-id/usb-none")
        done = one.run("deploy", str(build))
        assert done.returncode == 3
        assert "/dev/serial/by-id/usb-none: error: no such serial device" in done.stderr


def test_a_device_that_another_program_has_is_said(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board, Path(board.device).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = lab(board).run("deploy", str(build))
        assert done.returncode == 3
        assert "another program has the serial device open" in done.stderr


def test_an_address_by_dhcp_is_the_one_that_is_served(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        done = lab(board, network={"board": "dhcp", "server": SERVER}).run("deploy", str(build))
        assert done.returncode == 0
        assert board.commands.index("setenv autoload no") < board.commands.index("dhcp")


def test_a_changed_file_is_not_deployed(build: Path, lab: MakeLab) -> None:
    (build / "loader.img").write_bytes(b"other")
    with FakeBoard() as board:
        done = lab(board).run("deploy", str(build))
        assert done.returncode == 2 and board.commands == []
        assert "the file has changed since it was built (5 bytes, 300000 expected)" in done.stderr


def test_what_is_sent_is_what_was_judged_whatever_becomes_of_the_build_folder_meanwhile(
    build: Path, lab: MakeLab, tmp_path: Path
) -> None:
    """The folder's owner exchanges the image once the deployment has begun to talk to the board."""
    image, reset = (build / "loader.img").read_bytes(), tmp_path / "reset"
    swap = f"printf evil > {build / 'loader.img'}; touch {reset}"
    with FakeBoard(reset_file=reset) as board:
        done = lab(board, power={"cycle": swap}).run("deploy", str(build))
        assert done.returncode == 0
        assert board.memory[0x50000000] == image
    assert (build / "loader.img").read_bytes() == b"evil"  # the attack took place


def test_each_deployment_sends_the_guests_fresh_seeds_and_the_build_has_none(build: Path, lab: MakeLab) -> None:
    """The board is asked for the checksum of what was sent to it, not of what was built."""
    image = with_room_for_seeds(build)
    write_build(build)
    sent = []
    for _ in range(2):
        with FakeBoard() as board:
            done = lab(board).run("deploy", str(build))
            assert done.returncode == 0, done.stderr
            sent.append(board.memory[0x50000000])
    assert (build / "loader.img").read_bytes() == image
    assert len({seed for each in sent for seed in seeds_in(each, image)}) == 8


def test_every_way_to_load_takes_the_copy(build: Path, tmp_path: Path) -> None:
    image = (build / "loader.img").read_bytes()
    plan = read_plan(build)
    board = Board(name="desk", kind="fake", serial="none", load="ymodem")
    job = Job(plan=plan, board=board, files={"loader.img": str(build / "loader.img")})
    with runner.copied(job) as copied:
        (build / "loader.img").write_bytes(b"evil")
        copy = copied.path(plan.payloads[0])
        assert copy.read_bytes() == image
        root = tmp_path / "tftpboot"
        root.mkdir()
        runner._publish(root, {"served": copy})
        assert (root / "served").read_bytes() == image
    assert not copy.exists()


def test_the_copies_of_what_is_sent_are_private_and_go_away(build: Path, lab: MakeLab, tmp_path: Path) -> None:
    scratch, seen = tmp_path / "scratch", tmp_path / "seen"
    scratch.mkdir()
    reset = tmp_path / "reset"
    with FakeBoard(reset_file=reset) as board:
        one = lab(board, power={"cycle": f"ls -lR {scratch} > {seen}; touch {reset}"})
        done = subprocess.run(
            one.command("deploy", str(build)),
            env=one.environment() | {"TMPDIR": str(scratch)},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^drwx------ .* router-deploy-", seen.read_text(), re.M) and " 300000 " in seen.read_text()
    assert list(scratch.iterdir()) == []


def test_a_board_that_is_up_stays_deployed_when_the_guests_clocks_cannot_be_set(
    build: Path, lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_build(build, facts=FACTS, milestones=MILESTONES[:2])
    folder = tmp_path / "state/router/boards/desk"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "logs").write_text("in the way")
    with FakeBoard() as board:
        done = lab(board).run("deploy", str(build))
    assert done.returncode == 0
    assert "warning: the guests' clocks could not be set: " in done.stdout
