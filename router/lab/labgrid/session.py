# SPDX-License-Identifier: BSD-2-Clause
"""A conversation with labgrid's coordinator: its places and resources as they change, acquiring and releasing.

labgrid's own client session is made for one asyncio loop in the main thread. This one uses labgrid's generated stubs
and its data classes from a thread, because a board is used for minutes meanwhile, and every call has a time limit.
"""

from __future__ import annotations

import getpass
import importlib
import os
import queue
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from router.errors import HostError, MachineError

CONNECT_TIMEOUT_S = 10.0
SYNC_TIMEOUT_S = 20.0
ACQUIRE_TIMEOUT_S = 60.0
"""The coordinator asks each exporter, and an exporter starts a program for a serial port."""
RELEASE_TIMEOUT_S = 20.0
DEFAULT_PORT = 20408
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 7500),
    ("grpc.keepalive_timeout_ms", 10000),
    ("grpc.http2.ping_timeout_ms", 10000),
    ("grpc.http2.max_pings_without_data", 0),
]
"""As labgrid's own client has them: a coordinator that is silent for this long has gone."""


def modules(*names: str) -> list[Any]:
    """The modules of these names; HostError when labgrid is not installed."""
    # Programs are started while threads of gRPC run. It would warn of each on standard error.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        return [importlib.import_module(name) for name in names]
    except ModuleNotFoundError as error:
        raise HostError(
            f"labgrid is not installed: no module '{error.name}'", hint="pip install 'sel4-usb-router[labgrid]'"
        ) from None


def address(named: str | None) -> str:
    """The coordinator that a board's entry names, else LG_COORDINATOR's, else labgrid's default: HOST:PORT."""
    text = named or os.environ.get("LG_COORDINATOR") or "127.0.0.1"
    return text if text.rpartition(":")[2].isdecimal() else f"{text}:{DEFAULT_PORT}"


def me() -> str:
    """Who we are to the coordinator: HOST/USER. LG_HOSTNAME and LG_USERNAME count as for labgrid-client."""
    try:
        user = os.environ.get("LG_USERNAME") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{os.environ.get('LG_HOSTNAME') or socket.gethostname()}/{user}"


class Refused(MachineError):
    """The coordinator has answered that it does not do what it was asked for."""


class Session:
    """A context manager. HostError when no coordinator answers, or without labgrid."""

    def __init__(self, coordinator: str) -> None:
        self.coordinator = coordinator
        self.places: dict[str, Any] = {}
        self.resources: dict[tuple[str, str, str], Any] = {}
        """By exporter, group and name."""
        self.changed = threading.Condition()
        self._gone = False
        self._unreadable: str | None = None
        self._synced = 0
        self._outgoing: queue.Queue[Any] = queue.Queue()
        self._grpc, self._pb2, stubs, self._common, self._util, proxy = modules(
            "grpc",
            "labgrid.remote.generated.labgrid_coordinator_pb2",
            "labgrid.remote.generated.labgrid_coordinator_pb2_grpc",
            "labgrid.remote.common",
            "labgrid.util",
            "labgrid.util.proxy",
        )
        target = proxy.proxymanager.get_grpc_address(coordinator, default_port=DEFAULT_PORT)
        self._channel = self._grpc.insecure_channel(target, options=KEEPALIVE)
        self._stub = stubs.CoordinatorStub(self._channel)

    def __enter__(self) -> Session:
        try:
            self._grpc.channel_ready_future(self._channel).result(timeout=CONNECT_TIMEOUT_S)
            self._call = self._stub.ClientStream(iter(self._outgoing.get, None))
            threading.Thread(target=self._receive, name="labgrid", daemon=True).start()
            message = self._pb2.ClientInMessage()
            message.startup.version = self._util.labgrid_version()
            message.startup.name = me()
            self._outgoing.put(message)
            for kind in ("all_places", "all_resources"):
                message = self._pb2.ClientInMessage()
                setattr(message.subscribe, kind, True)
                self._outgoing.put(message)
            self.sync()
        except BaseException as error:
            self._close()
            if self._unreadable is None and isinstance(error, self._grpc.FutureTimeoutError | MachineError):
                raise HostError(
                    f"no labgrid coordinator answers at {self.coordinator}",
                    hint="does it run there? `labgrid: {coordinator: HOST:PORT}` or LG_COORDINATOR names another",
                ) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._outgoing.put(None)
        if call := getattr(self, "_call", None):
            call.cancel()
        self._channel.close()

    def check(self) -> None:
        """MachineError once the coordinator has gone."""
        if self._unreadable is not None:
            raise MachineError(
                f"the labgrid coordinator {self.coordinator} sent what labgrid cannot read: {self._unreadable}",
                hint="are labgrid's versions there and here the same?",
            )
        if self._gone:
            raise MachineError(
                f"the labgrid coordinator {self.coordinator} went away",
                hint="when it is back, it has forgotten who had which place",
            )

    def sync(self) -> None:
        """Have seen everything that the coordinator knew when this was called."""
        number = self._synced + 1
        message = self._pb2.ClientInMessage()
        message.sync.id = number
        self._outgoing.put(message)
        with self.changed:
            self.changed.wait_for(lambda: self._gone or self._synced >= number, SYNC_TIMEOUT_S)
            if self._synced >= number:
                return
            self._gone = True
        self.check()

    def acquire(self, place: str) -> None:
        """Acquire a place for us; Refused with the coordinator's reason. It may be ours after any other error."""
        request = self._pb2.AcquirePlaceRequest(placename=place)
        self._ask(self._stub.AcquirePlace, request, ACQUIRE_TIMEOUT_S, f"place '{place}' cannot be acquired")
        self.sync()

    def release(self, place: str, holder: str) -> None:
        """Release a place if this holder (HOST/USER) has it."""
        request = self._pb2.ReleasePlaceRequest(placename=place, fromuser=holder)
        self._ask(self._stub.ReleasePlace, request, RELEASE_TIMEOUT_S, f"place '{place}' cannot be released")
        self.sync()

    def _ask(self, method: Any, request: Any, timeout: float, failed: str) -> None:
        self.check()
        try:
            method(request, timeout=timeout)
        except self._grpc.RpcError as error:
            code = self._grpc.StatusCode
            if error.code() in (code.UNAVAILABLE, code.CANCELLED):
                self._gone = True
                self.check()
            answered = error.code() in (code.FAILED_PRECONDITION, code.INVALID_ARGUMENT, code.PERMISSION_DENIED)
            kind = Refused if answered else MachineError
            raise kind(f"{failed}: {error.details() or error.code().name}", where=self.coordinator) from None

    def offered(self, place: Any) -> Iterator[tuple[str, str, Any]]:
        """The resources that match a place: the name in the place, the path in the lab, and labgrid's ResourceEntry."""
        with self.changed:
            for (exporter, group, name), entry in sorted(self.resources.items()):
                match = place.getmatch((exporter, group, entry.cls, name))
                if match is not None:
                    yield match.rename or name, f"{exporter}/{group}/{entry.cls}/{name}", entry

    def _receive(self) -> None:
        try:
            for message in self._call:
                with self.changed:
                    for update in message.updates:
                        self._update(update)
                    if message.HasField("sync"):
                        self._synced = max(self._synced, message.sync.id)
                    self.changed.notify_all()
        except self._grpc.RpcError:
            pass  # `check` raises it where the place is used
        except Exception as error:  # a coordinator may send anything
            self._unreadable = repr(error)[:200]
        finally:
            with self.changed:
                self._gone = True
                self.changed.notify_all()

    def _update(self, update: Any) -> None:
        kind = update.WhichOneof("kind")
        if kind == "place":
            self.places[update.place.name] = self._common.Place.from_pb2(update.place)
        elif kind == "del_place":
            self.places.pop(update.del_place, None)
        elif kind == "resource":
            path = update.resource.path
            data = self._common.ResourceEntry.data_from_pb2(update.resource)
            entry = self._common.ResourceEntry(data)
            self.resources[path.exporter_name, path.group_name, path.resource_name] = entry
        elif kind == "del_resource":
            path = update.del_resource
            self.resources.pop((path.exporter_name, path.group_name, path.resource_name), None)
