"""A hash of a dataset's content: equal for equal values, whatever the chunking, the file format or the machine.

`datasets`' own fingerprint hashes the history of transforms and file names, so it cannot say whether two copies are the
same data.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Fingerprint:
    """Feed it a dataset's tables in order, then read `hexdigest`.

    Every leaf of the schema has its own running hashes of validity, lengths and bytes, so batches of any size give the
    same result. Values of types without a plain byte form are hashed by their `repr`.
    """

    def __init__(self) -> None:
        self._parts: dict[str, Any] = defaultdict(hashlib.sha256)
        self._rows = 0

    def update(self, table: pa.Table) -> None:
        """Add a table's rows."""
        self._rows += table.num_rows
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                self._add(name, chunk)

    def hexdigest(self) -> str:
        """sha256 hex over the sorted parts and the number of rows."""
        total = hashlib.sha256(str(self._rows).encode())
        for name in sorted(self._parts):
            total.update(f"\0{name}\0".encode())
            total.update(self._parts[name].digest())
        return total.hexdigest()

    def _add(self, path: str, array: pa.Array) -> None:
        kind = array.type
        if isinstance(array, pa.ExtensionArray):
            return self._add(path, array.storage)
        if pa.types.is_dictionary(kind):
            return self._add(path, array.dictionary_decode())
        self._parts[f"{path}?"].update(np.asarray(array.is_valid()).tobytes())
        if pa.types.is_struct(kind):
            for i in range(kind.num_fields):
                self._add(f"{path}.{kind.field(i).name}", pc.struct_field(array, [i]))
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._parts[f"{path}#"].update(_int64(pc.list_value_length(array)))
            self._add(f"{path}[]", array.flatten())
        elif any(test(kind) for test in _BYTES):
            self._parts[f"{path}#"].update(_int64(pc.binary_length(array)))
            flat = array.drop_null().cast(pa.large_binary())
            offsets = np.frombuffer(flat.buffers()[1], dtype=np.int64)[flat.offset : flat.offset + len(flat) + 1]
            data = flat.buffers()[2]
            if len(flat) and data is not None:
                self._parts[path].update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])
        elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            self._parts[path].update(_int64(array.cast(pa.int64() if kind != pa.uint64() else pa.uint64(), safe=False)))
        elif pa.types.is_floating(kind):
            self._parts[path].update(np.asarray(array.cast(pa.float64()).fill_null(0.0)).tobytes())
        elif not pa.types.is_null(kind):
            for value in array.to_pylist():
                self._parts[path].update(repr(value).encode("utf-8", "surrogatepass"))
        return None


_BYTES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def _int64(array: pa.Array) -> bytes:
    return np.asarray(array.fill_null(0)).astype(np.int64).tobytes()
