# SPDX-License-Identifier: BSD-2-Clause
"""The connection to a lab host, the computer that a board is wired to: SSH through Fabric, and uploads.

Host keys are checked against known_hosts (Fabric alone would accept any); keys, agent and host names are as ssh has
them. Files are uploaded by content hash, once, and a broken upload is continued.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from router.errors import HostError, MachineError

FOLDER = ".cache/router/lab"  # below the home folder on the lab host
CHUNK = 256 << 10
MAX_ANSWER_BYTES = 4 << 20
"""Of a command there: none of ours says more than some KiB."""
SILENCE_TIMEOUT_S = 300.0
"""Longer than any verb is silent: `power cycle` has three commands of a minute each."""


class LabHost:
    """A connection to `user@host[:port]`, or to a name of ~/.ssh/config. A context manager."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._connection: Any = None
        self._sftp: Any = None

    def __enter__(self) -> LabHost:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Open the connection; HostError says what stands in the way."""
        import fabric
        import paramiko

        connection = fabric.Connection(self.target, connect_timeout=10)
        client = connection.client
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.load_system_host_keys()
        ssh_config = connection.ssh_config
        for name in ["/etc/ssh/ssh_known_hosts", *shlex.split(ssh_config.get("userknownhostsfile", ""))]:
            path = Path(name).expanduser()
            if path.exists():
                client.load_system_host_keys(str(path))
        try:
            connection.open()
            connection.transport.set_keepalive(5)
        except Exception as error:
            connection.close()
            if (known := _explain(error, self.target)) is None:
                raise
            raise known from None
        self._connection = connection

    def close(self) -> None:
        """Close it; what runs there goes on."""
        if self._sftp is not None:
            self._sftp.close()
            self._sftp = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, command: str, data: bytes = b"") -> tuple[int, str]:
        """Run a shell command with `data` on its input; status and output. MachineError when it falls silent."""
        channel = self.channel(command)
        channel.settimeout(SILENCE_TIMEOUT_S)
        try:
            if data:
                channel.sendall(data)
            channel.shutdown_write()
            out = self.receive_all(channel)
            return int(channel.recv_exit_status()), out.decode("utf-8", "replace")
        except TimeoutError:
            raise MachineError(
                f"{self.target} said nothing for {SILENCE_TIMEOUT_S:.0f} s", hint=f"it was running: {command}"
            ) from None
        finally:
            channel.close()

    def receive_all(self, channel: Any) -> bytes:
        """What comes until the end; MachineError for more than MAX_ANSWER_BYTES."""
        out = bytearray()
        while data := channel.recv(65536):
            out += data
            if len(out) > MAX_ANSWER_BYTES:
                raise MachineError(f"{self.target} answers with over {MAX_ANSWER_BYTES >> 20} MiB and does not end")
        return bytes(out)

    def channel(self, command: str) -> Any:
        """A paramiko channel with the command running; its standard error goes where its output goes."""
        if self._connection is None:
            self.connect()
        channel = self._connection.transport.open_session(timeout=10)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        return channel

    @property
    def sftp(self) -> Any:
        """The SFTP session, opened when first used."""
        if self._sftp is None:
            self._sftp = self._connection.sftp()
        return self._sftp

    def upload(
        self, path: Path, sha256: str, progress: Callable[[int, int], None], admit: Callable[[str], bool]
    ) -> str:
        """Have the file's contents on the host; returns their path there, relative to the home folder.

        admit is given the path of an uploaded file and says whether its contents are those of the hash. What was left
        by a broken upload is continued, and sent anew when it turns out to have been something else.
        """
        target, size = f"{FOLDER}/blobs/{sha256}", path.stat().st_size
        part = f"{target}.part"
        with self._uploading():
            if self.size(target) == size:
                self.sftp.utime(target, None)
                return target
            for _ in range(2):
                self._append(path, part, size, progress)
                if admit(part):
                    self.sftp.posix_rename(part, target)
                    return target
                self.sftp.remove(part)
            raise OSError("the file does not arrive whole")

    def _append(self, path: Path, part: str, size: int, progress: Callable[[int, int], None]) -> None:
        done = self.size(part) or 0
        if done > size:
            self.sftp.remove(part)
            done = 0
        with path.open("rb") as stream, self.sftp.open(part, "ab") as out:
            stream.seek(done)
            out.set_pipelined(True)
            while chunk := stream.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                progress(done, size)

    def write(self, target: str, data: bytes) -> None:
        """Write a small file."""
        with self._uploading(), self.sftp.open(target, "wb") as out:
            out.write(data)

    def size(self, target: str) -> int | None:
        try:
            return int(self.sftp.stat(target).st_size)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _uploading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError) as error:
            raise HostError(
                f"the upload to {self.target} failed: {error}",
                hint=f"is there room? ssh {self.target} df -h .cache",
            ) from None


def _explain(error: Exception, target: str) -> HostError | None:
    import paramiko

    if isinstance(error, paramiko.BadHostKeyException):
        return HostError(
            f"the host key of {target} is not the known one",
            hint="another computer may be answering in its place; ask its administrator",
        )
    if isinstance(error, paramiko.AuthenticationException):
        return HostError(f"{target} does not let us in", hint=f"try `ssh {target}`; ssh-add loads a key")
    if isinstance(error, paramiko.SSHException) and "known_hosts" in str(error):
        return HostError(
            f"the host key of {target} is not known", hint=f"`ssh {target}` once shows it, to be checked and accepted"
        )
    if isinstance(error, OSError | EOFError | socket.gaierror | paramiko.SSHException):
        return HostError(f"cannot reach {target}: {error}", hint=f"try `ssh {target}`")
    return None
