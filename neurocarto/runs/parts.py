"""What a stage or a shard has computed, as bytes: named arrays, tables and JSON, nothing pickled."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

Parts = Mapping[str, Any]
"""Named NumPy arrays, pandas tables and JSON values."""
DAMAGED = (ValueError, KeyError, TypeError, pa.ArrowException)
"""What reading a file raises that does not hold whole parts."""


class Chunks:
    """Parts on their way to a file: a line of JSON that describes them, then the bytes of every array.

    size: bytes of all.
    """

    def __init__(self, parts: Parts) -> None:
        self._arrays = {name: _as_array(value) for name, value in parts.items() if not _is_json(value)}
        header = {
            "json": {name: value for name, value in parts.items() if _is_json(value)},
            "arrays": [
                [name, isinstance(parts[name], pd.DataFrame), array.dtype.str, array.shape]
                for name, array in self._arrays.items()
            ],
        }
        self._header = json.dumps(header).encode() + b"\n"
        self.size = len(self._header) + sum(array.nbytes for array in self._arrays.values())

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self._header
        for array in self._arrays.values():
            yield array.reshape(-1).view(np.uint8).data


def _is_json(value: object) -> bool:
    return not isinstance(value, np.ndarray | pd.DataFrame)


def _as_array(value: npt.NDArray[Any] | pd.DataFrame) -> npt.NDArray[Any]:
    if isinstance(value, pd.DataFrame):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(value, preserve_index=False), buffer)
        return np.frombuffer(buffer.getvalue(), np.uint8)
    return np.asarray(value, order="C")


def read_parts(file: BinaryIO) -> Parts:
    """Read what Chunks have written, with fresh arrays; one of DAMAGED when that is not what the file holds."""
    header = json.loads(file.readline())
    parts: dict[str, Any] = dict(header["json"])
    for name, is_table, dtype, shape in header["arrays"]:
        array = np.empty(shape, dtype)
        if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"{name} is cut short")
        parts[name] = pq.read_table(pa.BufferReader(array)).to_pandas() if is_table else array
    return parts
