# SPDX-License-Identifier: BSD-2-Clause
"""A download is bounded, goes on where it broke off, stays with https, and never waits long for nothing."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import ssl
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from router.errors import DescriptionError, HostError
from router.sdk.download import Limits, check_address, download
from tests.sdk.release_server import ReleaseServer

BODY = os.urandom(300_000)
ONCE = Limits(attempts=1)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "it.part"


def failure(server: ReleaseServer, part: Path, limits: Limits = ONCE, url: str | None = None) -> HostError:
    with pytest.raises(HostError) as caught:
        download(url or server.url, part, limits=limits, context=server.context)
    assert caught.value.exit_code == 3
    assert caught.value.message.isprintable()
    return caught.value


def left(part: Path) -> list[str]:
    return sorted(path.name for path in part.parent.iterdir()) if part.parent.exists() else []


def test_a_file_comes_whole_and_its_progress_is_told(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body = BODY
    told: list[tuple[int, int | None]] = []
    download(server.url, part, lambda size, total: told.append((size, total)), context=server.context)
    assert part.read_bytes() == BODY
    assert told[0] == (0, len(BODY)) and told[-1] == (len(BODY), len(BODY))
    assert [size for size, _ in told] == sorted(size for size, _ in told)


def test_a_server_that_does_not_say_the_length_will_do(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.length = BODY, False
    download(server.url, part, context=server.context)
    assert part.read_bytes() == BODY


def test_a_connection_that_breaks_is_made_again_for_the_rest(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.cuts = BODY, [100_000, 50_000]
    download(server.url, part, context=server.context)
    assert part.read_bytes() == BODY
    assert [seen.get("Range") for seen in server.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert [seen.get("If-Range") for seen in server.seen] == [None, '"one"', '"one"']


def test_the_next_call_goes_on_where_the_last_one_broke_off(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.cuts = BODY, [100_000]
    error = failure(server, part)
    assert error.message == "cannot download from 127.0.0.1: the connection broke: 100000 of 300000 bytes came"
    assert error.hint == "0.1 MB are kept: the same command goes on from there"
    assert part.read_bytes() == BODY[:100_000]
    download(server.url, part, limits=ONCE, context=server.context)
    assert part.read_bytes() == BODY
    assert server.seen[-1]["Range"] == "bytes=100000-"


def test_a_server_that_ignores_ranges_is_started_anew(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.ranges, server.behaviour.cuts = BODY, False, [100_000]
    download(server.url, part, context=server.context)
    assert part.read_bytes() == BODY
    assert len(server.seen) == 2


def test_a_file_that_changed_meanwhile_is_started_anew(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.cuts = BODY, [100_000]
    failure(server, part)
    server.behaviour.body, server.behaviour.etag = BODY[::-1], '"two"'
    download(server.url, part, limits=ONCE, context=server.context)
    assert part.read_bytes() == BODY[::-1]


def test_a_part_that_is_all_of_it_already_is_kept(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body = BODY
    part.parent.mkdir()
    part.write_bytes(BODY)
    download(server.url, part, limits=ONCE, context=server.context)
    assert part.read_bytes() == BODY


def test_a_part_that_is_longer_than_the_file_is_started_anew(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body = BODY
    part.parent.mkdir()
    part.write_bytes(BODY + b"more")
    download(server.url, part, limits=ONCE, context=server.context)
    assert part.read_bytes() == BODY


def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.ranges, server.behaviour.cuts = BODY, False, [1000] * 50
    assert "the connection broke" in failure(server, part, Limits(attempts=40)).message
    assert len(server.seen) == 2


@pytest.mark.parametrize("length", [True, False])
def test_a_file_that_is_too_large_is_refused_and_not_kept(server: ReleaseServer, part: Path, length: bool) -> None:
    server.behaviour.body, server.behaviour.length = BODY, length
    error = failure(server, part, Limits(size=len(BODY) - 1))
    assert "larger than 0 MB" in error.message
    assert left(part) == []


@pytest.mark.parametrize("stall_after", [-1, 0, 100_000])
def test_a_server_that_sends_nothing_more_is_given_up_in_time(
    server: ReleaseServer, part: Path, stall_after: int
) -> None:
    server.behaviour.body, server.behaviour.stall_after = BODY, stall_after
    start = time.monotonic()
    error = failure(server, part, Limits(stall_timeout_s=1.5))
    assert 1.4 < time.monotonic() - start < 20
    assert error.message == "cannot download from 127.0.0.1: no byte came for 1.5 s"
    assert left(part) == (["it.part", "it.part.etag"] if stall_after > 0 else [])


def test_a_host_that_takes_connections_and_says_nothing_is_given_up_in_time(server: ReleaseServer, part: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/"
        assert "no byte came for 1 s" in failure(server, part, Limits(stall_timeout_s=1), url).message
    assert left(part) == []


def test_a_name_that_takes_for_ever_to_resolve_is_given_up_in_time(
    server: ReleaseServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = threading.Event()

    def hang(*_: object, **__: object) -> None:
        resolved.wait(60)
        raise OSError("ended by the test")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert "no byte came for 1 s" in failure(server, part, Limits(stall_timeout_s=1)).message
    resolved.set()


class Proxy(socketserver.StreamRequestHandler):
    """Knows CONNECT only (RFC 9110, section 9.3.6)."""

    asked: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        word, target, _ = self.rfile.readline().split()
        self.asked.append(word + b" " + target)
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        host, _, port = target.decode().rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            there = threading.Thread(target=copy, args=(self.connection, far))
            there.start()
            copy(far, self.connection)
            there.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_proxy_carries_the_connection_and_cannot_look_into_it(
    server: ReleaseServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behaviour.body = BODY
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        try:
            download(server.url, part, limits=ONCE, context=server.context)
            with pytest.raises(HostError, match="its certificate is not trusted"):
                download(server.url, part.with_name("other"), limits=ONCE)
        finally:
            proxy.shutdown()
            thread.join()
    assert part.read_bytes() == BODY
    assert Proxy.asked == [b"CONNECT " + server.url.split("/")[2].encode()] * 2


def test_a_slow_server_that_sends_something_now_and_then_is_waited_for(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body, server.behaviour.pause = BODY, 0.4
    begun = time.monotonic()
    download(server.url, part, limits=Limits(stall_timeout_s=3, attempts=1), context=server.context)
    assert part.read_bytes() == BODY
    assert time.monotonic() - begun > 3


def test_a_redirection_to_https_is_followed(server: ReleaseServer, part: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with ReleaseServer(tmp_path / "other") as other:
        other.behaviour.redirect = server.url
        server.behaviour.body = BODY
        context = ssl.create_default_context(cafile=str(other.authority))
        context.load_verify_locations(str(server.authority))
        download(other.url, part, context=context)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_redirection_to_anything_else_is_refused(server: ReleaseServer, part: Path, scheme: str) -> None:
    asked: list[str] = []

    class Plain(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Plain) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.behaviour.redirect = f"{scheme}://127.0.0.1:{plain.server_address[1]}/etc/passwd"
        try:
            error = failure(server, part)
        finally:
            plain.shutdown()
            thread.join()
    assert "without https" in error.message
    assert asked == []
    assert left(part) == []


@pytest.mark.parametrize(
    "target", ["https://[", "https://host:port/", "https://a..b/", "https://", "//[::", "https://127.0.0.1:0/"]
)
def test_a_redirection_to_nonsense_is_one_sentence(server: ReleaseServer, part: Path, target: str) -> None:
    server.behaviour.redirect = target
    assert failure(server, part).message.startswith(("cannot download", "the download is refused"))
    assert left(part) == []


def test_a_redirection_in_a_circle_ends(server: ReleaseServer, part: Path) -> None:
    server.behaviour.redirect = server.url
    assert "the server answers 302" in failure(server, part).message
    assert len(server.seen) < 20


@pytest.mark.parametrize(
    ("status", "said"), [(404, "404 (Not Found)"), (503, "503 (Service Unavailable)"), (599, "599")]
)
def test_what_the_server_answers_is_said(server: ReleaseServer, part: Path, status: int, said: str) -> None:
    server.behaviour.status = status
    assert failure(server, part).message == f"cannot download from 127.0.0.1: the server answers {said}"
    assert left(part) == []


def test_a_certificate_that_is_not_trusted_is_refused(server: ReleaseServer, part: Path) -> None:
    server.behaviour.body = BODY
    with pytest.raises(HostError, match="its certificate is not trusted"):
        download(server.url, part, limits=ONCE)
    assert server.seen == []
    assert left(part) == []


def test_no_network_is_one_sentence_and_leaves_nothing(server: ReleaseServer, part: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"https://127.0.0.1:{closed.getsockname()[1]}/"
    error = failure(server, part, url=url)
    assert error.message == "cannot download from 127.0.0.1: Connection refused"
    assert error.hint == "download it elsewhere and install the file: router sdk install --from FILE"
    assert left(part) == []


@pytest.mark.parametrize(
    "url",
    ["http://host/", "ftp://host/", "file:///etc/passwd", "https://", "https:///x", "https://host:x/", "https://h/a b",
     "https://h/\x1b", "https://h/é", "https://[h/"],
)  # fmt: skip
def test_only_https_addresses_are_taken(url: str) -> None:
    with pytest.raises(DescriptionError, match="not an https address"):
        check_address(url)
