# SPDX-License-Identifier: BSD-2-Clause
"""The check before cryptsetup under a real busybox shell, with a memory of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from router.description.guest_image import SHIPPED
from router.guests.userland import CHECKED
from tests.support.patience import PATIENCE

SCRIPT = SHIPPED / "client" / CHECKED / "cryptsetup"
DUMP = """\
LUKS header information
Keyslots:
  0: luks2
	PBKDF:      argon2id
	Memory:     {first}
	Threads:    4
  1: luks2
	PBKDF:      argon2id
	Memory:     {second}
Tokens:
Digests:
  0: pbkdf2
"""
PROGRAM = """\
#!/bin/sh
[ "$1" != luksDump ] || {{ [ "$2" = {stick} ] && cat {dump}; exit; }}
echo started "$@"
"""
MIB = 1024

pytestmark = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")


def check(folder: Path, *words: str, first: int = 0, second: int = 0) -> tuple[int, str]:
    """Exit code and output of `cryptsetup WORDS` in a guest with 400 of 480 MiB free. first, second: kB of slots."""
    stick, dump, program = folder / "stick", folder / "dump", folder / "cryptsetup"
    stick.touch()
    dump.write_text(DUMP.format(first=first, second=second))
    program.write_text(PROGRAM.format(stick=stick, dump=dump))
    program.chmod(0o755)
    (folder / "meminfo").write_text(f"MemTotal: {480 * MIB} kB\nMemAvailable: {400 * MIB} kB\n")
    script = folder / "check"
    script.write_text(SCRIPT.read_text().replace("/proc/meminfo", str(folder / "meminfo")))
    command = ["busybox", "sh", str(script), str(program), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_slot_that_fits_is_opened_with_the_words_as_they_are(tmp_path: Path) -> None:
    words = ("open", f"{tmp_path}/stick", "a name")
    assert check(tmp_path, *words, first=256 * MIB) == (0, f"started {' '.join(words)}\n")


def test_a_slot_that_does_not_fit_is_refused_with_the_memory_that_it_needs(tmp_path: Path) -> None:
    code, said = check(tmp_path, "luksOpen", f"{tmp_path}/stick", "name", first=1024 * MIB)
    assert code == 3
    assert "needs 1024 MiB of memory" in said
    assert "400 MiB are free" in said
    assert "write memory: 1216 MiB" in said, "1024, 16 of its own, 80 in use and 64 of the kernel's, in steps of 64"
    assert "started" not in said


def test_a_slot_that_would_take_the_last_of_the_memory_is_refused(tmp_path: Path) -> None:
    assert check(tmp_path, "open", f"{tmp_path}/stick", "name", first=390 * MIB)[0] == 3


@pytest.mark.parametrize("words", [("-S", "1"), ("--key-slot", "1"), ("--key-slot=1",), ("-S1",)], ids=" ".join)
def test_the_slot_that_is_named_counts_and_else_the_largest(tmp_path: Path, words: tuple[str, ...]) -> None:
    opening = ("open", f"{tmp_path}/stick", "name")
    assert check(tmp_path, *opening, first=1024 * MIB, second=MIB)[0] == 3
    assert check(tmp_path, *opening, first=MIB, second=1024 * MIB)[0] == 3
    assert check(tmp_path, *words, *opening, first=1024 * MIB, second=MIB)[0] == 0


def test_a_header_elsewhere_is_the_one_that_counts(tmp_path: Path) -> None:
    assert check(tmp_path, f"--header={tmp_path}/stick", "open", "/dev/null", "name", first=1024 * MIB)[0] == 3


def test_what_opens_no_slot_is_not_looked_at(tmp_path: Path) -> None:
    assert check(tmp_path, "luksFormat", f"{tmp_path}/stick", first=1024 * MIB)[0] == 0
