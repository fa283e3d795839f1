# SPDX-License-Identifier: BSD-2-Clause
"""The deploy.json of a build folder, and a job on its way to a lab host. Both may come from anywhere."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from router.deploy import script
from router.deploy.job import DeployOptions, Job, from_text, to_text
from router.deploy.plan import FILE_NAME, FORMAT, AwaitedMilestone, DeployPlan, Payload, parse_plan, read_plan
from router.errors import DescriptionError
from router.lab.board import Board, Network
from router.lab.records import to_json

_folder = tempfile.TemporaryDirectory()
_path = Path(_folder.name) / FILE_NAME
PAYLOAD = Payload(file="loader.img", address=0x40000000, size=1, crc32=0, sha256="0" * 64)
PLAN = DeployPlan(
    system="s",
    board="qemu",
    payloads=(PAYLOAD,),
    start="go 0x40000000",
    milestones=(AwaitedMilestone(name="up", pattern="^up", port="linux"),),
    failures=("panic",),
    identity="qemu-arm",
)
BOARD = Board(name="desk", kind="qemu", serial="/dev/null", network=Network(board="192.0.2.2/24", server="192.0.2.1"))


def plan(data: bytes) -> None:
    _path.write_bytes(data)
    try:
        read_plan(_path.parent)
    except DescriptionError as error:
        assert error.message and error.where
    try:
        found = parse_plan(json.loads(data), "deploy.json")
    except (ValueError, RecursionError, DescriptionError):
        return
    assert parse_plan(json.loads(json.dumps({"format": FORMAT} | to_json(found))), "") == found
    assert all(not item.file.startswith("/") and ".." not in item.file.split("/") for item in found.payloads)
    assert "\n" not in found.start


def job(data: bytes) -> None:
    try:
        found = from_text(data.decode("utf-8", "replace"))
    except DescriptionError as error:
        assert error.message
        return
    assert from_text(to_text(found)) == found


def one_input(data: bytes) -> None:
    (job if data[:1] == b"J" else plan)(data.removeprefix(b"J"))


def seeds() -> list[bytes]:
    raw = {"format": FORMAT} | to_json(PLAN)
    text = to_text(Job(plan=PLAN, board=BOARD, files={"loader.img": "a"}, options=DeployOptions(wait=1.0)))
    assert script.all_steps(from_text(text))
    return [
        json.dumps(raw).encode(),
        json.dumps(raw | {"payloads": [to_json(PAYLOAD) | {"file": "../a"}]}).encode(),
        json.dumps(raw | {"failures": ["("], "boot_seconds": 1}).encode(),
        json.dumps({"format": 2}).encode(),
        b"J" + text.encode(),
        b"J" + text.replace('"desk"', "[]").encode(),
    ]
