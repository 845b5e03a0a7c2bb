"""Imports go one way down the house, and heavy libraries stay inside the one file that needs them."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "arhn_hf"
# Each floor may import from its own and from lower ones.
FLOORS = [
    {"records", "text", "report_head", "resources", "pace", "runlog", "filesystems"},
    {"rules", "shards"},
    {
        "config",
        "config_file",
        "contradictions",
        "monitor",
        "criteria",
        "tokens",
        "prompts",
        "windows",
        "variants",
        "language",
    },
    {"formats", "methods", "engines", "reader"},
    {"source_errors", "jsonl_check", "sources", "store", "store_tables"},
    {"judges"},
    {"stages"},
    {"inputs"},
    {"publishing"},
    {"pipeline"},
    {"stored"},
    {"probing", "foreseeing", "parts"},
    {"deriving", "merging", "checks", "planning", "showing", "trying", "auditing"},
    {"pushing"},
    {"cli"},
]
PURE = {"methods": {"records", "rules", "text"}, "variants": {"records", "rules"}, "windows": {"records"}}
HEAVY = {
    "onnxruntime": {"reader/network.py"},
    "vllm": {"engines/vllm.py"},
    "openai": {"engines/server.py"},
    "jinja2": {"engines/chat.py"},
    "torch": {"engines/torch_libraries.py"},
    "ray": {"engines/ray.py"},
    "sentence_transformers": {"engines/torch_libraries.py"},
    "transformers": {"engines/torch_libraries.py"},
}


def imports(path: Path) -> set[str]:
    """Full names of the modules a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room(path: Path) -> str:
    """The top-level part a file belongs to."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def test_every_import_goes_down_the_house() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for path in PACKAGE.rglob("*.py"):
        here = room(path)
        if here == "__init__":
            continue
        assert here in floor, f"{here} has no floor: add it to FLOORS"
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "arhn_hf" and len(parts) > 1:
                assert floor[parts[1]] <= floor[here], f"{path.name} imports {module}, which is above it"


def test_pure_rooms_import_only_records_rules_and_text() -> None:
    for path in PACKAGE.rglob("*.py"):
        allowed = PURE.get(room(path))
        if allowed is None:
            continue
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "arhn_hf":
                assert parts[1] in allowed | {room(path)}, f"{path.name} imports {module}"


def test_heavy_libraries_are_imported_in_one_file_each() -> None:
    for path in PACKAGE.rglob("*.py"):
        for module in imports(path):
            where = HEAVY.get(module.split(".")[0])
            if where is not None:
                assert path.relative_to(PACKAGE).as_posix() in where, f"{path.name} imports {module}"
