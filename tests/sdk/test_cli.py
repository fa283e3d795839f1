# SPDX-License-Identifier: BSD-2-Clause
"""The verbs `router sdk` and `router init`, and the demo's offer, as a user meets them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from router.microkit.sdk import read_sdk
from tests.sdk.release_server import ReleaseServer, archive
from tests.support.patience import PATIENCE
from tests.support.terminal_user import Terminal

GOOD = archive(padding=os.urandom(100_000))
DIGEST = f"sha256:{hashlib.sha256(GOOD).hexdigest()}"
PROGRAM = """
import sys
from router.cli import main
from router.microkit import sdk
from router.sdk import releases

sdk.PLACES = ()
releases.ADDRESS = sys.argv[1]
releases.DIGESTS = {"2.3.0": {releases.this_platform(): sys.argv[2]}}
if sys.argv[3] == "demo":
    import router.pipeline.build

    def build(planned, folder, cache, progress, *, loader_image):
        sdk = planned.sdk.version if planned.sdk else None
        print(f"the demo builds: loader image {loader_image}, SDK {sdk}", flush=True)
        raise SystemExit(0)

    router.pipeline.build.build = build
sys.exit(main(sys.argv[3:]))
"""
"""router with another release page, and a demo that ends before it builds."""


@pytest.fixture
def home(tmp_path: Path, server: ReleaseServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and trust in the server's certificate through the variable that OpenSSL reads."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    monkeypatch.delenv("MICROKIT_SDK", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path / "home"


def command(server: ReleaseServer, *words: str, digest: str = DIGEST) -> list[str]:
    return [sys.executable, "-c", PROGRAM, server.url, digest, *words]


def router(server: ReleaseServer, *words: str, digest: str = DIGEST) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(server, *words, digest=digest),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_install_fetches_the_newest_release_and_list_shows_it(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD
    done = router(server, "sdk", "install")
    assert done.returncode == 0, done.stderr
    path = home / ".local/share/microkit-sdk-2.3.0"
    assert done.stdout == f"microkit     SDK 2.3.0 is in {path}, 1 boards\n".replace("1 boards", "1 board")
    assert "downloading: " in done.stderr and "unpacking: " in done.stderr
    assert read_sdk(path).version == "2.3.0"
    again = router(server, "sdk", "install", "2.3.0")
    assert (again.returncode, again.stdout) == (0, f"microkit     SDK 2.3.0 is installed already: {path}\n")
    assert len(server.seen) == 1
    listed = router(server, "sdk", "list").stdout
    assert f"2.3.0        {path}: whole\n             qemu_virt_aarch64: release\n" in listed
    assert "available    2.3.0: router sdk install VERSION" in listed


def test_list_shows_broken_ones_and_what_differs_from_the_release(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD
    router(server, "sdk", "install")
    broken = home / ".local/share/microkit-sdk-2.2.0"
    broken.mkdir()
    shown = router(server, "sdk", "list").stdout
    assert f"broken       {broken}\n             not a Microkit SDK: its file VERSION cannot be read\n" in shown
    whole = home / ".local/share/microkit-sdk-2.3.0"
    digest = nar(whole)
    assert (
        f"{whole}: whole, the release byte for byte" in router(server, "sdk", "list", "--verify", digest=digest).stdout
    )
    (whole / "bin/microkit").write_text("#!/bin/sh\nexit 0\n")
    assert f"{whole}: whole, NOT the release" in router(server, "sdk", "list", "--verify", digest=digest).stdout
    rows = json.loads(router(server, "sdk", "list", "--json", "--verify", digest=digest).stdout)
    assert [(row["version"], row["release"], bool(row["trouble"])) for row in rows["installed"]] == [
        ("2.3.0", False, False),
        (None, None, True),
    ]
    assert rows["available"] == ["2.3.0"]


def nar(path: Path) -> str:
    from router.sdk.digest import Digest
    from router.sdk.nar import nar_sha256

    return str(Digest(nar_sha256(path), of_archive=False))


def test_doctor_names_broken_ones_and_how_to_get_an_sdk(server: ReleaseServer, home: Path) -> None:
    (home / ".local/share/.microkit-sdk-2.3.0.unpacking").mkdir(parents=True)
    rows = json.loads(router(server, "doctor", "--json").stdout)
    found = [(row["state"], row["detail"], row["mend"]) for row in rows if row["what"] == "Microkit SDK"]
    assert found == [
        ("partly", "none found: everything but loader.img is built", "router sdk install"),
        (
            "partly",
            f"{home}/.local/share/.microkit-sdk-2.3.0.unpacking: "
            "router sdk install was interrupted here, or is at work",
            "the next router sdk install removes it",
        ),
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["9.0.0"], 2, "router does not know the digest of Microkit 9.0.0"),
        (["latest"], 2, "not a version of Microkit: 'latest'"),
        (["--digest", "md5:1"], 2, "not a digest"),
        (["--from", "http://127.0.0.1/sdk.tar.gz"], 2, "not an https address"),
        (["--from", "no-such-file"], 3, "No such file or directory"),
        (["--digest", f"sha256:{'0' * 64}"], 3, "the digest is wrong"),
    ],
)
def test_what_goes_wrong_is_one_error_and_leaves_nothing(
    server: ReleaseServer, home: Path, words: list[str], code: int, said: str
) -> None:
    server.behaviour.body = GOOD
    done = router(server, "sdk", "install", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert files_below(home) == []


def test_an_archive_on_this_computer_is_installed_with_its_digest(server: ReleaseServer, home: Path) -> None:
    (home / "sdk.tar.gz").write_bytes(archive("9.0.0"))
    digest = f"sha256:{hashlib.sha256(archive('9.0.0')).hexdigest()}"
    done = router(server, "sdk", "install", "9.0.0", "--from", str(home / "sdk.tar.gz"), "--digest", digest)
    assert done.returncode == 0, done.stderr
    assert "note         this router builds with 2.0.1, 2.1.0, 2.2.0, 2.3.0 only" in done.stdout
    assert "which this router does not build with" in router(server, "sdk", "list").stdout
    assert server.seen == []


def test_progress_without_a_terminal_is_a_line_now_and_then(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD
    done = router(server, "sdk", "install")
    assert "\r" not in done.stderr
    assert 2 <= len(done.stderr.splitlines()) <= 6 + 100_000 // 65536


def test_progress_on_a_terminal_is_one_line(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD
    with Terminal(command(server, "sdk", "install"), home) as terminal:
        terminal.expect(r"\r\x1b\[K +[0-9.]+ s  downloading: ")
        terminal.expect(r"\r\x1b\[K +[0-9.]+ s  unpacking: ")
        terminal.expect("is in ")
        assert terminal.ended() == 0
    assert b"MB\r\n" not in terminal.shown


def test_progress_off_a_terminal_is_said_every_five_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from router.cli import _common, _meter

    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    meter = _meter.Meter(_common.Progress())
    for second in range(1, 14):
        meter("downloading", f"{second} MB")
        now[0] += 1
    meter("unpacking", "1 MB")
    said = [line.partition(" s  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["downloading: 1 MB", "downloading: 6 MB", "downloading: 11 MB", "unpacking: 1 MB"]


QUESTION = r"Fetch Microkit 2\.3\.0 from 127\.0\.0\.1 into .*/microkit-sdk-2\.3\.0\? \[y/N\] "
SPLIT = "the demo is a split run, each guest in a QEMU of its own, without seL4"


def test_the_demo_fetches_an_sdk_for_a_person_who_says_yes(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD
    with Terminal(command(server, "demo"), home) as terminal:
        terminal.expect(QUESTION)
        assert server.seen == []
        terminal.send("y\r")
        terminal.expect("the demo builds: loader image True, SDK 2.3.0")
        assert terminal.ended() == 0
    assert read_sdk(home / ".local/share/microkit-sdk-2.3.0").version == "2.3.0"


@pytest.mark.parametrize("answer", ["\r", "n\r", "\x04"])
def test_the_demo_goes_on_without_for_a_person_who_does_not(server: ReleaseServer, home: Path, answer: str) -> None:
    with Terminal(command(server, "demo"), home) as terminal:
        terminal.expect(QUESTION)
        terminal.send(answer)
        terminal.expect(f"note: no Microkit SDK is installed: {SPLIT}")
        terminal.expect("the demo builds: loader image False, SDK None")
        assert terminal.ended() == 0
    assert server.seen == []


def test_the_demo_gives_a_silent_server_up_after_five_seconds(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body, server.behaviour.stall_after = GOOD, -1
    with Terminal(command(server, "demo"), home) as terminal:
        terminal.expect(QUESTION)
        start = time.monotonic()
        terminal.send("yes\r")
        terminal.expect(f"note: cannot download from 127.0.0.1: no byte came for 5 s: {SPLIT}")
        assert 4.9 < time.monotonic() - start < 20
        terminal.expect("the demo builds: loader image False, SDK None")
        assert terminal.ended() == 0
    assert files_below(home / ".local") == []


def test_the_demo_goes_on_when_what_it_fetched_is_wrong(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD[:-1] + b"x"
    with Terminal(command(server, "demo"), home) as terminal:
        terminal.expect(QUESTION)
        terminal.send("y\r")
        terminal.expect(f"note: the (digest is wrong|archive is damaged): .*: {SPLIT}")
        terminal.expect("the demo builds: loader image False, SDK None")
        assert terminal.ended() == 0


def test_without_a_terminal_the_demo_does_not_try(server: ReleaseServer, home: Path) -> None:
    done = router(server, "demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"note: no Microkit SDK is installed: {SPLIT}",
        "the demo builds: loader image False, SDK None",
    ]
    assert "Fetch" not in done.stderr
    assert server.seen == []


def test_the_demo_asks_nothing_where_an_sdk_is_installed(server: ReleaseServer, home: Path) -> None:
    server.behaviour.body = GOOD
    router(server, "sdk", "install")
    with Terminal(command(server, "demo"), home) as terminal:
        terminal.expect("the demo builds: loader image True, SDK 2.3.0")
        assert terminal.ended() == 0
    assert b"Fetch" not in terminal.shown


def test_init_starts_a_project_that_checks_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = says("init", "My Project")
    assert "next:\n  cd 'My Project'\n  router check system.yaml\n  router run system.yaml" in shown
    assert sorted(path.name for path in Path("My Project").iterdir()) == [".gitignore", "system.yaml", "test_system.py"]
    monkeypatch.chdir(tmp_path / "My Project")
    assert "2 guests, 2 USB rules" in says("check", "system.yaml")
    text = Path("system.yaml").read_text()
    assert "system: my-project " in text
    # What is commented out works as well, once it is wanted.
    for line in ("# microkit:", "  # - {device:", "  # - {path:"):
        assert line in text
        text = text.replace(line, line.replace("# ", ""))
    Path("system.yaml").write_text(text.replace("port: 1}", "port: 2}"))
    assert "4 USB rules" in says("check", "system.yaml")


def test_what_a_run_makes_is_ignored_by_git(tmp_path: Path, says: Callable[..., str]) -> None:
    says("init", str(tmp_path))
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=PATIENCE)
    (tmp_path / "build/x").mkdir(parents=True)
    (tmp_path / "build/x/plan.json").touch()
    (tmp_path / "report.xml").touch()
    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "-uall"]
    shown = subprocess.run(status, check=True, timeout=PATIENCE, capture_output=True, text=True).stdout
    assert shown.splitlines() == ["?? .gitignore", "?? system.yaml", "?? test_system.py"]


def test_init_never_overwrites_and_says_what_is_there(tmp_path: Path, says: Callable[..., str]) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    shown = says("init", str(tmp_path), code=2)
    assert f"error: {tmp_path}/.gitignore exists: nothing is written" in shown
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]
    (tmp_path / "system.yaml").symlink_to("nowhere")
    assert f"{tmp_path}/system.yaml, {tmp_path}/.gitignore exist" in says("init", str(tmp_path), code=2)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_init_where_no_folder_can_be_is_one_sentence(tmp_path: Path, says: Callable[..., str], place: str) -> None:
    (tmp_path / "file").touch()
    shown = says("init", str(tmp_path / place), code=3)
    assert "error: cannot write the project" in shown
    assert "Traceback" not in shown


def test_init_names_the_system_after_its_folder_as_near_as_can_be() -> None:
    from router.starter import system_name

    names = ["/x/usb", "/x/My Project!", "/x/42", "/x/-", "/x/éa", "/x/" + "a" * 50, "/"]
    assert [system_name(Path(name)) for name in names] == [
        "usb", "my-project", "my-system", "my-system", "a", "a" * 40, "my-system",
    ]  # fmt: skip
