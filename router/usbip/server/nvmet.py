# SPDX-License-Identifier: BSD-2-Clause
"""Linux's NVMe target by its configfs (drivers/nvme/target/configfs.c): a subsystem and a port for each client.

All of it lies below one folder, so that a test can stand one of its own there.
"""

from __future__ import annotations

import errno
import os

from router.usbip.protocol.disks import subsystem
from router.usbip.runtime.sysfs import Sysfs

ROOT = "/sys/kernel/config/nvmet"
MODEL = "router disk"
LOOKING = "nqn.2025-01.org.router:looking"
"""A subsystem at no port: no client reaches what is in it."""


def exported(sysfs: Sysfs, tcp: int, blocks: set[str]) -> bool:
    """Whether a client's port has one of these block devices of the server. For a process that only reads."""
    base = "kernel/config/nvmet"
    return any(
        sysfs.get(f"{base}/subsystems/{each}/namespaces/{name}/enable") == "1"
        and sysfs.get(f"{base}/subsystems/{each}/namespaces/{name}/device_path").rpartition("/")[2] in blocks
        for each in sysfs.names(f"{base}/ports/{tcp}/subsystems")
        for name in sysfs.names(f"{base}/subsystems/{each}/namespaces")
    )


class Namespace:
    """A disk in a client's subsystem, as configfs has it. path: of its block device ("/dev/sda")."""

    __slots__ = ("nguid", "nsid", "path", "uuid")

    def __init__(self, nsid: int, path: str, uuid: str, nguid: str) -> None:
        self.nsid = nsid
        self.path = path
        self.uuid = uuid
        self.nguid = nguid

    def is_same(self, other: Namespace) -> bool:
        """Whether it is the same disk, whatever its number."""
        return (self.path, self.uuid, self.nguid) == (other.path, other.uuid, other.nguid)


class Nvmet:
    """The target. address: the IPv4 address at which it listens. Each method may raise OSError: the kernel's answer."""

    def __init__(self, address: str, root: str = ROOT) -> None:
        self.address = address
        self._root = root

    def ports(self) -> list[int]:
        """The TCP ports that are configured, listening or not."""
        return sorted(int(name) for name in os.listdir(f"{self._root}/ports") if name.isdecimal())

    def prepare(self, tcp: int) -> None:
        """A client's subsystem and port; it listens only after `listen`."""
        new = not os.path.isdir(f"{self._root}/subsystems/{self._subsystem(tcp)}")
        folder = self._folder(f"subsystems/{self._subsystem(tcp)}")
        serial = f"router{tcp}"
        if self._get(folder, "attr_serial") != serial:
            # Once a client has asked for them they are fixed.
            self._set(folder, "attr_model", MODEL)
            self._set(folder, "attr_serial", serial)
        if new:
            self.admit(tcp, True)
        folder = self._folder(f"ports/{tcp}")
        if self._get(folder, "addr_trsvcid") != str(tcp):
            self._set(folder, "addr_trtype", "tcp")
            self._set(folder, "addr_adrfam", "ipv4")
            self._set(folder, "addr_traddr", self.address)
            self._set(folder, "addr_trsvcid", str(tcp))

    def admits(self, tcp: int) -> bool:
        """Whether the client may make further connections."""
        return self._get(f"{self._root}/subsystems/{self._subsystem(tcp)}", "attr_allow_any_host") == "1"

    def admit(self, tcp: int, yes: bool) -> None:
        """Lets the client make further connections, or not; those that it has go on."""
        self._set(f"{self._root}/subsystems/{self._subsystem(tcp)}", "attr_allow_any_host", "1" if yes else "0")

    def drain(self, tcp: int) -> None:
        """Waits until all requests of the client have ended, then lets it in. Only while it has no connections."""
        base = f"{self._root}/subsystems/{self._subsystem(tcp)}/namespaces"
        failed: OSError | None = None
        for name in sorted(os.listdir(base)):
            self._set(f"{base}/{name}", "enable", "0")
            try:
                self._set(f"{base}/{name}", "enable", "1")
            except OSError as error:
                # It is leaving: what the client has of it ends with errors.
                failed = error
        self.admit(tcp, True)
        if failed is not None:
            raise failed

    def listens(self, tcp: int) -> bool:
        """Whether the client's port is open."""
        return os.path.islink(self._link(tcp))

    def listen(self, tcp: int) -> None:
        """Opens the client's port."""
        os.symlink(f"{self._root}/subsystems/{self._subsystem(tcp)}", self._link(tcp))

    def namespaces(self, tcp: int) -> list[Namespace]:
        """The disks that a client's subsystem has."""
        base = f"{self._root}/subsystems/{self._subsystem(tcp)}/namespaces"
        found = []
        for name in sorted(os.listdir(base)):
            folder = f"{base}/{name}"
            if self._get(folder, "enable") == "1":
                values = (self._get(folder, attribute) for attribute in ("device_path", "device_uuid", "device_nguid"))
                found.append(Namespace(int(name), *values))
            else:
                # What an earlier run of this program has not finished.
                self._drop(folder)
        return found

    def add(self, tcp: int, namespace: Namespace) -> None:
        """Gives a client a disk."""
        folder = self._folder(f"subsystems/{self._subsystem(tcp)}/namespaces/{namespace.nsid}")
        try:
            self._set(folder, "device_path", namespace.path)
            self._set(folder, "device_uuid", namespace.uuid)
            self._set(folder, "device_nguid", namespace.nguid)
            self._set(folder, "enable", "1")
        except OSError:
            self._drop(folder)
            raise

    def remove(self, tcp: int, nsid: int) -> None:
        """Takes a disk from a client: what it has asked for meanwhile ends with an error."""
        folder = f"{self._root}/subsystems/{self._subsystem(tcp)}/namespaces/{nsid}"
        self._set(folder, "enable", "0")
        self._drop(folder)

    def cut(self, tcp: int) -> None:
        """Closes a client's port, and with it all its connections: what they wait for ends. `listen` opens it again."""
        if self.listens(tcp):
            os.unlink(self._link(tcp))

    def close(self, tcp: int) -> None:
        """Closes a client's port and takes all disks from it; a port that another program has made is left alone."""
        self.cut(tcp)
        if os.path.isdir(f"{self._root}/subsystems/{self._subsystem(tcp)}"):
            for namespace in self.namespaces(tcp):
                self.remove(tcp, namespace.nsid)

    def ask(self, path: str) -> None:
        """Has the kernel open a block device and close it: a card's size is read at the next opening only (sd_open,
        drivers/scsi/sd.c). The kernel does it for us, as a process that is confined to this folder cannot."""
        self._folder(f"subsystems/{LOOKING}")
        folder = self._folder(f"subsystems/{LOOKING}/namespaces/1")
        try:
            self._set(folder, "device_path", path)
            self._set(folder, "enable", "1")
            self._set(folder, "enable", "0")
        finally:
            self._drop(folder)

    def _subsystem(self, tcp: int) -> str:
        return subsystem(self.address, tcp)

    def _link(self, tcp: int) -> str:
        return f"{self._root}/ports/{tcp}/subsystems/{self._subsystem(tcp)}"

    def _folder(self, name: str) -> str:
        path = f"{self._root}/{name}"
        try:
            os.mkdir(path)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        return path

    def _drop(self, folder: str) -> None:
        os.rmdir(folder)

    def _get(self, folder: str, attribute: str) -> str:
        try:
            fd = os.open(f"{folder}/{attribute}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        try:
            return os.read(fd, 4096).decode("utf-8", "replace").strip()
        finally:
            os.close(fd)

    def _set(self, folder: str, attribute: str, text: str) -> None:
        fd = os.open(f"{folder}/{attribute}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
