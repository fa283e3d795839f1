# SPDX-License-Identifier: BSD-2-Clause
"""What Python modules import, read from their sources: the files that a program needs where router is not installed.

Debian's Python for the guests runs it too (router/guests/_imports.py): the standard library alone.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def module_file(name: str, root: Path) -> Path | None:
    """The file of a module below `root`, a package's `__init__.py`; None when it is not there."""
    path = root.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((each for each in candidates if each.is_file()), None)


def closure(start: str, root: Path) -> dict[str, Path]:
    """The modules of its own package that `start` needs to run, with their files; imports inside functions count."""
    found: dict[str, Path] = {}
    queue = [start]
    while queue:
        name = queue.pop()
        file = module_file(name, root)
        if name in found or file is None or name.split(".")[0] != start.split(".")[0]:
            continue
        found[name] = file
        queue += [name.rpartition(".")[0]] if "." in name else []
        queue += imports(file.read_text(), name, file.name == "__init__.py", whole=True)
    return found


def imports(source: str, module: str, package: bool, whole: bool) -> list[str]:
    """Modules that `source` imports; with `whole` also inside functions. `if TYPE_CHECKING:` counts for nothing."""
    names = []
    queue: list[ast.AST] = [ast.parse(source)]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                # PEP 328: one dot is the package itself; a plain module first drops its own name.
                parts = module.split(".") if package else module.split(".")[:-1]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, *([base] if base else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not whole:
            continue
        elif isinstance(node, ast.If) and (
            "TYPE_CHECKING" in ast.unparse(node.test) or "__main__" in ast.unparse(node.test)
        ):
            queue += node.orelse
        else:
            queue += ast.iter_child_nodes(node)
    return names
