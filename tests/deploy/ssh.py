# SPDX-License-Identifier: BSD-2-Clause
"""A lab host: a real sshd on loopback with keys, port and home of the test's own, and a cable that can be cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.lab import LabOfOne
from tests.support.patience import PATIENCE, free_port, wait_until

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Host:
    """The lab host as the client's ssh configuration knows it: `bench`. client: the client's HOME."""

    client: Path
    home: Path
    port: int
    cable: Cable

    @property
    def environment(self) -> dict[str, str]:
        """What a client process needs: its HOME, and no agent."""
        return {"HOME": str(self.client), "SSH_AUTH_SOCK": ""}


class Cable:
    """Passes TCP connections on to a port, until they are cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listen = socket.create_server(("127.0.0.1", 0))
        self._listen.settimeout(0.1)
        self.port: int = self._listen.getsockname()[1]
        self._stop = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self._spawn(self._accept)

    def cut(self) -> None:
        """End every connection, in the middle of whatever it carries."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stop.set()
        self.cut()
        for thread in self._threads:
            thread.join()
        for sock in (self._listen, *self._open):
            sock.close()

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                near, _ = self._listen.accept()
            except TimeoutError:
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self.connections += 1
            self._open += [near, far]
            self._spawn(self._pass, near, far)
            self._spawn(self._pass, far, near)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def lab_host(folder: Path) -> Iterator[Host]:
    """Run an sshd; skips where Debian's openssh-server is not installed."""
    if not Path(SSHD).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's privilege separation folder, which its service makes
    home, client = folder / "home", folder / "client"
    (client / ".ssh").mkdir(parents=True, mode=0o700)
    home.mkdir()
    keygen(folder / "host_key")
    keygen(client / ".ssh" / "id_ed25519")
    shutil.copy(client / ".ssh" / "id_ed25519.pub", folder / "authorized_keys")
    port = free_port()
    # The base interpreter, not the environment's: what a host with Python and nothing else has.
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    login = folder / "login"
    login.write_text(
        f"#!/bin/sh\ncd {home}; export HOME={home} PATH={folder}/bin:$PATH ROUTER_LOCK_DIR={folder}/locks\n"
        'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    login.chmod(0o755)
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"Subsystem sftp /usr/lib/openssh/sftp-server\nForceCommand {login}\n"
    )
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL) as process:
        cable = None
        try:
            assert wait_until(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, "sshd did not start"
            cable = Cable(port)
            public = " ".join((folder / "host_key.pub").read_text().split()[:2])
            (client / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{cable.port} {public}\n")
            (client / ".ssh" / "config").write_text(f"Host bench\n  HostName 127.0.0.1\n  Port {cable.port}\n")
            yield Host(client, home, port, cable)
        finally:
            if cable is not None:
                cable.close()
            process.terminate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
        return True
    return False


def through(one: LabOfOne, host: Host, *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
    """Run our command with that lab and that host's way in; what it said is printed for the report of a failure."""
    done = subprocess.run(
        one.command(*words),
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE,
        env={**one.environment(), **host.environment},
        input=data,
    )
    print(done.args, done.returncode, done.stdout, done.stderr, sep="\n")
    return done
