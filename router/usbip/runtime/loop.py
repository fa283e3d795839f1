"""An epoll loop with timers: what the daemons need of an event loop, in a module that imports in a millisecond."""

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

Ready = Callable[[int], None]


class Timer:
    """A call that is due at a time; `cancel` makes it void."""

    __slots__ = ("call", "due", "order")

    def __init__(self, due: float, order: int, call: Callable[[], None]) -> None:
        self.due = due
        self.order = order
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


class Loop:
    """Calls `ready(events)` for file descriptors and timers when they are due, all in one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self._timers: list[Timer] = []
        self._order = 0
        self._running = False
        # Where whoever reads from a socket reads to, before it goes where it belongs: allocating as much for each read
        # would cost more than reading.
        self.scratch = memoryview(bytearray(SCRATCH_SIZE))
        self._signals: dict[int, Callable[[], None]] = {}
        self._pipe: tuple[int, int] | None = None

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        """Registers the descriptor, or changes what it waits for. HUP and ERR are always reported."""
        if fd in self._ready:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        """Takes the descriptor out; to be called before it is closed. Unknown ones are fine."""
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self._order += 1
        timer = Timer(time.monotonic() + seconds, self._order, call)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, call: Callable[[], None]) -> Timer:
        return self.call_later(0, call)

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
            if timers:
                until = max(0.0, timers[0].due - time.monotonic())
                timeout = until if timeout is None else min(timeout, until)
        for fd, events in self._epoll.poll(-1 if timeout is None else timeout):
            ready = self._ready.get(fd)
            if ready:
                ready(events)
        if timers:
            now = time.monotonic()
            while timers and timers[0].due <= now:
                call = heapq.heappop(timers).call
                if call:
                    call()

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
