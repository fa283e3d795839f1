# SPDX-License-Identifier: BSD-2-Clause
"""Tools of newer Debian suites for the tests, without upgrading the system: `tests/newer-tools cbmc` prints a path.

A tool that PATH has new enough is used as it is. Else its package and what that depends on come from the machine's own
package sources (same mirror and keyring, another suite) by a private apt, and are unpacked below the cache folder. A
wrapper script starts the program by the unpacked tree's own loader. It sets no LD_LIBRARY_PATH: cbmc starts the
system's gcc, which must not see these libraries.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from router import files
from router.errors import HostError, RouterError
from router.guests.apt import PrivateApt, deb_path
from router.guests.sources import ENVIRONMENT, Source, machine_sources

NO_PROGRESS_TIMEOUT_S = 90.0
"""An installation that writes nothing below the cache for that long is ended. apt itself gives a server 30 s."""
START_TIMEOUT_S = 120.0
"""For a tool to print its version."""
ORIGINS = ("Debian", "Debian Backports")
INSTALL = "--install"


@dataclass(frozen=True)
class Tool:
    """One program, the least version that will do, and where Debian has it.

    suites: the last one is preferred, its packages' dependencies come from all of them.
    supplied: dependencies that the machine has itself, and which are programs rather than libraries.
    arguments, environment: for every start; `{tree}` is the unpacked tree, `{lib}` its libraries' folder.
    """

    program: str
    minimum: tuple[int, ...]
    package: str
    suites: tuple[str, ...]
    supplied: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def wanted(self) -> str:
        """Name and version for messages."""
        return f"{self.program} {'.'.join(map(str, self.minimum))} or newer"


TOOLS = {
    tool.program: tool
    for tool in (
        Tool("cbmc", (6,), "cbmc", ("trixie",), supplied=("gcc",)),
        Tool(
            "qemu-system-aarch64",
            (11,),
            "qemu-system-arm",
            ("trixie", "trixie-backports"),
            # Compiled in are the system's folders: an older QEMU's firmware, and modules that crash this one.
            arguments=(
                "-L",
                "{tree}/usr/share/qemu",
                "-L",
                "{tree}/usr/share/seabios",
                "-L",
                "{tree}/usr/lib/ipxe/qemu",
            ),
            environment=(("QEMU_MODULE_DIR", "{lib}/qemu"),),
        ),
    )
}


def newer_tool(program: str) -> Path:
    """The program that PATH has if it is new enough, else the unpacked one, fetched when it is missing.

    Raises HostError when it cannot be had: no network, no such suite, an architecture that Debian has it not for. That
    is found out once a process, since a network without an answer takes a minute and a half.
    """
    found = _found(program)
    if isinstance(found, HostError):
        raise HostError(found.message, found.hint, found.where)
    return found


@cache
def _found(program: str) -> Path | HostError:
    tool = TOOLS[program]
    for path in (shutil.which(program), str(_wrapper(tool))):
        version = _version(path) if path else None
        if path and version is not None and version >= tool.minimum:
            return Path(path)
    try:
        _supervised(tool)
    except HostError as error:
        return error
    return _wrapper(tool)


def install(tool: Tool, sources: Sequence[Source]) -> Path:
    """Fetches and unpacks the tool from those of the sources that are a Debian release's; returns the wrapper.

    Call it with the lock held, so that one process at a time does this.
    """
    root = _folder(tool).parent
    architecture = _output("dpkg", "--print-architecture").strip()
    for left in root.glob(f".{tool.program}-*"):  # by a run that was ended; the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{tool.program}-", dir=root) as aside:
        release, places = tool.suites[-1], moved(sources, tool.suites)
        apt = PrivateApt(Path(aside) / "apt", places, _progress, architecture, release, ORIGINS)
        apt.refresh()
        try:
            (record,) = apt.show([tool.package])
        except HostError as error:
            raise HostError(f"the package sources have no {tool.package} in {' or '.join(tool.suites)}") from error
        if upstream_version(record["Version"]) < tool.minimum:
            raise HostError(f"the package sources offer {tool.package} {record['Version']}, {tool.wanted} is needed")
        depends = [name for name in dependencies(record.get("Depends", "")) if name not in tool.supplied]
        packages = apt.packages(list(dict.fromkeys([*apt.closure(depends), f"{tool.package}={record['Version']}"])))
        store, staged = Path(aside) / "debs", Path(aside) / "made"
        apt.download(packages, store)
        staged.mkdir()
        _progress(f"packages  unpacking {tool.package} {record['Version']}")
        for package in packages:
            _output("dpkg-deb", "--extract", str(deb_path(store, package)), str(staged / "tree"))
        wrapper = write_wrapper(tool, staged)
        version = _version(wrapper)
        if version is None or version < tool.minimum:
            raise HostError(f"{tool.package} {record['Version']} was unpacked and does not start")
        shutil.rmtree(_folder(tool), ignore_errors=True)
        staged.rename(_folder(tool))
    return _wrapper(tool)


def moved(sources: Sequence[Source], suites: Sequence[str]) -> list[Source]:
    """The release's own sources (not its updates and security ones) with each suite replaced by these."""
    releases = [source for source in sources if re.fullmatch(r"[a-z]+", source.suite) and "main" in source.components]
    named = [replace(source, suite=suite, components=("main",)) for source in releases for suite in suites]
    return list(dict.fromkeys(named))


def dependencies(field: str) -> list[str]:
    """Package names out of a Depends field (deb-control(5)); the first of alternatives."""
    return [match[0] for each in field.split(",") if (match := re.match(r"[a-z0-9][a-z0-9+.-]*", each.strip()))]


def upstream_version(version: str) -> tuple[int, ...]:
    """The numbers of a Debian version: 1:11.1.3+ds-1~bpo13+1 -> (11, 1, 3)."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return tuple(int(number) for number in match[1].split(".")) if match else ()


def write_wrapper(tool: Tool, folder: Path) -> Path:
    """`folder`/bin/PROGRAM, which starts `folder`/tree/usr/bin/PROGRAM wherever `folder` is moved to."""
    tree = folder / "tree"
    loaders = sorted(path for path in tree.glob("usr/lib/**/ld-linux*.so.*") if path.is_file())
    libraries = sorted(path.parent for path in tree.glob("usr/lib/*/libc.so.6"))
    if not loaders or not libraries or not (tree / "usr/bin" / tool.program).is_file():
        raise HostError(f"the packages of {tool.program} hold no program, or no C library, where Debian has them")
    places = {"tree": "$here/tree", "lib": f"$here/{libraries[0].relative_to(folder)}"}
    lines = [
        "#!/bin/sh",
        'here=$(cd "${0%/*}/.." && pwd -P) || exit',
        *(f'export {name}="{value.format(**places)}"' for name, value in tool.environment),
        f'exec "$here/{loaders[0].relative_to(folder)}" --library-path "{places["lib"]}:$here/tree/usr/lib" \\',
        f'    "$here/tree/usr/bin/{tool.program}" '
        + "".join(f'"{word.format(**places)}" ' for word in tool.arguments)
        + '"$@"',
    ]
    wrapper = folder / "bin" / tool.program
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text("\n".join(lines) + "\n")
    wrapper.chmod(0o755)
    return wrapper


def supervise(command: Sequence[str], folder: Path, timeout_s: float) -> None:
    """Runs a command that writes below `folder`, ended with all its children when nothing there changes for so long.

    Raises HostError with the command's last line of stdout when it fails.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        seen, since = _activity(folder), time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.5)
                now = _activity(folder)
                if now != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() - since > timeout_s:
                    raise HostError(f"no byte has come for {timeout_s:g} s from the package sources")
        except BaseException:  # Ctrl-C too: it does not reach the command, which has a session of its own
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.stdout is not None
        said = process.stdout.read().strip().splitlines()
    if process.returncode:
        raise HostError(said[-1] if said else f"the installation ended with exit code {process.returncode}")


def _supervised(tool: Tool) -> None:
    root = _folder(tool).parent
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"cannot make the folder: {error.strerror}", where=str(root)) from error
    supervise([sys.executable, str(Path(__file__).resolve()), INSTALL, tool.program], root, NO_PROGRESS_TIMEOUT_S)


def _activity(folder: Path) -> tuple[int, int]:
    """How many files are below the folder, and their bytes."""
    count = size = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(f"{base}/{name}").st_size
                count += 1
            except FileNotFoundError:
                continue
    return count, size


def _folder(tool: Tool) -> Path:
    """Where the tool is unpacked; another folder when what is said about it above changes."""
    key = hashlib.sha256(repr(tool).encode()).hexdigest()[:8]
    return files.cache_folder() / "newer-tools" / f"{tool.program}-{key}"


def _wrapper(tool: Tool) -> Path:
    return _folder(tool) / "bin" / tool.program


def _version(program: str | Path) -> tuple[int, ...] | None:
    """The first dotted number of `--version`; None when the program is missing or does not start."""
    try:
        run = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+(\.\d+)+", run.stdout)
    return tuple(int(number) for number in match[0].split(".")) if match and not run.returncode else None


def _output(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise HostError(f"this computer has no {command[0]}") from error
    if run.returncode:
        raise HostError(f"{shlex.join(command[:2])}: {(run.stderr.strip().splitlines() or ['failed'])[0]}")
    return run.stdout


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(words: Sequence[str]) -> int:
    """Exit codes: 0, 2 for a wrong command line, 3 when a tool cannot be had; its reason is on stderr."""
    if words[:1] == [INSTALL]:
        tool = TOOLS[words[1]]
        try:
            with _locked(_folder(tool).parent):
                if _version(_wrapper(tool)) is None:  # another run may have installed it while this one waited
                    install(tool, machine_sources())
        except RouterError as error:
            print(error.message)
            return error.exit_code
        except OSError as error:
            print(f"{error.filename or _folder(tool).parent}: {error.strerror}")
            return HostError.exit_code
        return 0
    if not words or any(word not in TOOLS for word in words):
        print(
            f"usage: tests/newer-tools {'|'.join(TOOLS)} ...  ({ENVIRONMENT}: other package sources)", file=sys.stderr
        )
        return 2
    code = 0
    for word in words:
        try:
            print(newer_tool(word))
        except HostError as error:
            print(f"{TOOLS[word].wanted} is not available: {error.message}", file=sys.stderr)
            code = error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
