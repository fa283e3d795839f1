# SPDX-License-Identifier: BSD-2-Clause
"""`router board NEW --from TREE.dtb`: what a tree says of a board is what the board's own file says; the rest is asked
for.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from router import boards
from router.boards.model import Board, Range
from router.cli import main
from router.devicetree import Tree
from router.devicetree.draft import HOLE, IMAGE, Draft, draft_board
from router.errors import DescriptionError
from tests.boards.test_boards import board_tree, every_board

LOADER = 0x4800_0000


def made(draft: Draft) -> Any:
    """The BOARD that the file of a draft defines."""
    names: dict[str, Any] = {}
    exec(compile(draft.text, "draft.py", "exec"), names)
    return names["BOARD"]


def missing(board: Board) -> set[str]:
    return {name for name in vars(board) if getattr(board, name) is ...}


@pytest.mark.packages
@every_board
def test_the_draft_from_a_boards_tree_says_what_the_boards_file_says(name: str) -> None:
    board = boards.board(name)
    tree = board_tree(board)
    draft = draft_board("newboard", tree, "vendor/new.dtb", board.loader)
    new = made(draft)
    assert missing(new) <= {"uart", "timer", "max_irq"}
    assert {line.partition(":")[0] for line in draft.missing} >= missing(new)
    assert (new.name, new.loader, new.smmu) == ("newboard", board.loader, False)
    assert new.cores == (1 if name == "qemu" else board.cores)  # QEMU's tree has as many as -smp says
    assert (new.gic.version, new.gic.distributor) == (board.gic.version, board.gic.distributor)
    assert new.gic.redistributor == board.gic.redistributor
    assert (new.gic.cpu_interface is None) == (board.gic.cpu_interface is None)
    assert board.ram.start == max(board.ram.start, new.ram.start) and new.ram.end >= board.ram.end
    if new.uart is not ...:
        assert (new.uart.kind, new.uart.irq, new.uart.registers) == (
            *(board.uart.kind, board.uart.irq, board.uart.registers),
        )
    assert not new.early_console.overlaps(new.ram)
    assert not [region for region in tree.walk() if f"@{new.virtio.base:x}" in region.name]


@pytest.mark.packages
def test_each_usb_controller_is_shown_with_what_it_brings() -> None:
    draft = draft_board("newboard", board_tree(boards.board("imx8mp_evk")), "new.dtb", None)
    assert [line for line in draft.found if line.startswith("usb@38200000 → usb-phy@382f0040 (phys)")]
    assert [
        line for line in draft.found if line.startswith("usb@32f10100 ") and line.endswith("(disabled in the tree)")
    ]


def test_a_tree_that_says_nothing_leaves_everything_to_be_filled_in() -> None:
    draft = draft_board("newboard", Tree(), "new.dtb", None)
    assert missing(made(draft)) == {
        *("microkit", "cores", "ram", "reserved", "guest_ram", "loader", "start", "gic", "uart", "timer", "max_irq"),
    }
    assert all(": " in line for line in (*draft.missing, *draft.assumed))


def test_what_a_tree_says_never_becomes_code() -> None:
    tree = Tree()
    evil = '"""\nimport os\nraise SystemExit("ran")\n#\\"'
    tree.root.set_strings("model", evil)
    chosen = tree.root.add_child("chosen")
    chosen.set_strings("stdout-path", "/serial@0")
    tree.root.add_child("serial@0").set_strings("compatible", "a\nraise SystemExit('ran')\n#")
    board = made(draft_board("newboard", tree, f"x/{evil}", None))
    assert board.title == evil
    assert board.tree.dtb == f"x/{evil}"


@pytest.mark.parametrize("odd", ["\u202eevil", "鍵盤", "\U0001f600", "\x7f\x1b[2J", "\\'\"", "\n"])
def test_a_draft_is_ascii_and_says_what_the_tree_says(odd: str) -> None:
    tree = Tree()
    tree.root.set_strings("model", odd)
    draft = draft_board("newboard", tree, f"x/{odd}", None)
    assert draft.text.isascii() and draft.text.replace("\n", "").isprintable()
    assert (made(draft).title, made(draft).tree.dtb) == (odd, f"x/{odd}")


def memory(tree: Tree, start: int, size: int) -> None:
    """A bank of RAM; addresses and sizes of 64 bits."""
    for name in ("#address-cells", "#size-cells"):
        tree.root.set_cells(name, 2)
    node = tree.root.add_child(f"memory@{start:x}")
    node.set_strings("device_type", "memory")
    node.set_cells("reg", start >> 32, start & 0xFFFF_FFFF, size >> 32, size & 0xFFFF_FFFF)


@pytest.mark.parametrize("loader", [0x1000_0000, 0xC000_0000, 0x8000_0000 - IMAGE])
def test_guests_get_ram_only_behind_a_loader_that_is_in_it(loader: int) -> None:
    tree = Tree()
    memory(tree, 0x4000_0000, 0x4000_0000)
    assert made(draft_board("newboard", tree, "new.dtb", loader)).guest_ram is ...
    inside = made(draft_board("newboard", tree, "new.dtb", LOADER)).guest_ram
    assert (inside.start, inside.end) == (LOADER + IMAGE, 0x8000_0000)


def test_what_is_emulated_gets_the_lowest_place_that_no_node_has() -> None:
    tree = Tree()
    memory(tree, 3 * HOLE, 0x4000_0000)
    assert made(draft_board("newboard", tree, "new.dtb", None)).virtio.base == HOLE
    device = tree.root.add_child("device@0")
    device.set_cells("reg", 0, 2 * HOLE - 1, 0, 2)
    assert made(draft_board("newboard", tree, "new.dtb", None)).virtio.base == 3 * HOLE + 0x4000_0000
    device.set_cells("reg", 0, 0, 1, 0)
    assert made(draft_board("newboard", tree, "new.dtb", None)).virtio is ...


def test_the_search_for_a_place_looks_at_each_range_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree()
    memory(tree, 0x8000_0000, 0x4000_0000)
    count = 500
    for number in range(1, count + 1):
        tree.root.add_child(f"device@{number * HOLE:x}").set_cells("reg", 0, number * HOLE, 0, 0x1000)
    looks: list[Range] = []

    def end(self: Range) -> int:
        looks.append(self)
        return self.start + self.size

    monkeypatch.setattr(Range, "end", property(end))
    assert made(draft_board("newboard", tree, "new.dtb", None)).virtio.base == (count + 1) * HOLE
    assert len(looks) < 10 * count


def test_a_tree_in_a_folder_whose_name_is_not_utf_8_gives_a_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"boards-\xff")
    folder.mkdir()
    Tree().write(folder / "tree.dtb")
    monkeypatch.chdir(tmp_path)
    assert main(["board", "newboard", "--from", str(folder / "tree.dtb")]) == 0
    assert 'KernelTree(dtb="boards-\\xff/tree.dtb")' in (tmp_path / "newboard.py").read_text()


def test_a_draft_is_written_once_and_never_over_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Tree().write(tmp_path / "tree.dtb")
    assert main(["board", "newboard", "--from", "tree.dtb"]) == 0
    said = capsys.readouterr().out
    assert "newboard.py" in said and "missing" in said and "max_irq: MAX_IRQ in seL4's config.cmake" in said
    text = (tmp_path / "newboard.py").read_text()
    assert main(["board", "newboard", "--from", "tree.dtb"]) == 2
    assert "newboard.py exists: nothing is written" in capsys.readouterr().err
    assert (tmp_path / "newboard.py").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newboard.py", "tree.dtb"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qemu", "there is a board 'qemu' already"),
        ("model", "there is a board 'model' already"),
        ("My-Board", "needs a name"),
    ],
)
def test_a_name_that_cannot_be_a_new_boards_is_refused(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Tree().write(tmp_path / "tree.dtb")
    assert main(["board", name, "--from", str(tmp_path / "tree.dtb"), "-o", str(tmp_path / "x.py")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.py").exists()


def test_a_draft_is_not_taken_for_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newboard.py").write_text(draft_board("newboard", Tree(), "new.dtb", None).text)
    monkeypatch.setattr(boards, "__path__", [*boards.__path__, str(tmp_path)])
    boards.names.cache_clear()
    try:
        with pytest.raises(DescriptionError, match=r"the board 'newboard' is a draft: microkit, cores, ram"):
            boards.board("newboard")
    finally:
        sys.modules.pop("router.boards.newboard", None)
        boards.names.cache_clear()
        importlib.invalidate_caches()
