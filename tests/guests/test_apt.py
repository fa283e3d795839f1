# SPDX-License-Identifier: BSD-2-Clause
"""The private apt: what it refuses, against repositories that the test makes itself on disk."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.errors import HostError
from router.guests import apt
from router.guests.sources import ENVIRONMENT, Source
from router.guests.userland import relevant

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A signing key made for the test: (GnuPG home, public key file)."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    # A short path: the agent's socket lives below it, and socket paths are limited to 108 bytes.
    home = tmp_path_factory.mktemp("k")
    home.chmod(0o700)
    words = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run(
        [*words, "--passphrase", "", "--quick-generate-key", "test", "rsa2048"], check=True, capture_output=True
    )
    public = home / "public.gpg"
    public.write_bytes(subprocess.run([*words, "--export"], check=True, capture_output=True).stdout)
    yield home, public
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def repository(root: Path, origin: str, sign_with: Path | None) -> str:
    """A repository with one arm64 package and no pool, as a file: URI."""
    index = root / "dists/stable/main/binary-arm64"
    index.mkdir(parents=True)
    digest = "0" * 64
    packages = (
        "Package: busybox-static\nVersion: 99\nArchitecture: arm64\nMaintainer: x\nDescription: x\n"
        f"Filename: pool/b.deb\nSize: 1\nSHA256: {digest}\n\n"
    ).encode()
    (index / "Packages").write_bytes(packages)
    packed = gzip.compress(packages, mtime=0)
    (index / "Packages.gz").write_bytes(packed)
    sums = "".join(
        f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-arm64/{name}\n"
        for name, data in (("Packages", packages), ("Packages.gz", packed))
    )
    release = root / "dists/stable/Release"
    release.write_text(
        f"Origin: {origin}\nSuite: stable\nCodename: stable\nArchitectures: arm64\nComponents: main\n"
        f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{sums}"
    )
    if sign_with:
        command = ["gpg", "--homedir", str(sign_with), "--batch", "--quiet", "--clearsign", "-o"]
        subprocess.run([*command, str(release.with_name("InRelease")), str(release)], check=True, capture_output=True)
    return f"file:{root}"


def source(uri: str, public: Path) -> Source:
    return Source(uri, "stable", ("main",), (("Signed-By", str(public)),))


def test_a_signed_debian_repository_is_used(tmp_path: Path, key: tuple[Path, Path]) -> None:
    home, public = key
    uri = repository(tmp_path / "repo", "Debian", home)
    private = apt.PrivateApt(tmp_path / "apt", [source(uri, public)], lambda line: None)
    private.refresh()
    assert private.packages(["busybox-static"])[0].version == "99"
    assert private.offered(["busybox-static", "no-such-package"]) == {"busybox-static": {"99": "0" * 64}}


def test_another_vendors_repository_is_left_out_even_with_a_higher_version(
    tmp_path: Path, key: tuple[Path, Path]
) -> None:
    home, public = key
    debian = source(repository(tmp_path / "debian", "Debian", home), public)
    other = source(repository(tmp_path / "other", "Vendor", home), public)
    lines: list[str] = []
    private = apt.PrivateApt(tmp_path / "apt", [other, debian], lines.append)
    private.refresh()
    written = next((tmp_path / "apt").glob("*/sources.d/router.sources")).read_text()
    assert debian.uri in written
    assert other.uri not in written
    assert any(f"ignoring sources that are not Debian's or cannot be read: {other.uri}" in line for line in lines)


def test_without_any_debian_source_the_error_says_how_to_name_one(tmp_path: Path, key: tuple[Path, Path]) -> None:
    home, public = key
    other = source(repository(tmp_path / "other", "Ubuntu", home), public)
    with pytest.raises(HostError, match="none of the package sources is a reachable Debian one") as caught:
        apt.PrivateApt(tmp_path / "apt", [other], lambda line: None).refresh()
    assert ENVIRONMENT in str(caught.value.hint)
    assert "debian-archive-keyring" in str(caught.value.hint)


def test_an_unsigned_repository_is_refused(tmp_path: Path, key: tuple[Path, Path]) -> None:
    uri = repository(tmp_path / "repo", "Debian", None)
    with pytest.raises(HostError, match="none of the package sources is a reachable Debian one"):
        apt.PrivateApt(tmp_path / "apt", [source(uri, key[1])], lambda line: None).refresh()


def test_a_repository_changed_after_signing_is_refused(tmp_path: Path, key: tuple[Path, Path]) -> None:
    home, public = key
    uri = repository(tmp_path / "repo", "Debian", home)
    signed = tmp_path / "repo/dists/stable/InRelease"
    signed.write_text(signed.read_text().replace("Codename: stable", "Codename: forged"))
    with pytest.raises(HostError, match="none of the package sources is a reachable Debian one"):
        apt.PrivateApt(tmp_path / "apt", [source(uri, public)], lambda line: None).refresh()


def test_no_source_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no package source is configured"):
        apt.PrivateApt(tmp_path, [], lambda line: None).refresh()


def test_what_serves_only_maintainer_scripts_is_not_fetched() -> None:
    items = ["busybox-static=1", "dpkg=1", "tar=1", "libc6=2", "zlib1g=1", "python3.11-minimal=3", "gcc-12-base=1"]
    assert relevant(items, ["busybox-static"]) == ["busybox-static=1", "libc6=2", "zlib1g=1", "python3.11-minimal=3"]


@pytest.mark.parametrize(
    ("script", "ends"), [("sleep 60", False), ("for n in 1 2 3 4 5; do echo; sleep 0.6; done", True)]
)
def test_apt_without_progress_is_ended_and_said(
    script: str, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "PROGRESS_TIMEOUT_S", 1.5)
    command = ["sh", "-c", f"exec 2>/dev/null; {script}"]
    if ends:
        assert apt._watched("apt-get", command, tmp_path, None, os.environ).returncode == 0
        return
    with pytest.raises(HostError, match="apt-get made no progress for 2 s") as caught:
        apt._watched("apt-get", command, tmp_path, None, os.environ)
    assert "MB are free there" in str(caught.value)
