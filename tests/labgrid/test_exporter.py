# SPDX-License-Identifier: BSD-2-Clause
"""An exporter on another host: its TFTP folder, serial port and power switch are reached by labgrid's own SSH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.deploy.tftp.server import TftpServer
from tests.deploy.lab import SERVER
from tests.deploy.ssh import lab_host
from tests.labgrid.conftest import need_ser2net
from tests.labgrid.lab import Lab

CACHE = Path("/var/cache/labgrid")
"""Where labgrid keeps files on an exporter's host (its ManagedFile)."""


class Folder(dict[str, Path]):
    """A folder as the files of a TFTP server, whatever is in it when a board asks."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def get(self, name: str, default: object = None) -> Path | None:  # type: ignore[override]
        found = self._path / name
        return found if found.is_file() else None


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """A PATH on which `ssh` reaches a real sshd of the test's own, whatever host it is asked for."""
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed: labgrid copies files with it")
    folder = tmp_path / "ssh"
    folder.mkdir()
    with lab_host(folder) as host:
        keys = host.client / ".ssh"
        config = tmp_path / "config"
        config.write_text(
            f"Host *\n  HostName 127.0.0.1\n  Port {host.cable.port}\n  IdentityFile {keys}/id_ed25519\n"
            f"  UserKnownHostsFile {keys}/known_hosts\n"
        )
        programs = tmp_path / "programs"
        programs.mkdir()
        wrapper = programs / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
        wrapper.chmod(0o755)
        yield f"{programs}:{os.environ['PATH']}"
        assert host.cable.connections > 0


def test_a_board_comes_up_through_an_exporter_that_only_ssh_reaches_from_the_places_tftp_folder(
    router_then_labgrid: Path, build: Path, tmp_path: Path, ssh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_ser2net()
    try:
        CACHE.mkdir(exist_ok=True)
    except OSError as error:
        pytest.skip(f"cannot make {CACHE}, which an exporter's host has: {error.strerror}")
    monkeypatch.setenv("PATH", ssh)
    root, lab_folder = tmp_path / "tftp", tmp_path / "lab"
    (root / "labgrid").mkdir(parents=True)
    lab_folder.mkdir()
    folder: dict[str, object] = {"TFTPProvider": {"internal": str(root / "labgrid"), "external": "labgrid/"}}
    server = TftpServer({}, address=SERVER, port=0)
    server.files = Folder(root)
    with server, Lab(router_then_labgrid, lab_folder, ["desk"], offers=folder, isolated=True) as lab:
        # Boards ask port 69 of an exporter's server, which a test may not have.
        lab.boards["desk"].environment["tftpdstp"] = str(server.port)
        dry = lab.router("deploy", str(build), "--on", "desk", "--dry-run")
        assert lab.owners("desk") == [] and dry.returncode == 0
        done = lab.router("deploy", str(build), "--on", "desk")
        assert done.returncode == 0 and "● client up" in done.stdout
        assert lab.boards["desk"].memory[0x50000000] == (build / "loader.img").read_bytes()
        printed = [line.removeprefix("=> ") for line in dry.stdout.splitlines() if line.startswith("=> ")]
        assert printed == lab.boards["desk"].commands
        assert any(command.startswith("tftpboot 0x50000000 labgrid/router-") for command in printed)
    (link,) = (root / "labgrid").iterdir()
    assert link.is_symlink() and link.resolve().is_relative_to(CACHE)
    shutil.rmtree(link.resolve().parent)


def test_an_exporter_that_ssh_does_not_reach_is_named_and_the_place_is_released(
    router_then_labgrid: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_ser2net()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text("#!/bin/sh\necho connection refused >&2; exit 255\n")
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    lab_folder = tmp_path / "lab"
    lab_folder.mkdir()
    folder: dict[str, object] = {"TFTPProvider": {"internal": "/srv/tftp/labgrid", "external": "labgrid/"}}
    with Lab(router_then_labgrid, lab_folder, ["desk"], offers=folder) as lab:
        done = lab.router("deploy", str(build), "--on", "desk")
        assert done.returncode == 3
        assert "into the TFTP folder of 127.0.0.1: " in done.stderr and "connection refused" in done.stderr
        assert lab.owners("desk")[-1] == "-"
