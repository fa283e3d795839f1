# SPDX-License-Identifier: BSD-2-Clause
"""What a user-space session works with: the device that carries transfers out, who watches them, and its own face.

The Protocols keep the modules that implement them from importing one another.
"""

from __future__ import annotations

from router.usbip.protocol import urb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from typing import Protocol

    from router.usbip.runtime.event_loop import Loop

    Buffer = bytes | bytearray | memoryview | array[int]

    class Completer(Protocol):
        """A session as its device sees it: where transfers end."""

        loop: Loop

        def complete(
            self,
            submit: urb.Submit,
            status: int,
            data: Buffer = b"",
            actual: int | None = None,
            iso: list[urb.IsoPacket] | None = None,
            start: int = 0,
            errors: int = 0,
        ) -> bool:
            """Ends a transfer: see UserSession.complete."""

        def fail(self, error: Exception) -> None:
            """Ends the session over an exception, with a log line."""

        def close(self) -> None:
            """Ends the session and its connection."""

    class Target(Protocol):
        """What carries transfers out: a virtual device, or a real one behind usbfs."""

        def is_isochronous(self, address: int) -> bool:
            """Whether the endpoint at that address is isochronous in the current configuration."""

        def kind_of(self, address: int) -> int:
            """How the endpoint at that address transfers: bmAttributes 1:0 of its descriptor."""

        def submit(self, submit: urb.Submit, session: Completer) -> None:
            """Begins a transfer; `session.complete` ends it, at once or later."""

        def settle(self) -> None:
            """All that had come was submitted: completes what has ended by now, without waiting for anything."""

        def cancel(self, submit: urb.Submit, session: Completer) -> None:
            """Has a transfer ended soon; `session.complete` still ends it, with ECONNRESET if it did not finish."""

        def buffer(self, size: int) -> bytearray | array[int]:
            """Room for that many bytes that come OUT."""

        def stop(self, session: Completer) -> None:
            """The session is over: whatever is in flight is of no interest any more."""

    class Tap(Protocol):
        """Sees each PDU of a session."""

        def submitted(self, submit: urb.Submit, kind: int) -> None: ...

        def unlinked(self, unlink: urb.Unlink) -> None: ...

        def returned(
            self,
            submit: urb.Submit,
            kind: int,
            status: int,
            actual: int,
            data: Buffer,
            iso: list[urb.IsoPacket] | None,
        ) -> None: ...

        def cancelled(self, unlink: urb.Unlink, submit: urb.Submit | None, kind: int, status: int) -> None: ...
