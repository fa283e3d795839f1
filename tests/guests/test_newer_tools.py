# SPDX-License-Identifier: BSD-2-Clause
"""tests/newer-tools against a Debian repository that the test makes: a program with a C library of its own."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from router.errors import HostError
from router.guests.sources import ENVIRONMENT, Source
from tests.support import newer
from tests.support.newer import TOOLS, Tool, dependencies, moved, supervise, upstream_version

SCRIPT = Path(newer.__file__).parents[1] / "newer-tools"
TOOL = Tool("probe", (6,), "probe", ("trixie", "trixie-backports"), supplied=("gcc",), arguments=("--data={tree}/usr",))
PROBE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[2], "--version") == 0) {
        puts("probe 6.1.0");
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        puts(argv[i]);
    }
    printf("LD_LIBRARY_PATH=%s\n", getenv("LD_LIBRARY_PATH") ? getenv("LD_LIBRARY_PATH") : "unset");
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "/libc.so.6") != NULL) {
            fputs(strchr(line, '/'), stdout);
            fflush(stdout);
            return system("echo child LD_LIBRARY_PATH=${LD_LIBRARY_PATH-unset}");
        }
    }
    return 1;
}
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A signing key made for the test: (GnuPG home, public key file)."""
    for tool in ("gpg", "apt-get", "dpkg-deb", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    home = tmp_path_factory.mktemp("k")  # a short path: the agent's socket lies below it
    home.chmod(0o700)
    words = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    generate = [*words, "--passphrase", "", "--quick-generate-key", "test", "rsa2048"]
    subprocess.run(generate, check=True, capture_output=True)
    public = home / "public.gpg"
    public.write_bytes(subprocess.run([*words, "--export"], check=True, capture_output=True).stdout)
    yield home, public
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def deb(pool: Path, tree: Path, fields: str) -> str:
    """A .deb of the tree in the pool; its stanza for a Packages file."""
    name = fields.split()[1]
    control = tree / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(f"{fields}\nMaintainer: x\nDescription: x\n")
    made = pool / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True, capture_output=True)
    data = made.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f"{control.read_text()}Filename: pool/{made.name}\nSize: {len(data)}\nSHA256: {digest}\n\n"


def libraries(tree: Path) -> None:
    """This computer's C library and loader, where a Debian package has them."""
    shown = subprocess.run(
        ["ldd", shutil.which("cat") or "/bin/cat"], capture_output=True, text=True, check=True
    ).stdout
    paths = [Path(word) for word in shown.split() if word.startswith("/") and ("libc.so" in word or "ld-linux" in word)]
    folder = tree / "usr/lib" / (paths[0].parent.name if paths[0].parent.name != "lib" else "multiarch")
    folder.mkdir(parents=True)
    for path in paths:
        shutil.copy(path.resolve(), folder / path.name)


def repository(root: Path, home: Path, suites: dict[str, str], version: str = "1:6.1.0+ds-1~bpo13+1") -> Source:
    """A signed repository: `libc6` in all suites, `probe` in the last one; suite -> its Origin."""
    (root / "pool").mkdir(parents=True)
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    name = architecture.stdout.strip()
    libraries(root / "libc6")
    program = root / "probe/usr/bin/probe"
    program.parent.mkdir(parents=True)
    (root / "probe.c").write_text(PROBE)
    subprocess.run(["cc", "-O1", str(root / "probe.c"), "-o", str(program)], check=True)
    libc = deb(root / "pool", root / "libc6", f"Package: libc6\nVersion: 2.99\nArchitecture: {name}")
    depends = "Depends: libc6 (>= 2.38) | libc6.1, gcc"
    probe = deb(root / "pool", root / "probe", f"Package: probe\nVersion: {version}\nArchitecture: {name}\n{depends}")
    for suite, origin in suites.items():
        index = root / f"dists/{suite}/main/binary-{name}"
        index.mkdir(parents=True)
        text = (libc + (probe if suite == list(suites)[-1] else "")).encode()
        packed = gzip.compress(text, mtime=0)
        (index / "Packages.gz").write_bytes(packed)
        sums = "".join(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-{name}/{file}\n"
            for file, data in (("Packages", text), ("Packages.gz", packed))
        )
        automatic = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n" if "backports" in suite else ""
        release = root / f"dists/{suite}/Release"
        release.write_text(
            f"Origin: {origin}\nSuite: {suite}\nCodename: {suite}\nArchitectures: {name}\nComponents: main\n{automatic}"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{sums}"
        )
        sign = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--clearsign", "-o"]
        subprocess.run([*sign, str(release.with_name("InRelease")), str(release)], check=True, capture_output=True)
    return Source(f"copy:{root}", "bookworm", ("main", "contrib"), (("Signed-By", str(home / "public.gpg")),))


BOTH = {"trixie": "Debian", "trixie-backports": "Debian Backports"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, with a space in its name."""
    folder = tmp_path / "a cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    (folder / "router/newer-tools").mkdir(parents=True)
    return folder / "router/newer-tools"


def test_a_tool_is_unpacked_and_runs_with_its_own_c_library(
    tmp_path: Path, cache: Path, key: tuple[Path, Path]
) -> None:
    source = repository(tmp_path / "repo", key[0], BOTH)
    (cache / ".probe-left-behind").mkdir()
    wrapper = newer.install(TOOL, [source])
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    run = subprocess.run([wrapper, "a b"], capture_output=True, text=True, check=True, env=environment)
    tree = wrapper.parent.parent / "tree"
    data, word, own, libc, child = run.stdout.splitlines()
    assert (data, word) == (f"--data={tree}/usr", "a b")
    assert libc.startswith(f"{tree}/usr/lib/")
    assert own == "LD_LIBRARY_PATH=unset"
    assert child == "child LD_LIBRARY_PATH=unset"
    assert [path.name for path in cache.iterdir()] == [wrapper.parent.parent.name], "nothing else is left"


def test_a_tool_that_is_there_is_not_fetched_again(
    tmp_path: Path, cache: Path, key: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = newer.install(TOOL, [repository(tmp_path / "repo", key[0], BOTH)])
    monkeypatch.setitem(TOOLS, "probe", TOOL)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "no-such-file"))
    assert newer.newer_tool("probe") == wrapper


def test_a_tool_that_cannot_be_had_is_asked_for_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def none(tool: Tool) -> None:
        asked.append(tool.program)
        raise HostError("no network")

    monkeypatch.setitem(TOOLS, "another-probe", replace(TOOL, program="another-probe"))
    monkeypatch.setattr(newer, "_supervised", none)
    for _ in range(2):
        with pytest.raises(HostError, match="no network"):
            newer.newer_tool("another-probe")
    assert asked == ["another-probe"]


@pytest.mark.parametrize(
    ("suites", "version", "message"),
    [
        (BOTH, "1:5.9-1", "the package sources offer probe 1:5.9-1, probe 6 or newer is needed"),
        ({"trixie": "Debian", "other": "Debian"}, "6.1", "the package sources have no probe in trixie or trixie-back"),
        ({"other": "Debian"}, "6.1", "none of the package sources is a reachable Debian one"),
    ],
)
def test_what_cannot_be_had_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, cache: Path, key: tuple[Path, Path], suites: dict[str, str], version: str, message: str
) -> None:
    source = repository(tmp_path / "repo", key[0], suites, version)
    with pytest.raises(HostError) as caught:
        newer.install(TOOL, [source])
    assert caught.value.message.startswith(message)
    assert list(cache.iterdir()) == []


def test_a_program_that_does_not_start_is_not_kept(tmp_path: Path, cache: Path, key: tuple[Path, Path]) -> None:
    with pytest.raises(HostError, match="was unpacked and does not start"):
        newer.install(replace(TOOL, arguments=("--one", "--two")), [repository(tmp_path / "repo", key[0], BOTH)])
    assert list(cache.iterdir()) == []


def test_without_a_network_the_command_fails_with_the_reason(tmp_path: Path) -> None:
    sources = tmp_path / "some.sources"
    sources.write_text(f"Types: deb\nURIs: file:{tmp_path / 'none'}\nSuites: bookworm\nComponents: main\n")
    environment = os.environ | {ENVIRONMENT: str(sources), "XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [SCRIPT, "qemu-system-aarch64"], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert run.returncode == 3
    assert run.stdout == ""
    last = run.stderr.splitlines()[-1]
    assert last.startswith("qemu-system-aarch64 11 or newer is not available: none of the package sources is a reach")


def test_an_unknown_tool_is_a_wrong_command_line() -> None:
    run = subprocess.run([SCRIPT, "cbmd"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("usage: tests/newer-tools cbmc|qemu-system-aarch64")


def test_an_installation_without_progress_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"]
    with pytest.raises(HostError, match=r"no byte has come for 1 s"):
        supervise(command, tmp_path, 1.0)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid.read_text().strip()}/exe").exists():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.1)


def test_an_installation_with_progress_may_take_longer(tmp_path: Path) -> None:
    script = f"for i in 1 2 3 4 5 6 7 8; do echo x >> {tmp_path}/file; sleep 0.5; done"
    supervise(["sh", "-c", script], tmp_path, 3.0)
    with pytest.raises(HostError, match="the reason"):
        supervise([sys.executable, "-c", "print('first'); print('the reason'); raise SystemExit(3)"], tmp_path, 60.0)


def test_suites_are_replaced_in_the_releases_own_sources_only() -> None:
    signed = (("Signed-By", "/k.gpg"),)
    machine = [
        Source("http://mirror/debian", "bookworm", ("main", "contrib"), signed),
        Source("http://mirror/debian", "bookworm-updates", ("main",), signed),
        Source("http://mirror/security", "bookworm-security", ("main",), signed),
        Source("http://vendor", "stable", ("vendor",)),
    ]
    assert moved(machine, ("trixie", "trixie-backports")) == [
        Source("http://mirror/debian", "trixie", ("main",), signed),
        Source("http://mirror/debian", "trixie-backports", ("main",), signed),
    ]


def test_depends_and_versions_are_read() -> None:
    assert dependencies("gcc, libc6 (>= 2.38), libstdc++6 (>= 14) | x, python3:any") == [
        *("gcc", "libc6", "libstdc++6", "python3"),
    ]
    assert dependencies("") == []
    assert upstream_version("1:11.1.3+ds-1~bpo13+1") == (11, 1, 3)
    assert upstream_version("6.6.0-4") == (6, 6, 0)
    assert upstream_version("1:5.9-1") < (6,) <= upstream_version("6-1")
