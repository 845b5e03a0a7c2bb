"""A `--config` file: YAML with the names of options, read strictly, so that a typing error is no silent default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from arhn_hf.config import option_fields, suggestion
from arhn_hf.records import UsageError
from arhn_hf.rules import option_name


def read_yaml(path: str) -> dict[str, Any]:
    """Options of a `--config` file (dashes and underscores are the same).

    Raises `UsageError` for an unreadable file, broken YAML, or a key that is no option (suggesting the near one).
    """
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error.__class__.__name__})", where=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"not valid YAML ({getattr(error, 'problem', error)})", where=f"{path}{line}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UsageError("must hold options as `key: value` lines", where=path)
    known = option_fields()
    values: dict[str, Any] = {}
    for key, value in loaded.items():
        name = str(key).replace("-", "_")
        if name != "source" and name not in known:
            raise UsageError(f"unknown key {key!r}{suggestion(str(key), known)}", where=path)
        meta: Any = known[name].metadata if name != "source" else {"kind": str, "multiple": False}
        if name == "variants" and isinstance(value, list):
            value = ",".join(str(one) for one in value)
        if not meta["multiple"] and not _fits(value, meta["kind"]):
            raise UsageError(f"{value!r} is not {_KINDS[meta['kind']]}", where=f"{path}, {key}")
        if isinstance(value, Mapping) and name != "criterion":
            raise UsageError(f"{value!r} is not a list", where=f"{path}, {option_name(name)}")
        values[name] = _listed(value) if meta["multiple"] else value
    return values


_KINDS = {str: "text (quotes make it one)", int: "a whole number", float: "a number", bool: "true or false"}


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool):  # an int to Python, not to a person
        return kind is bool
    return value is None or isinstance(value, (int, float) if kind is float else kind)


def _listed(value: Any) -> Any:
    """What YAML may hold for an option that can be given several times: a list, one value, or a mapping of `SUBSET: criterion`."""
    if isinstance(value, Mapping):
        return [f"{key}={one}" for key, one in value.items()]
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]
