# SPDX-License-Identifier: BSD-2-Clause
"""Describe a board, or list all of them. For a board: what its memory holds, and the nodes that a guest can own."""

from __future__ import annotations

import argparse
import json

from router.cli import _common

NAME = "board"
HELP = "list boards, or the devices of one that can be passed through"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="BOARD", nargs="?", help="a board's name; without one, all are listed")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    from router import boards

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
