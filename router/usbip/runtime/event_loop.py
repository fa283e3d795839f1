# SPDX-License-Identifier: BSD-2-Clause
"""An epoll loop with timers: what the daemons need of an event loop, in a module that imports in a millisecond.

A callback that belongs to one peer has an owner, `failed`: what the callback raises goes there and ends that peer's
conversation, not the daemon that serves the others. Without an owner an exception leaves the loop.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

IN = select.EPOLLIN
OUT = select.EPOLLOUT
RDHUP = select.EPOLLRDHUP
HUP = select.EPOLLHUP
ERR = select.EPOLLERR

SCRATCH_SIZE = 1 << 18

# Cancelled timers are thrown away once there are so many, and more than half of all.
MAX_CANCELLED = 256

Ready = Callable[[int], None]
Failed = Callable[[Exception], None]


class Timer:
    """A call that is due at a time; `cancel` makes it void."""

    __slots__ = ("_loop", "call", "due", "failed", "order")

    def __init__(self, loop: Loop, due: float, order: int, call: Callable[[], None], failed: Failed | None) -> None:
        self._loop = loop
        self.due = due
        self.order = order
        self.call: Callable[[], None] | None = call
        self.failed = failed

    def cancel(self) -> None:
        """Makes the call void. A timer that was called or cancelled before stays as it is."""
        if self.call is not None:
            self.call = self.failed = None
            self._loop.cancelled()

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


class Loop:
    """Calls `ready(events)` for file descriptors and timers when they are due, all in one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, tuple[Ready, Failed | None]] = {}
        self._timers: list[Timer] = []
        self._cancelled = 0
        self._order = 0
        self._running = False
        # What is read from any socket lands here first: allocating as much for each read would cost more than reading.
        self.scratch = memoryview(bytearray(SCRATCH_SIZE))
        self._signals: dict[int, Callable[[], None]] = {}
        self._pipe: tuple[int, int] | None = None

    def watch(self, fd: int, events: int, ready: Ready, failed: Failed | None = None) -> None:
        """Registers the descriptor, or changes what it waits for. HUP and ERR are always reported.

        failed: what gets an exception of `ready`; it stays until `forget`.
        """
        before = self._ready.get(fd)
        if before:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._ready[fd] = ready, failed or (before[1] if before else None)

    def forget(self, fd: int) -> None:
        """Takes the descriptor out; to be called before it is closed. Unknown ones are fine."""
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, call: Callable[[], None], failed: Failed | None = None) -> Timer:
        """Calls once after that time. failed: what gets an exception of the call."""
        self._order += 1
        timer = Timer(self, time.monotonic() + seconds, self._order, call, failed)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, call: Callable[[], None], failed: Failed | None = None) -> Timer:
        return self.call_later(0, call, failed)

    def cancelled(self) -> None:
        """A timer was cancelled. Its place in the heap holds what it would have called, so places are bounded too."""
        self._cancelled += 1
        if self._cancelled > MAX_CANCELLED and self._cancelled * 2 > len(self._timers):
            # In place: `run_once` holds the list.
            self._timers[:] = [timer for timer in self._timers if timer.call is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def timers(self) -> int:
        """How many timers the heap holds, cancelled ones too."""
        return len(self._timers)

    def on_signal(self, number: int, call: Callable[[], None]) -> None:
        """Calls from within the loop when the process gets the signal (main thread only)."""
        if self._pipe is None:
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(self._pipe[1])
            self.watch(self._pipe[0], IN, self._signalled)
        self._signals[number] = call
        signal.signal(number, lambda _number, _frame: None)

    def _signalled(self, _: int) -> None:
        if self._pipe:
            for number in os.read(self._pipe[0], 64):
                call = self._signals.get(number)
                if call:
                    call()

    def run_once(self, timeout: float | None = None) -> None:
        """Waits for events for at most `timeout` seconds (None: until there are some), and runs what is due."""
        timers = self._timers
        if timers:
            while timers and timers[0].call is None:
                heapq.heappop(timers)
                self._cancelled -= 1
            if timers:
                until = max(0.0, timers[0].due - time.monotonic())
                timeout = until if timeout is None else min(timeout, until)
        for fd, events in self._epoll.poll(-1 if timeout is None else timeout):
            entry = self._ready.get(fd)
            if entry:
                ready, failed = entry
                try:
                    ready(events)
                except Exception as error:
                    if failed is None:
                        raise
                    failed(error)
        if timers:
            now = time.monotonic()
            while timers and timers[0].due <= now:
                timer = heapq.heappop(timers)
                call, failed, timer.call = timer.call, timer.failed, None
                if call is None:
                    self._cancelled -= 1
                    continue
                try:
                    call()
                except Exception as error:
                    if failed is None:
                        raise
                    failed(error)

    def run(self) -> None:
        """Runs until `stop`."""
        self._running = True
        while self._running:
            self.run_once()

    def stop(self) -> None:
        self._running = False

    def close(self) -> None:
        if self._pipe:
            signal.set_wakeup_fd(-1)
            for number in self._signals:
                signal.signal(number, signal.SIG_DFL)
            os.close(self._pipe[0])
            os.close(self._pipe[1])
            self._pipe = None
        self._epoll.close()
        self._ready.clear()
        self._timers.clear()
