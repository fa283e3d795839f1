# SPDX-License-Identifier: BSD-2-Clause
"""Each NAME.yaml beside this file has one mistake (`many-at-once` has several); NAME.txt is exactly what a user reads.

After a deliberate change of the words run `python tests/errors/test_error_catalogue.py` and read the difference.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from router.cli import main
from router.description.catalogue import Catalogue
from router.description.guest_image import BootSizes
from router.description.load import load
from router.errors import DescriptionError

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.yaml"))
CATALOGUE = Catalogue(
    ("maaxboard", "qemu"),
    {"usb-server": "server", "usb-client": "client"},
    {"usb-client": BootSizes(kernel=33, initramfs=6)},
)


def text_of(name: str) -> str:
    """What `router check NAME.yaml` in this folder writes on stderr; nothing of it may go to stdout."""
    told, printed = io.StringIO(), io.StringIO()
    with contextlib.chdir(HERE), contextlib.redirect_stderr(told), contextlib.redirect_stdout(printed):
        code = main(["check", f"{name}.yaml"])
    assert (code, printed.getvalue()) == (2, "")
    return told.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_gets_exactly_its_text_and_exit_code_2(name: str) -> None:
    assert text_of(name) == (HERE / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_the_authors_and_says_where_and_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(DescriptionError) as caught:
        load(Path(f"{name}.yaml"), CATALOGUE)
    assert caught.value.exit_code == 2
    assert f"{name}.yaml" in str(caught.value).splitlines()[0]
    for finding in getattr(caught.value, "diagnostics", [caught.value]):
        assert finding.hint, f"no advice for: {finding.message}"


def test_every_text_has_its_input_and_there_are_many() -> None:
    assert sorted(path.stem for path in HERE.glob("*.txt")) == NAMES
    assert len(NAMES) >= 50


def test_no_text_speaks_the_tools_language() -> None:
    words = ("pydantic", "validation", "traceback", "https://", "input_value", "literal_error", "NoneType", "yaml.")
    for name in NAMES:
        text = (HERE / f"{name}.txt").read_text(encoding="utf-8").replace(f"{name}.yaml", "").lower()
        assert not [word for word in words if word.lower() in text], name


if __name__ == "__main__":
    for stem in NAMES:
        (HERE / f"{stem}.txt").write_text(text_of(stem), encoding="utf-8")
