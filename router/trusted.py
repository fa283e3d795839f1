# SPDX-License-Identifier: BSD-2-Clause
"""What may run: products that this user's builds made, and files of a folder that the user agreed to.

A build folder or a description may come from anywhere, so nothing in it is run, booted or sent to a board because it is
there. The record is one empty file for each, named by a hash, in a folder that only the user can write to
($XDG_STATE_HOME/router/trusted). It holds hashes of contents, and contents are read each time: a file's size and times
can be made to fit, and 100 MiB take 0.06 s to hash. A record is kept as long as it is asked for now and then.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from router import files

MAX_RECORDS = 4096
"""Of each sort; the oldest are forgotten, and their products made anew."""


def remember(product: Path, inputs: str) -> None:
    """Record that we made this file, with this content, out of these inputs (any text that stands for them).

    HostError when the record cannot be written.
    """
    _record("products", _product(files.sha256_now(product), inputs))


def remember_content(content: bytes, inputs: str) -> None:
    """The same for what a file holds or will hold."""
    _record("products", _product(files.sha256_of(content), inputs))


def is_our_content(content: bytes, inputs: str) -> bool:
    """Whether this content was recorded with these inputs. It is what was read, whatever becomes of its file."""
    return _has("products", _product(files.sha256_of(content), inputs))


def is_ours(product: Path, inputs: str) -> bool:
    """Whether `remember` was called for this content and these inputs; another product of ours is not this one."""
    return product.is_file() and _has("products", _product(files.sha256_now(product), inputs))


def agree_to(file: Path, content: bytes) -> None:
    """Record that the user lets this file, with this content and in this place, name commands and devices."""
    _record("files", _place_and_content(file, content))


def is_agreed_to(file: Path, content: bytes) -> bool:
    """Whether `agree_to` was called for this place and content."""
    return _has("files", _place_and_content(file, content))


def _product(digest: str, inputs: str) -> str:
    return files.sha256_of(f"{digest} {inputs}".encode())


def _place_and_content(file: Path, content: bytes) -> str:
    # The place counts: a command such as ./power.sh means another file elsewhere.
    return files.sha256_of(str(file.resolve()).encode(errors="surrogateescape") + b"\0" + content)


def _folder(sort: str) -> Path:
    return files.private_folder(files.private_folder(files.state_folder() / "trusted") / sort)


def _has(sort: str, digest: str) -> bool:
    folder = files.state_folder() / "trusted" / sort
    if not folder.is_dir() or not (record := _folder(sort) / digest).is_file():
        return False
    with contextlib.suppress(OSError):  # the records may be on a file system that is read only
        os.utime(record)  # of the most used
    return True


def _record(sort: str, digest: str) -> None:
    folder = _folder(sort)
    files.open_private(folder / digest).close()
    ages: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # others record and forget at the same time
            ages.append((path.stat().st_mtime, path))
    for _, old in sorted(ages)[:-MAX_RECORDS]:
        old.unlink(missing_ok=True)
