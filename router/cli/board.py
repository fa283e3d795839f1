# SPDX-License-Identifier: BSD-2-Clause
"""Describe a board, or list all of them. For a board: what its memory holds, and the nodes that a guest can own.

With --from, write a draft of a new board's file from its device tree, and say what is missing:

  router board newboard --from newboard.dtb
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from router.cli import _common

NAME = "board"
HELP = "list boards, or the devices of one that can be passed through"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="BOARD", nargs="?", help="a board's name; without one, all are listed")
    parser.add_argument(
        "--from",
        metavar="TREE.dtb",
        dest="tree",
        help="write the draft of a new board from its device tree, as NAME.py in the current folder",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="with --from: where the draft goes")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    from router import boards

    if args.tree is not None:
        return _draft(args)
    if args.name is None:
        found = [boards.board(name) for name in boards.names()]
        if args.json:
            print(json.dumps([{"name": each.name, "title": each.title} for each in found], indent=2))
        else:
            for each in found:
                print(f"{each.name:<12} {each.title}")
        return 0
    board = boards.board(args.name)
    from router import files
    from router.devicetree import passthrough_candidates
    from router.pipeline.inputs import base_device_tree

    progress = _common.Progress(quiet=args.json)
    try:
        tree = base_device_tree(board, None, files.cache_folder(), progress)
    finally:
        progress.done()
    nodes = passthrough_candidates(tree)
    if args.json:
        print(json.dumps({"name": board.name, "title": board.title, "nodes": nodes}, indent=2))
        return 0
    _common.say("board", f"{board.name}: {board.title}, Microkit's {board.microkit}, {board.cores} cores")
    _common.say("memory", f"{board.ram}; guests' RAM comes from {board.guest_ram}")
    for who, place in board.reserved:
        _common.say("", f"{place}  {who}")
    _common.say("passthrough", f"{len(nodes)} nodes that a guest can own:")
    for node in nodes:
        print(f"  {node.rsplit('/', 1)[-1]:<32} {node}")
    for note in board.notes:
        _common.say("note", note)
    return 0


def _draft(args: argparse.Namespace) -> int:
    """Write the draft of a new board; what is there already is not touched."""
    from router import boards, files
    from router.devicetree import Tree
    from router.devicetree.base import whole_tree
    from router.devicetree.draft import draft_board
    from router.errors import DescriptionError
    from router.microkit.placed import sdk_loader

    if args.name is None or re.fullmatch("[a-z][a-z0-9_]*", args.name) is None:
        raise DescriptionError(
            "the new board needs a name of small letters, digits and _", "router board NAME --from TREE.dtb", "board"
        )
    if args.name in (*boards.names(), *boards.SHARED):
        raise DescriptionError(f"there is a board '{args.name}' already", f"router board {args.name} describes it")
    path = Path(args.output or f"{args.name}.py")
    there = f"{path} exists: nothing is written"
    if path.is_symlink() or path.exists():
        raise DescriptionError(there, "name another file (-o), or move it away")
    source = Path(args.tree)
    tree = whole_tree(Tree.read(source), source)
    dtb = "/".join(source.absolute().parts[-2:])
    draft = draft_board(args.name, tree, dtb, sdk_loader(args.name))
    if not files.write_new(path, draft.text):
        raise DescriptionError(there, "name another file (-o), or move it away")
    if args.json:
        print(json.dumps({"file": str(path), "missing": draft.missing, "check": draft.assumed}, indent=2))
        return 0
    _common.say("draft", str(path))
    for title, lines in (("usb", draft.found), ("missing", draft.missing), ("to check", draft.assumed)):
        for line in lines:
            _common.say(title, line)
            title = ""
    _common.say("then", f"complete it, move it to router/boards/{args.name}.py and run: pytest tests/boards")
    return 0
