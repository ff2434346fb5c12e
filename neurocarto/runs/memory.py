"""What tables and pictures come to in memory, found without reading them whole.

A few bytes of parquet can say one long text a billion times, and a few of WebP can be a picture of 16,000 × 16,000.
Whoever opens a stranger's counts first.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value, by the name that parquet has for its type; texts and other types are measured."""
POINTER = 8
"""Bytes of a place in memory that points at a text."""
BATCH = 4096
"""Rows that are measured at a time."""


def table_bytes(path: Path, most: int) -> int:
    """Return the bytes of a parquet file's values when they are read; counting ends above `most`.

    OSError, ValueError or pa.ArrowException when it cannot be read.
    """
    with pq.ParquetFile(path) as file:
        metadata, leaves = file.metadata, range(len(file.schema))
        fixed = [leaf for leaf in leaves if file.schema.column(leaf).physical_type in WIDTHS]
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        total: int = sum(
            max(group.column(leaf).num_values, group.num_rows) * WIDTHS[file.schema.column(leaf).physical_type]
            for group in groups
            for leaf in fixed
        )
        total += sum(group.num_rows for group in groups) * (len(leaves) - len(fixed)) * POINTER
        texts = sorted({file.schema.column(leaf).path for leaf in leaves if leaf not in fixed})
    if not texts or total > most:
        return total
    # Read as a dictionary, a text that is repeated lies in memory once.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(BATCH, columns=texts, use_threads=False):
            total += sum(map(_bytes, batch.columns))
            if total > most:
                break
    return total


def _bytes(values: pa.Array) -> int:
    if not pa.types.is_dictionary(values.type):
        return int(values.nbytes)
    lengths = pc.take(pc.binary_length(values.dictionary), values.indices)
    return int(pc.sum(lengths).as_py() or 0)


def longest_side(picture: bytes | None) -> int:
    """Return the longer side of a WebP in pixels, from its first bytes; 0 where it is none."""
    head = (picture or b"")[:30].ljust(30, b"\0")
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return 0
    match head[12:16]:
        case b"VP8X":
            return 1 + max(int.from_bytes(head[24:27], "little"), int.from_bytes(head[27:30], "little"))
        case b"VP8 ":
            return max(int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + max(bits & 0x3FFF, bits >> 14 & 0x3FFF)
    return 0
