# SPDX-License-Identifier: BSD-2-Clause
"""An SDK is installed whole or not at all, and only if its digest is right."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.errors import DescriptionError, HostError
from router.microkit.sdk import Sdk, broken_sdks, read_sdk
from router.sdk import releases
from router.sdk.digest import Digest, parse_digest
from router.sdk.download import Limits
from router.sdk.install import Places, Request, already_installed, install, request
from router.sdk.nar import nar_sha256
from router.sdk.unpack import unpack
from tests.sdk.release_server import ReleaseServer, archive, entry, sdk_files
from tests.support.patience import PATIENCE

GOOD = archive(padding=os.urandom(100_000))


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest(), of_archive=True)


def nar_of(folder: Path) -> Digest:
    """The NAR digest of GOOD, from the files that went into it."""
    folder.mkdir()
    unpack(io.BytesIO(GOOD), folder, "microkit-sdk-2.3.0")
    for name, (data, _) in sdk_files("2.3.0").items():
        assert (folder / "microkit-sdk-2.3.0" / name).read_bytes() == data
    return Digest(nar_sha256(folder / "microkit-sdk-2.3.0"), of_archive=False)


def from_server(server: ReleaseServer, digest: Digest, places: Places, version: str = "2.3.0") -> Sdk:
    return install(Request(version, server.url, digest), places, context=server.context)


def everything(places: Places) -> list[str]:
    """All files and folders that there are."""
    roots = [root for root in (places.share, places.cache) if root.exists()]
    return sorted(str(path) for root in roots for path in root.rglob("*"))


@pytest.mark.parametrize("nar", [False, True])
def test_an_sdk_is_installed_where_router_looks(
    server: ReleaseServer, places: Places, tmp_path: Path, nar: bool
) -> None:
    server.behaviour.body = GOOD
    steps: list[str] = []
    digest = nar_of(tmp_path / "other") if nar else sha256(GOOD)
    wanted = Request("2.3.0", server.url, digest)
    sdk = install(wanted, places, lambda step, _: steps.append(step), context=server.context)
    assert sdk == read_sdk(places.share / "microkit-sdk-2.3.0")
    assert sdk.boards == {"qemu_virt_aarch64": ("release",)}
    assert sorted(path.name for path in places.share.iterdir()) == ["microkit-sdk-2.3.0"]
    assert list(places.cache.iterdir()) == []
    assert list(dict.fromkeys(steps)) == ["downloading", "unpacking", *(["checking"] if nar else [])]


def test_an_archive_on_this_computer_is_installed_and_left_alone(places: Places, tmp_path: Path) -> None:
    file = tmp_path / "sdk.tar.gz"
    file.write_bytes(GOOD)
    install(Request("2.3.0", file, sha256(GOOD)), places)
    assert file.read_bytes() == GOOD
    assert everything(places)[0] == str(places.share / "microkit-sdk-2.3.0")


@pytest.mark.parametrize("of_archive", [False, True])
def test_a_wrong_digest_is_one_sentence_and_leaves_nothing(
    server: ReleaseServer, places: Places, tmp_path: Path, of_archive: bool
) -> None:
    server.behaviour.body = GOOD
    right = sha256(GOOD) if of_archive else nar_of(tmp_path / "other")
    wrong = Digest(bytes(32), of_archive)
    with pytest.raises(HostError) as caught:
        from_server(server, wrong, places)
    assert caught.value.message == f"the digest is wrong: {right}, expected {wrong}"
    assert caught.value.where == "127.0.0.1"
    assert everything(places) == []


def test_a_part_from_a_bad_try_does_not_spoil_the_next(server: ReleaseServer, places: Places) -> None:
    server.behaviour.body, server.behaviour.cuts, server.behaviour.etag = GOOD[::-1], [5000], None
    with pytest.raises(HostError, match="the connection broke"):
        wanted = Request("2.3.0", server.url, sha256(GOOD))
        install(wanted, places, context=server.context, limits=Limits(attempts=1))
    server.behaviour.body = GOOD
    with pytest.raises(HostError, match=r"the digest is wrong|damaged"):
        from_server(server, sha256(GOOD), places)
    assert everything(places) == []
    assert from_server(server, sha256(GOOD), places).version == "2.3.0"


def test_an_interrupted_download_goes_on_with_the_next_install(server: ReleaseServer, places: Places) -> None:
    server.behaviour.body, server.behaviour.cuts = GOOD, [5000]
    with pytest.raises(HostError, match="the connection broke"):
        wanted = Request("2.3.0", server.url, sha256(GOOD))
        install(wanted, places, context=server.context, limits=Limits(attempts=1))
    assert not list(places.share.iterdir())
    from_server(server, sha256(GOOD), places)
    assert server.seen[-1]["Range"] == "bytes=5000-"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"nonsense", "damaged"),
        (GOOD[:-20000], "damaged"),
        (archive("2.2.0"), "is outside of microkit-sdk-2.3.0/"),
        (archive(whole=False), "not a Microkit SDK: its file VERSION cannot be read"),
        (archive(craft=lambda tar: entry(tar, "../escape", b"x")), "leads out"),
    ],
)
def test_an_archive_that_is_no_such_sdk_is_refused_and_leaves_nothing(
    server: ReleaseServer, places: Places, data: bytes, said: str
) -> None:
    server.behaviour.body = data
    with pytest.raises(HostError, match=said):
        from_server(server, sha256(data), places)
    assert everything(places) == []


def test_an_archive_of_another_version_inside_is_refused(server: ReleaseServer, places: Places) -> None:
    def craft(tar: tarfile.TarFile) -> None:
        for name, (content, mode) in sdk_files("2.2.0").items():
            entry(tar, f"microkit-sdk-2.3.0/{name}", content, mode=mode)

    data = archive("2.3.0", craft, whole=False)
    server.behaviour.body = data
    with pytest.raises(HostError, match=r"the archive holds Microkit SDK 2\.2\.0, not 2\.3\.0"):
        from_server(server, sha256(data), places)
    assert everything(places) == []


def test_a_whole_sdk_that_is_there_is_left_alone(server: ReleaseServer, places: Places) -> None:
    server.behaviour.body = GOOD
    from_server(server, sha256(GOOD), places)
    (places.share / "microkit-sdk-2.3.0/mine").touch()
    again = from_server(server, Digest(bytes(32), of_archive=True), places)
    assert again.version == "2.3.0"
    assert (places.share / "microkit-sdk-2.3.0/mine").exists()
    assert len(server.seen) == 1


def test_a_broken_sdk_that_is_there_is_said_and_left_alone(server: ReleaseServer, places: Places) -> None:
    there = places.share / "microkit-sdk-2.3.0"
    (there / "bin").mkdir(parents=True)
    (there / "VERSION").write_text("2.3.0\n")
    with pytest.raises(HostError) as caught:
        from_server(server, sha256(GOOD), places)
    assert "is not a whole SDK" in caught.value.message
    assert caught.value.hint == f"remove it, then install again: rm -r {there}"
    assert server.seen == []
    assert (there / "VERSION").exists()


CHILD = """
import sys, time
from pathlib import Path
from router.sdk.digest import parse_digest
from router.sdk.install import Places, Request, install

file, digest, share, cache, step = sys.argv[1:]
def report(what, how_far):
    if what == step:
        print("there", flush=True)
        time.sleep(600)
install(Request("2.3.0", Path(file), parse_digest(digest)), Places(Path(share), Path(cache)), report)
"""


def started(tmp_path: Path, places: Places, step: str) -> subprocess.Popen[str]:
    """Another process that installs and stops in a step until it is killed."""
    file = tmp_path / "sdk.tar.gz"
    file.write_bytes(GOOD)
    digest = nar_of(tmp_path / f"other-{step}")
    words = [str(file), str(digest), str(places.share), str(places.cache), step]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *words], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    return child


@pytest.mark.parametrize("step", ["unpacking", "checking"])
def test_an_install_that_is_killed_leaves_nothing_that_passes_for_an_sdk(
    places: Places, tmp_path: Path, step: str
) -> None:
    share = places.share
    with started(tmp_path, places, step) as child:
        child.send_signal(signal.SIGKILL)
    assert not (share / "microkit-sdk-2.3.0").exists()
    assert (share / ".microkit-sdk-2.3.0.unpacking").exists()
    install(Request("2.3.0", tmp_path / "sdk.tar.gz", sha256(GOOD)), places)
    assert sorted(path.name for path in share.iterdir()) == ["microkit-sdk-2.3.0"]


def test_an_install_that_is_interrupted_by_ctrl_c_leaves_nothing(places: Places, tmp_path: Path) -> None:
    with started(tmp_path, places, "unpacking") as child:
        child.send_signal(signal.SIGINT)
        child.wait(PATIENCE)
    assert list(places.share.iterdir()) == []


def test_two_installs_do_not_meet(places: Places, tmp_path: Path) -> None:
    wanted = Request("2.3.0", tmp_path / "sdk.tar.gz", sha256(GOOD))
    with started(tmp_path, places, "unpacking") as child:
        before = everything(places)
        with pytest.raises(HostError) as caught:
            install(wanted, places)
        assert caught.value.message == f"another router sdk install is at work (process {child.pid})"
        assert everything(places) == before
        child.kill()
    assert install(wanted, places).version == "2.3.0"


def test_of_many_installs_at_once_one_installs_and_the_others_say_so(places: Places, tmp_path: Path) -> None:
    file = tmp_path / "sdk.tar.gz"
    file.write_bytes(GOOD)
    results: list[str] = []

    def one() -> None:
        try:
            results.append(install(Request("2.3.0", file, sha256(GOOD)), places).version)
        except HostError as error:
            results.append(error.message)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("2.3.0") >= 1
    assert all(each == "2.3.0" or "another router sdk install" in each for each in results)
    assert sorted(path.name for path in places.share.iterdir()) == ["microkit-sdk-2.3.0"]


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """Limits the size of files that this process may write, as a full disk would: pytest's own output as well, so it
    is for the call alone.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("source", ["server", "file"])
def test_a_disk_that_takes_no_more_is_one_sentence(
    server: ReleaseServer, places: Places, tmp_path: Path, source: str
) -> None:
    server.behaviour.body = GOOD
    file = tmp_path / "sdk.tar.gz"
    file.write_bytes(GOOD)
    wanted = Request("2.3.0", server.url if source == "server" else file, sha256(GOOD))
    with small_files(50_000), pytest.raises(HostError, match="the SDK cannot be installed: File too large"):
        install(wanted, places, context=server.context)
    assert not list(places.share.iterdir())


def test_a_place_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError) as caught:
        install(Request("2.3.0", tmp_path / "none", sha256(GOOD)), Places(tmp_path / "file/share", tmp_path))
    assert caught.value.message == "the SDK cannot be installed: Not a directory"
    assert caught.value.exit_code == 3


def test_an_archive_that_is_not_there_is_one_sentence(places: Places, tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        install(Request("2.3.0", tmp_path / "none", sha256(GOOD)), places)
    assert str(caught.value) == f"{tmp_path}/none: error: the SDK cannot be installed: No such file or directory"
    assert everything(places) == []


def test_a_file_that_never_ends_is_not_read_for_ever(places: Places) -> None:
    with pytest.raises(HostError, match="damaged"):
        install(Request("2.3.0", Path("/dev/zero"), sha256(GOOD)), places)


def test_what_was_interrupted_is_among_the_broken_ones_and_what_is_there_is_found(tmp_path: Path) -> None:
    share = tmp_path / ".local/share"
    (share / ".microkit-sdk-2.2.0.unpacking/microkit-sdk-2.2.0").mkdir(parents=True)
    (error,) = broken_sdks({"HOME": str(tmp_path)})
    assert error.message == "router sdk install was interrupted here, or is at work"
    wanted = Request("2.3.0", tmp_path / "sdk.tar.gz", sha256(GOOD))
    (tmp_path / "sdk.tar.gz").write_bytes(GOOD)
    assert already_installed(wanted, {"HOME": str(tmp_path)}) is None
    sdk = install(wanted, Places(share, tmp_path / "cache"))
    assert already_installed(wanted, {"HOME": str(tmp_path)}) == sdk
    assert broken_sdks({"HOME": str(tmp_path)}) == ()


def test_the_newest_known_version_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "this_platform", lambda: "linux-aarch64")
    wanted = request()
    assert wanted.version == max(releases.DIGESTS, key=lambda each: [int(part) for part in each.split(".")])
    assert wanted.source == (
        f"https://github.com/seL4/microkit/releases/download/{wanted.version}/"
        f"microkit-sdk-{wanted.version}-linux-aarch64.tar.gz"
    )
    assert wanted.digest == parse_digest(releases.DIGESTS[wanted.version]["linux-aarch64"])


def test_every_release_that_router_can_build_with_has_a_digest_for_every_platform() -> None:
    from router.description.sdk_versions import KNOWN

    assert set(releases.DIGESTS) == {each.version for each in KNOWN}
    digests = [parse_digest(text) for row in releases.DIGESTS.values() for text in row.values()]
    assert all(set(row) == set(releases.PLATFORMS.values()) for row in releases.DIGESTS.values())
    assert len(set(digests)) == len(digests)
    assert not any(digest.of_archive for digest in digests)


def test_a_version_that_the_table_does_not_know_needs_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "this_platform", lambda: "linux-x86-64")
    with pytest.raises(DescriptionError, match=r"does not know the digest of Microkit 9\.0\.0"):
        request("9.0.0")
    assert request("9.0.0", digest=str(sha256(GOOD))).digest == sha256(GOOD)


def test_a_computer_without_a_release_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "this_platform", lambda: None)
    with pytest.raises(HostError, match="Microkit publishes no SDK for"):
        request(digest=str(sha256(GOOD)))
    assert request("2.3.0", "sdk.tar.gz", str(sha256(GOOD))).source == Path("sdk.tar.gz")


@pytest.mark.parametrize(
    "version", ["", "2", "2.3", "../2.3.0", "2.3.0/..", "2.3.0-", "2.3.0-../x", "2.3.0\n", "２.3.0"]
)
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(DescriptionError):
        request(version, digest=str(sha256(GOOD)))


def test_digests_are_read_in_the_forms_that_are_published() -> None:
    value = hashlib.sha256(b"x").digest()
    text = base64.b64encode(value).decode()
    assert parse_digest(f"sha256:{value.hex()}") == parse_digest(f"sha256:{value.hex().upper()}")
    assert parse_digest(f"sha256:{value.hex()}") == Digest(value, of_archive=True)
    assert parse_digest(text) == parse_digest(f"sha256-{text}") == Digest(value, of_archive=False)
    for digest in (Digest(value, True), Digest(value, False)):
        assert parse_digest(str(digest)) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:00", "0" * 64, "sha512-AAAA", "sha256-AAAA", "md5:0", "é" * 44]
)
def test_what_is_no_digest_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_digest(text)
    assert "64 hexadecimal digits" in str(caught.value.hint)
