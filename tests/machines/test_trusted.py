# SPDX-License-Identifier: BSD-2-Clause
"""Only what this user's builds made is run; a product that came with a folder is made anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from router import files, trusted
from router.cbuild import PRODUCT, Step, run_steps
from router.errors import HostError
from router.machines.qemu.spin_loops import build_plugin


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def make(product: Path) -> Path:
    """A builder that reuses what is there, as incremental builders do."""
    if not product.exists():
        product.write_text("ours")
    return product


def test_a_foreign_product_is_made_anew_and_ours_is_reused(tmp_path: Path) -> None:
    product = tmp_path / "program"
    step = Step("a program", product, ("sh", "-c", 'printf ours > "$0"', PRODUCT), "inputs")
    product.write_text("foreign")
    run_steps([step])
    assert product.read_text() == "ours"
    age = product.stat().st_mtime_ns
    run_steps([step])
    assert product.stat().st_mtime_ns == age
    product.write_text("changed by another program")
    assert not step.is_done()


def test_another_product_of_ours_is_not_taken_for_this_one(tmp_path: Path) -> None:
    product = make(tmp_path / "loader.img")
    trusted.remember(product, "of last year")
    assert trusted.is_ours(product, "of last year")
    assert not trusted.is_ours(product, "of today")


def test_a_file_of_the_same_size_and_age_is_read_again(tmp_path: Path) -> None:
    product = make(tmp_path / "kernel")
    trusted.remember(product, "inputs")
    age = product.stat()
    (tmp_path / "other").write_text("evil")
    os.utime(tmp_path / "other", ns=(age.st_atime_ns, age.st_mtime_ns))
    (tmp_path / "other").replace(product)
    assert (product.stat().st_size, product.stat().st_mtime_ns) == (age.st_size, age.st_mtime_ns)
    assert not trusted.is_ours(product, "inputs")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_plugin_that_lies_in_the_build_folder_already_is_not_loaded_as_it_is(tmp_path: Path) -> None:
    plugin = build_plugin(tmp_path, 1)
    good = plugin.read_bytes()
    plugin.write_bytes(b"foreign")
    assert build_plugin(tmp_path, 1).read_bytes()[:4] == good[:4] == b"\x7fELF"


def test_a_record_that_another_user_could_write_is_refused(state: Path, tmp_path: Path) -> None:
    product = make(tmp_path / "program")
    trusted.remember(product, "inputs")
    (state / "router/trusted/products").chmod(0o777)
    with pytest.raises(HostError, match="not ours alone"):
        trusted.is_ours(product, "inputs")


def test_old_records_are_forgotten(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted, "MAX_RECORDS", 3)
    for number in range(5):
        product = tmp_path / f"{number}"
        product.write_text(f"{number}")
        trusted.remember(product, "inputs")
    assert len(list((state / "router/trusted/products").iterdir())) == 3


def test_a_record_that_is_used_is_not_forgotten_for_newer_ones(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trusted, "MAX_RECORDS", 3)
    products = [tmp_path / f"{number}" for number in range(6)]
    for number, product in enumerate(products):
        product.write_text(f"{number}")
    for number, product in enumerate(products[:3]):
        trusted.remember(product, "inputs")
        (record,) = (each for each in (state / "router/trusted/products").iterdir() if each.stat().st_mtime > 1e9)
        os.utime(record, (number, number))
    assert trusted.is_ours(products[0], "inputs")
    trusted.remember(products[3], "inputs")
    assert [trusted.is_ours(product, "inputs") for product in products[:4]] == [True, False, True, True]


def test_a_product_is_read_each_time_it_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a change leaves no trace: a file system may keep times coarsely, and a mapped page is written late."""
    product = make(tmp_path / "kernel")
    files.sha256(product)
    trusted.remember(product, "inputs")
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("an earlier look was taken for one now"))
    assert trusted.is_ours(product, "inputs")


def test_a_private_folder_is_no_link_and_no_one_elses(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(HostError, match="another user could lead its files elsewhere"):
        files.private_folder(tmp_path / "link")
    made = files.private_folder(tmp_path / "a/b")
    assert made.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError):
        files.private_folder(tmp_path / "file")
    with pytest.raises(HostError, match="cannot use this folder: a file is in its place"):
        files.private_folder(tmp_path / "file/below")


def test_a_private_file_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        files.open_private(tmp_path / "log")
    assert (tmp_path / "victim").read_text() == "kept"


def test_logs_are_private_and_rotate_within_their_limit(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    with files.Log(path, limit=1000) as log:
        for number in range(100):
            log.write(b"%04d" % number * 10)
        log.write(b"x" * 5000)
    both = [path, tmp_path / "console.log.1"]
    assert all(one.stat().st_size <= 1000 and one.stat().st_mode & 0o777 == 0o600 for one in both)
    assert path.read_bytes() == b"x" * 1000
    assert both[1].read_bytes().endswith(b"0099")
    log.write(b"after the end")  # dropped
    assert sorted(one.name for one in tmp_path.glob("console*")) == ["console.log", "console.log.1"]


def test_a_device_in_the_place_of_a_log_is_written_to_and_stays_where_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with files.Log(pipe, limit=10) as log:
        for _ in range(5):
            log.write(b"12345678")
    assert os.read(reader, 100) == b"12345678" * 5
    os.close(reader)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
