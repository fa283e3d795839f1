# SPDX-License-Identifier: BSD-2-Clause
"""The C builder: what is unchanged is not made again, and what fails is one sentence and leaves nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from router import cbuild
from router.cbuild import PRODUCT, Step, contents, digest, headers, host_step, run_step, run_steps
from router.errors import HostError


def copying(folder: Path, text: str, name: str = "made") -> Step:
    """A step whose product has this text, and which counts its runs in `folder`/runs."""
    script = f"echo run >> {folder}/runs; printf %s '{text}' > $0"
    return Step(f"copying {name}", folder / "out" / name, ("sh", "-c", script, PRODUCT), digest([text]))


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_step_runs_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    for text, expected in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        run_steps([copying(tmp_path, text)])
        assert (tmp_path / "out/made").read_text() == text
        assert runs(tmp_path) == expected


def test_a_product_that_is_gone_is_made_again(tmp_path: Path) -> None:
    run_steps([copying(tmp_path, "a")])
    (tmp_path / "out/made").unlink()
    run_steps([copying(tmp_path, "a")])
    assert runs(tmp_path) == 2


def test_a_failure_keeps_the_old_product_and_says_the_first_error(tmp_path: Path) -> None:
    run_steps([copying(tmp_path, "a")])
    script = f"echo half > $0; echo '{tmp_path}/x.c: note: so' >&2; echo '{tmp_path}/x.c:3: error: no' >&2; exit 1"
    failing = Step("compiling x.c", tmp_path / "out/made", ("sh", "-c", script, PRODUCT), "other")
    with pytest.raises(HostError) as caught:
        run_steps([failing], tmp_path / "log", tmp_path)
    assert caught.value.message == "sh fails at compiling x.c: x.c:3: error: no"
    assert str(tmp_path / "log") in str(caught.value.hint)
    assert "x.c: note: so" in (tmp_path / "log").read_text()
    assert (tmp_path / "out/made").read_text() == "a"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["made"]
    assert copying(tmp_path, "a").is_done()


def test_the_first_of_several_failures_ends_the_build(tmp_path: Path) -> None:
    failing = Step("failing", tmp_path / "out/bad", ("sh", "-c", "exit 9", PRODUCT), "")
    with pytest.raises(HostError, match="sh fails at failing: exit code 9"):
        run_steps([failing, *(copying(tmp_path, "a", f"made{number}") for number in range(50))])
    assert runs(tmp_path) < 50


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbuild, "STEP_TIMEOUT_S", 0.5)
    with pytest.raises(HostError, match=r"sleep did not end within 0\.5 s at waiting"):
        run_step(Step("waiting", tmp_path / "made", ("sleep", "60"), ""))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(HostError, match=r"cannot make .*/out/made: "):
        run_steps([copying(tmp_path, "a")])


def test_a_header_and_the_flags_are_inputs(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    source, header = tmp_path / "main.c", tmp_path / "main.h"
    source.write_text('#include "main.h"\nint main(void) { return CODE; }\n')
    header.write_text("#define CODE 0\n")
    program = tmp_path / "out/program"
    first = host_step("it", program, ("-O1",), [source, header])
    run_steps([first])
    assert host_step("it", program, ("-O1",), [source, header]).is_done()
    assert not host_step("it", program, ("-O2",), [source, header]).is_done()
    header.write_text("#define CODE 1\n")
    assert not host_step("it", program, ("-O1",), [source, header]).is_done()
    assert headers([tmp_path]) == [header]
    assert contents([header]) == ["main.h", b"#define CODE 1\n"]


def test_parts_of_a_digest_do_not_run_together() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["ab"]) == digest([b"ab"])
