# SPDX-License-Identifier: BSD-2-Clause
"""The control agent's own script under a real busybox shell, over a pseudo-terminal, against the host's side of it."""

from __future__ import annotations

import base64
import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.errors import MachineError
from router.machines.agent import AgentChannel
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.pipe import AnsweringPipe
from tests.support.patience import PATIENCE

SCRIPT = Path(__file__).parents[2] / "guest-images/common/usr/lib/router/agent"


class Line:
    """The host's end of a channel, by descriptor; and the name of the guest's end."""

    def __init__(self, descriptor: int, far: str) -> None:
        self._descriptor = descriptor
        self.far = far

    def fileno(self) -> int:
        return self._descriptor


@pytest.fixture
def line(applets: Path, tmp_path: Path) -> Iterator[Line]:
    """The agent at the far end of a pseudo-terminal, as it is at the far end of hvc1."""
    ours, theirs = pty.openpty()
    environment = {"PATH": str(applets), "ROUTER_RUN": str(tmp_path / "run")}
    command = [str(applets / "sh"), str(SCRIPT)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, env=environment, start_new_session=True)
    far = os.ttyname(theirs)
    os.close(theirs)
    yield Line(ours, far)
    os.close(ours)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def channel(line: Line) -> AgentChannel:
    return AgentChannel(line, "server")


def test_the_agent_greets_with_the_guests_name(channel: AgentChannel) -> None:
    assert channel.hello(PATIENCE) == socket.gethostname()


def test_output_and_exit_code_come_back(channel: AgentChannel) -> None:
    assert channel.run("echo out; echo err >&2; exit 7", PATIENCE) == (7, b"out\nerr\n")
    assert channel.run("true", PATIENCE) == (0, b"")


def test_a_command_may_hold_any_characters(channel: AgentChannel) -> None:
    text = "quote ' \" back \\ dollar $ newline\nümlaut *"
    encoded = base64.b64encode(text.encode()).decode()
    code, output = channel.run(f"echo {encoded} | base64 -d; echo '{chr(10)}two'", PATIENCE)
    assert (code, output.decode()) == (0, text + "\ntwo\n")


def test_binary_output_arrives_byte_for_byte(channel: AgentChannel) -> None:
    command = "head -c 40000 /dev/zero; echo; cat " + str(SCRIPT)
    code, output = channel.run(command, PATIENCE)
    assert code == 0
    assert output == bytes(40000) + b"\n" + SCRIPT.read_bytes()


def test_output_appears_while_the_command_runs(channel: AgentChannel, tmp_path: Path) -> None:
    seen: list[bytes] = []
    mark = tmp_path / "seen"

    def take(data: bytes) -> None:
        seen.append(data)
        mark.touch()

    code, _ = channel.run(f"echo first; until [ -e {mark} ]; do sleep 0.1; done; echo second", PATIENCE, take)
    assert (code, seen) == (0, [b"first\n", b"second\n"])


def test_commands_read_nothing_from_the_channel(channel: AgentChannel) -> None:
    assert channel.run("cat", PATIENCE) == (0, b"")
    assert channel.run("echo still there", PATIENCE) == (0, b"still there\n")


def test_a_request_that_comes_in_pieces_survives_the_end_of_an_earlier_command(
    channel: AgentChannel, line: Line
) -> None:
    """A serial line is slow: a command may end while the next request is half here."""
    channel.hello(PATIENCE)
    for number in range(3):
        begun, request = f"7{number} ", base64.b64encode(b"echo whole").decode()
        os.write(line.fileno(), f"6{number} {base64.b64encode(b'sleep 0.3').decode()}\n{begun}{request[:5]}".encode())
        seen = _until(line, f"6{number} x 0\n".encode())
        time.sleep(0.2)
        os.write(line.fileno(), f"{request[5:]}\n".encode())
        seen += _until(line, f"7{number} x 0\n".encode())
        assert base64.b64encode(b"whole\n") in seen


def _until(line: Line, wanted: bytes) -> bytes:
    """What comes up to the wanted bytes; fails when they do not come in time."""
    seen = b""
    end = time.monotonic() + PATIENCE
    while wanted not in seen:
        assert select.select([line], [], [], max(0.0, end - time.monotonic()))[0], seen
        seen += os.read(line.fileno(), 4096)
    return seen


def test_a_command_that_takes_too_long_is_killed_with_its_children(channel: AgentChannel, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    channel.hello(PATIENCE)
    with pytest.raises(MachineError, match=r"did not end within 1 s: \(sleep") as caught:
        channel.run(f"(sleep 2; echo alive >{mark}) & sleep 100", 1)
    assert caught.value.where == "server"
    assert caught.value.hint == "it printed nothing"
    assert channel.run("echo next", PATIENCE) == (0, b"next\n")
    time.sleep(2)
    assert not mark.exists()


def test_a_command_that_is_not_wanted_any_more_is_killed_with_its_children(
    channel: AgentChannel, tmp_path: Path
) -> None:
    mark = tmp_path / "child"
    seen: list[bytes] = []
    with pytest.raises(MachineError, match="the command was cancelled: echo started") as caught:
        channel.run(
            f"echo started; (sleep 1; echo alive >{mark}) & sleep 100", PATIENCE, seen.append, lambda: bool(seen)
        )
    assert caught.value.hint == "its last line of output: started"
    assert channel.run("echo next", PATIENCE) == (0, b"next\n")
    time.sleep(1)
    assert not mark.exists()


def test_a_command_that_is_killed_before_it_has_begun_ends_too(line: Line, applets: Path, tmp_path: Path) -> None:
    """The number of its leader is not known then."""
    setsid, gate = applets / "setsid", tmp_path / "gate"
    AgentChannel(line, "server").hello(PATIENCE)
    busybox = setsid.readlink()
    setsid.unlink()
    setsid.write_text(f'#!{busybox} sh\nuntil [ -e {gate} ]; do sleep 0.1; done\nexec {busybox} setsid "$@"\n')
    setsid.chmod(0o755)
    request = base64.b64encode(b"sleep 600").decode()
    os.write(line.fileno(), f"81 {request}\n81 kill\n\n".encode())
    _until(line, b"router-agent 1 ")
    gate.touch()
    assert _until(line, b"81 x 137\n").count(b"81 x ") == 1


def test_garbage_on_the_line_is_skipped_by_both_sides(line: Line) -> None:
    os.write(line.fileno(), b"\xff\xfe noise\nkernel: usb 1-1\n12 not base64!\n 7\n99999999 kill\n")
    channel = AgentChannel(line, "server")
    assert channel.run("echo fine", PATIENCE) == (0, b"fine\n")


def test_a_second_caller_is_not_confused_by_the_first_ones_remnants(line: Line) -> None:
    first = AgentChannel(line, "server")
    first.hello(PATIENCE)
    request = base64.b64encode(b"seq 1 500").decode()
    os.write(line.fileno(), f"424242 {request}\n".encode())
    assert AgentChannel(line, "server").run("echo mine", PATIENCE) == (0, b"mine\n")


def test_no_agent_is_a_clear_error_within_the_time_given() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = time.monotonic()
        with pytest.raises(MachineError, match=r"no answer on the control channel within 0\.6 s"):
            AgentChannel(ours, "server").hello(0.6)
        assert time.monotonic() - began < 2
        assert theirs.recv(100).strip(b"\n") == b""


def test_a_guest_that_ends_closes_the_channel_with_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(MachineError, match="the control channel was closed"):
            AgentChannel(ours, "server").hello(PATIENCE)


def test_bytes_may_arrive_one_at_a_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = AgentChannel(ours, "server")

        def speak() -> None:
            for byte in b"torn line\nrouter-agent 1 server\n":
                theirs.send(bytes([byte]))
                time.sleep(0.002)

        speaker = threading.Thread(target=speak)
        speaker.start()
        assert channel.hello(PATIENCE) == "server"
        speaker.join()


class Answers:
    """A guest whose agent answers every command with the same lines; `@` stands for the command's number."""

    def __init__(self, *lines: bytes) -> None:
        self.ours, self._theirs = socket.socketpair()
        self._lines = lines
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> socket.socket:
        self._thread.start()
        return self.ours

    def __exit__(self, *_: object) -> None:
        self.ours.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self.ours.close()
        self._theirs.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            for line in self._theirs.makefile("rb"):
                number, _, command = line.strip().partition(b" ")
                if not number:
                    self._theirs.sendall(b"router-agent 1 server\n")
                elif command == b"kill":
                    self._theirs.sendall(number + b" x 137\n")
                else:
                    for answer in self._lines:
                        self._theirs.sendall(answer.replace(b"@", number) + b"\n")


def test_output_that_is_handed_on_is_not_kept() -> None:
    piece = base64.b64encode(bytes(2000))
    with Answers(*500 * [b"@ o " + piece], b"@ x 0") as stream:
        sizes: list[int] = []
        channel = AgentChannel(stream, "server")
        assert channel.run("cat big", PATIENCE, lambda data: sizes.append(len(data))) == (0, b"")
        assert sum(sizes) == 1_000_000


def test_a_command_that_prints_more_than_is_kept_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.machines.agent.MAX_OUTPUT", 1 << 20)
    with Answers(*2000 * [b"@ o " + base64.b64encode(b"y\n" * 1000)]) as stream:
        with pytest.raises(MachineError, match="printed more than 1 MiB: yes") as caught:
            AgentChannel(stream, "server").run("yes", PATIENCE)
        assert caught.value.hint == "its last line of output: y"


def test_an_answer_that_the_line_has_lost_a_part_of_is_an_error() -> None:
    counts = iter((3, 5))
    with Answers(b"@ o YQ==", b"@ x 0") as stream, pytest.raises(MachineError, match="has lost 2 pieces") as caught:
        AgentChannel(stream, "server", lambda: next(counts)).run("cat", PATIENCE)
    assert "exit code 0" in str(caught.value.hint)


def test_what_another_program_has_written_without_a_line_end_takes_no_answer_with_it() -> None:
    answers = Answers(b"@ x 4")
    with answers as stream:
        channel = AgentChannel(stream, "server")
        assert channel.run("true", PATIENCE) == (4, b"")
        answers._theirs.sendall(b"\xff\x00 garbage")
        assert channel.run("true", PATIENCE) == (4, b"")


def test_what_came_before_the_command_is_thrown_away_and_takes_no_time() -> None:
    with Answers(b"@ x 4") as stream:
        channel = AgentChannel(stream, "server")
        assert channel.run("true", PATIENCE) == (4, b"")
        channel._buffer = b"half a line"
        channel._whole.extend([b"1 x 0"] * 100)
        assert channel.run("true", PATIENCE) == (4, b"")
        assert not channel._whole


@contextlib.contextmanager
def passing_answers(line: Line, applets: Path, folder: Path) -> Iterator[None]:
    """What boot runs to pass a daemon's answers on to the channel."""
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "answers")
    found = re.search(r"^answers\(\) \{\n(.*?)^\}$", (SCRIPT.parent / "boot").read_text(), re.MULTILINE | re.DOTALL)
    assert found, "boot passes the answers on"
    command = found[1].replace("/run/router", str(folder)).replace("/dev/hvc1", line.far)
    command = command.replace("/usr/lib/router", str(SCRIPT.parent))
    process = subprocess.Popen([str(applets / "sh"), "-c", command], env={"PATH": str(applets)}, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def daemon(line: Line, applets: Path, folder: Path, answer: Callable[[], str]) -> Iterator[None]:
    """A daemon that answers `router-usbip status --json` for the agent, as in a guest."""
    with passing_answers(line, applets, folder):
        loop = Loop()
        pipe = AnsweringPipe(loop, "status", answer, str(folder))
        over = threading.Event()
        thread = threading.Thread(target=lambda: run_for(loop, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE)
            pipe.close()
            loop.close()


def run_for(loop: Loop, over: threading.Event) -> None:
    while not over.is_set():
        loop.run_once(0.05)


def test_a_daemon_that_runs_answers_for_its_program(
    channel: AgentChannel, line: Line, applets: Path, tmp_path: Path
) -> None:
    text = "".join(f"line {number}\n" for number in range(2000))
    with daemon(line, applets, tmp_path / "run", lambda: text):
        for _ in range(3):
            assert channel.run("router-usbip status --json", PATIENCE) == (0, text.encode())
        assert channel.run("echo other commands run", PATIENCE) == (0, b"other commands run\n")
    # Without a daemon the program says what is wrong; here there is none.
    assert channel.run("router-usbip status --json", PATIENCE)[0] == 127


def test_only_the_daemons_own_question_goes_to_it(
    channel: AgentChannel, line: Line, applets: Path, tmp_path: Path
) -> None:
    with daemon(line, applets, tmp_path / "run", lambda: "never"):
        for command in ("router-usbip ports --json", "router-usbip status", "router-usbip status --json; exit 3"):
            assert channel.run(command, PATIENCE)[1] != b"never", command


STATUS = b"router-usbip status --json"


@pytest.fixture
def program(applets: Path) -> str:
    """The program that the agent starts where no daemon answers; what it prints."""
    (applets / "router-usbip").write_text(f"#!{applets}/sh\necho by the program\n")
    (applets / "router-usbip").chmod(0o755)
    return "by the program\n"


def test_a_daemon_that_does_not_read_its_pipe_holds_the_agent_up_for_no_other_request(
    channel: AgentChannel, tmp_path: Path, program: str
) -> None:
    channel.hello(PATIENCE)
    full = tmp_path / "run/ask.status"
    os.mkfifo(full)
    pipe = os.open(full, os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.write(pipe, bytes(4096)):
            pass
    try:
        request = base64.b64encode(STATUS)
        channel._send(b"5 " + request + b"\n", time.monotonic() + PATIENCE)
        assert channel.run("echo another", PATIENCE) == (0, b"another\n")
        assert channel.run(STATUS.decode(), PATIENCE) == (0, program.encode())
    finally:
        os.close(pipe)


def test_a_question_that_the_daemon_has_left_in_its_pipe_is_answered_by_the_program(
    channel: AgentChannel, tmp_path: Path, program: str
) -> None:
    channel.hello(PATIENCE)
    os.mkfifo(tmp_path / "run/ask.status")
    began = time.monotonic()
    assert channel.run(STATUS.decode(), PATIENCE) == (0, program.encode())
    assert time.monotonic() - began > 2


def test_a_question_that_nobody_answers_can_be_killed(
    line: Line, channel: AgentChannel, tmp_path: Path, program: str
) -> None:
    channel.hello(PATIENCE)
    os.mkfifo(tmp_path / "run/ask.status")
    os.write(line.fileno(), b"71 " + base64.b64encode(STATUS) + b"\n71 kill\n")
    assert base64.b64encode(program.encode()) not in _until(line, b"71 x 137\n")


def test_a_daemon_that_was_taken_over_answers_its_own_questions_alone(
    line: Line, channel: AgentChannel, applets: Path, tmp_path: Path
) -> None:
    channel.hello(PATIENCE)
    folder = tmp_path / "run"
    with passing_answers(line, applets, folder):
        os.mkfifo(folder / "ask.status")
        asked = os.open(folder / "ask.status", os.O_RDWR)
        answers = os.open(folder / "answers", os.O_RDWR)
        try:
            os.write(
                line.fileno(), b"72 " + base64.b64encode(STATUS) + b"\n73 " + base64.b64encode(b"sleep 600") + b"\n"
            )
            assert os.read(asked, 100) == b"72\n"
            forged = (b"73 x 0", b"73 o Zm9yZ2Vk", b"router-agent 1 forged", b"7 x 0", b"72 o not?base64", b"72 x -1")
            more = (b"72 z 0", b"72  o  Zm9y", b"72 o Zm9y 73", b"", b"72 o " + b"A" * 2000)
            os.write(
                answers, b"\n".join((*forged, *more, b"72 o ZmluZQ==", b"72 x 0", b"72 o bW9yZQ==", b"72 x 1", b""))
            )
            seen = _until(line, b"72 x 0\n")
            os.write(line.fileno(), b"73 kill\n")
            seen += _until(line, b"73 x 137\n")
            assert [each for each in seen.split(b"\n") if each.startswith(b"7")][:2] == [b"72 o ZmluZQ==", b"72 x 0"]
            assert (seen.count(b"72 "), seen.count(b"73 x ")) == (2, 1)
            assert not any(each in seen for each in (b"forged", b"Zm9yZ2Vk", b"\n7 x"))
        finally:
            os.close(asked)
            os.close(answers)


def test_an_answer_of_the_daemon_does_not_wait_for_a_program(
    channel: AgentChannel, line: Line, applets: Path, tmp_path: Path
) -> None:
    with daemon(line, applets, tmp_path / "run", lambda: "quick"):
        channel.hello(PATIENCE)
        took = []
        for _ in range(5):
            began = time.monotonic()
            assert channel.run(STATUS.decode(), PATIENCE) == (0, b"quick")
            took.append(time.monotonic() - began)
        assert min(took) < 2.5
