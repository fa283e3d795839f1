# SPDX-License-Identifier: BSD-2-Clause
"""The lab file: strict, with every error at its place; and how a board is chosen from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from router.cli import main
from router.description.diagnostics import DescriptionErrors
from router.errors import DescriptionError
from router.lab import file as lab
from router.lab.board import Labgrid, Network

GOOD = """\
boards:
  desk:
    board: maaxboard
    serial: /dev/serial/by-id/usb-FTDI_A1-if00-port0
    network: {board: 192.0.2.2/24, server: 192.0.2.1}
    tftp: {port: 6969, window: 8}
    power: {cycle: "usbrelay HURTM_1=0; sleep 1; usbrelay HURTM_1=1"}
  bench:
    board: maaxboard
    serial: /dev/ttyUSB0
    baud: 921600
    load: ymodem
    via: lab@bench
"""
PLACE = """\
boards:
  rack:
    labgrid: {place: rack-3, coordinator: "lab:20408"}
    board: maaxboard
    load: ymodem
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "boards.yaml"
    path.write_text(text)
    return path


def test_a_lab_file_is_read(tmp_path: Path) -> None:
    desk, bench = lab.load(lab.LabFile(write(tmp_path, GOOD)))
    assert desk.board.network == Network(board="192.0.2.2/24", server="192.0.2.1")
    assert (desk.board.tftp.port, desk.board.tftp.window, desk.via) == (6969, 8, None)
    assert (bench.board.baud, bench.board.load, bench.via) == (921600, "ymodem", "lab@bench")


def test_a_place_of_labgrid_needs_no_serial_port(tmp_path: Path) -> None:
    (rack,) = lab.load(lab.LabFile(write(tmp_path, PLACE)))
    assert rack.board.labgrid == Labgrid(place="rack-3", coordinator="lab:20408")
    assert rack.board.serial == ""


def test_via_does_not_reach_a_place_of_labgrid(tmp_path: Path, says: Callable[..., str]) -> None:
    file = write(tmp_path, PLACE)
    shown = says("power", "on", "--on", "rack", "--lab", str(file), "--via", "lab@bench", code=2)
    assert "board 'rack' is a place of labgrid, whose exporter is its host" in shown


BAD = {
    "unknown field": (
        GOOD.replace("    serial: /dev/ttyUSB0", "    seriall: /dev/ttyUSB0"),
        "boards.yaml:10:5: error: unknown field 'seriall'",
        "did you mean 'serial'?",
    ),
    "missing": (
        GOOD.replace("    serial: /dev/ttyUSB0\n", ""),
        "error: 'serial' is missing",
        "serial: /dev/serial/by-id",
    ),
    "two serial ports": (
        GOOD.replace("    via: lab@bench", "    labgrid: {place: bench}"),
        "8:3: error: 'serial' and 'labgrid' exclude each other: the place has the serial port",
        "leave `serial` out",
    ),
    "a lab host of a place": (
        GOOD.replace("serial: /dev/ttyUSB0", "labgrid: {place: bench}"),
        "8:3: error: 'via' and 'labgrid' exclude each other",
        "leave `via` out",
    ),
    "a TFTP folder of a place": (
        PLACE.replace("load: ymodem", "tftp: {root: /srv/tftp}"),
        "2:3: error: `tftp: root` and 'labgrid' exclude each other",
        "TFTPProvider",
    ),
    "no place": (
        PLACE.replace("place: rack-3", "plaice: rack-3"),
        "3:15: error: unknown field 'plaice'",
        "did you mean 'place'?",
    ),
    "a number for a text": (
        GOOD.replace("lab@bench", "4711"),
        "13:10: error: 'via' must be a text, not 4711",
        'quote it: "4711"',
    ),
    "a bad way to load": (
        GOOD.replace("ymodem", "zmodem"),
        "12:11: error: invalid value 'zmodem' for 'load'",
        "write tftp or ymodem",
    ),
    "no addresses": (
        GOOD.replace("    network: {board: 192.0.2.2/24, server: 192.0.2.1}\n", ""),
        "2:3: error: loading by TFTP needs the board's and this host's address",
        "load: ymodem",
    ),
    "no prefix": (
        GOOD.replace("192.0.2.2/24", "192.0.2.2"),
        "2:3: error: network: board: the prefix length is missing",
        "192.0.2.2/24, if that is its subnet",
    ),
    "another subnet": (
        GOOD.replace("server: 192.0.2.1", "server: 198.51.100.1"),
        "2:3: error: network: the server 198.51.100.1 is outside the board's subnet 192.0.2.0/24",
        "add `gateway:`",
    ),
    "no address": (
        GOOD.replace("server: 192.0.2.1", "server: bench"),
        "error: network: Expected 4 octets in 'bench'",
        "",
    ),
    "a port that is none": (
        GOOD.replace("6969", "69690"),
        "6:18: error: 'port' should be less than or equal to 65535",
        "",
    ),
    "a name that is none": (
        GOOD.replace("  desk:", "  my desk:"),
        "2:3: error: invalid name 'my desk' for a board",
        "letters",
    ),
    "twice": (GOOD.replace("  bench:", "  desk:"), "8:3: error: duplicate key 'desk'", "remove one"),
    "no boards": ("boards: {}\n", "error: 'boards' dictionary should have at least 1 item", "boards: {desk:"),
    "something else": ("- a\n- b\n", "error: ", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_lab_file_is_an_error_at_its_place(name: str, tmp_path: Path) -> None:
    text, message, hint = BAD[name]
    with pytest.raises(DescriptionErrors) as caught:
        lab.load(lab.LabFile(write(tmp_path, text)))
    assert message in str(caught.value) and hint in str(caught.value)


def test_all_errors_of_a_lab_file_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("ymodem", "zmodem").replace("lab@bench", "1").replace("baud: 921600", "baud: fast")
    with pytest.raises(DescriptionErrors) as caught:
        lab.load(lab.LabFile(write(tmp_path, text)))
    assert len(caught.value.diagnostics) == 3


def test_the_board_is_the_named_one_or_the_only_one_that_fits(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    boards = lab.load(lab.LabFile(path))
    assert lab.choose(boards, "bench", "maaxboard", path).board.name == "bench"
    assert lab.choose(boards[:1], None, "maaxboard", path).board.name == "desk"
    for named, kind, message in (
        (None, "maaxboard", "2 boards fit: desk and bench"),
        (None, "qemu", "the lab file has no qemu"),
        ("bank", None, "no board 'bank' in the lab file"),
        ("desk", "qemu", "board 'desk' is a maaxboard, and the system was built for qemu"),
    ):
        with pytest.raises(DescriptionError) as caught:
            lab.choose(boards, named, kind, path)
        assert message in str(caught.value)


def test_the_users_own_lab_file_wins_over_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTER_LAB", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(DescriptionError) as caught:
        lab.find(None, folder)
    assert f"looked for {tmp_path}/config/router/boards.yaml or {folder}/boards.yaml" in str(caught.value)
    write(folder, GOOD)
    assert lab.find(None, folder) == lab.LabFile(folder / "boards.yaml", needs_trust=True)
    home = tmp_path / "config" / "router"
    home.mkdir(parents=True)
    write(home, GOOD)
    assert lab.find(None, folder) == lab.LabFile(home / "boards.yaml")
    monkeypatch.setenv("ROUTER_LAB", "elsewhere.yaml")
    assert lab.find(None, folder) == lab.LabFile(Path("elsewhere.yaml"))
    assert lab.find("named.yaml", folder) == lab.LabFile(Path("named.yaml"))


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from elsewhere, as the working folder, whose lab file runs a command that leaves a mark."""
    monkeypatch.delenv("ROUTER_LAB", raising=False)
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "ROUTER_LOCK_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    folder = tmp_path / "foreign"
    folder.mkdir()
    monkeypatch.chdir(folder)
    text = "boards:\n  desk: {board: maaxboard, serial: /dev/null, load: ymodem, power: {cycle: touch mark}}\n"
    (folder / "boards.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    "command", ["power cycle", "boards", "console --on desk", "exec --on desk client true", "usb list --on desk"]
)
def test_a_folders_lab_file_runs_nothing_before_the_user_agrees(
    command: str, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert "not trusted yet" in said and "router trust boards.yaml" in said
    assert not (foreign / "mark").exists()


def test_agreeing_is_for_one_content_in_one_place(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "boards.yaml"]) == 0
    assert "power cycle: touch mark" in capsys.readouterr().out
    assert main(["power", "cycle"]) == 0
    assert (foreign / "mark").exists()
    (foreign / "boards.yaml").write_text((foreign / "boards.yaml").read_text().replace("touch", "rm"))
    assert main(["power", "cycle"]) == 2
    (foreign / "boards.yaml").write_text((foreign / "boards.yaml").read_text().replace("rm", "touch"))
    elsewhere = foreign.with_name("elsewhere")
    foreign.rename(elsewhere)
    os.chdir(elsewhere)
    (elsewhere / "mark").unlink()
    assert main(["power", "cycle"]) == 2
    assert not (elsewhere / "mark").exists()


def test_the_record_of_trust_is_the_users_alone(foreign: Path, tmp_path: Path) -> None:
    assert main(["trust", "boards.yaml"]) == 0
    folder = tmp_path / "XDG_STATE_HOME/router/trusted"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "files")] == [0o700, 0o700]
    (record,) = (folder / "files").iterdir()
    assert record.stat().st_mode & 0o777 == 0o600
    (folder / "files").chmod(0o777)
    assert main(["power", "cycle"]) == 3
    assert not (foreign / "mark").exists()


def test_what_is_no_lab_file_cannot_be_trusted(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (foreign / "boards.yaml").write_text("boards: 3\n")
    assert main(["trust", "boards.yaml"]) == 2
    assert main(["trust", "nothing.yaml"]) == 2
    assert "there is no file 'nothing.yaml'" in capsys.readouterr().err
