"""Which pairs of neurons are worth comparing: MinHash signatures and locality-sensitive hashing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt
from datasketch import MinHash

from neurocarto.summarisation.similarity import Images

Signature = npt.NDArray[np.uint32]

TOGETHER = 2**25
"""Entries of signatures that are held together: a bound for memory."""

FEW = 8192
"""Rows up to which every pair that agrees in any band is compared."""

AT_ONCE, TRIED, MOST_ROWS = 32, 4, 8
"""Of more rows: bands that are searched together, those by which the rows of a band are chosen, at most so many."""


def signatures(images: Images, permutations: int, seed: int) -> Signature:
    """Return the MinHash signature (n, permutations) of each row's set of images; negative ids do not count.

    datasketch's scheme "affine32", every row hashed with the same permutations: the share of equal
    entries estimates the Jaccard similarity of two rows, and equal sets have equal signatures. O(n m).
    """
    return _signatures(images, *_permutations(permutations, seed))


def _permutations(count: int, seed: int) -> tuple[Signature, Signature]:
    """Return factors and summands (count,) of datasketch's permutations."""
    factors, summands = MinHash(num_perm=count, seed=seed, scheme="affine32").permutations
    return factors, summands


@numba.njit(cache=True, nogil=True)
def _signatures(images: Images, factors: Signature, summands: Signature) -> Signature:
    """Return the least value of factor × mixed + summand modulo 2³², mixed by the finaliser of MurmurHash3."""
    signature = np.empty((len(images), len(factors)), np.uint32)
    for row in range(len(images)):
        least = signature[row]
        least[:] = 0xFFFFFFFF
        for image in images[row]:
            if image < 0:
                continue
            mixed = np.uint32(image)
            mixed = np.uint32((mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            mixed = np.uint32((mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            mixed ^= mixed >> np.uint32(16)
            for k in range(len(factors)):
                least[k] = min(least[k], np.uint32(factors[k] * mixed + summands[k]))
    return signature


def candidate_pairs(signature: Signature, band_rows: int, reach: int | None = None) -> npt.NDArray[np.int64]:
    """Return the pairs (p, 2) of rows whose signatures agree in at least one band, each pair once, in order.

    Locality-sensitive hashing: a pair of Jaccard similarity j is found with probability
    1 - (1 - j^r)^b for b bands of r rows. Near-linear in rows plus the pairs found; with reach, rows are paired only
    with the next so many that agree with them.
    """
    n = len(signature)
    pairs = _pairs(linked_bands(signature, band_rows), n if reach is None else reach)
    codes = np.sort(pairs[:, 0] * n + pairs[:, 1])
    return np.stack(np.divmod(codes, max(1, n)), axis=1)


@numba.njit(cache=True, nogil=True)
def linked_bands(signature: Signature, band_rows: int) -> Images:
    """Return, for each band and row (bands, n), the last row before it that agrees with it in the band, -1 for none."""
    n, bands = len(signature), (signature.shape[1] + band_rows - 1) // band_rows
    links = np.empty((bands, n), np.int32)
    size = 2
    while size < 2 * n:
        size *= 2
    last = np.empty(size, np.int32)  # of the rows that agree; a row is looked up at its hash and after it
    for band in range(bands):
        begin, end = band * band_rows, min((band + 1) * band_rows, signature.shape[1])
        last[:] = -1
        for row in range(n):
            mixed = np.uint64(0)
            for k in range(begin, end):
                mixed = (mixed ^ np.uint64(signature[row, k])) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(29)
            slot = np.int64(mixed & np.uint64(size - 1))
            while last[slot] >= 0 and not _agree(signature, last[slot], row, begin, end):
                slot = (slot + 1) & (size - 1)
            links[band, row] = last[slot]
            last[slot] = row
    return links


@numba.njit(cache=True, nogil=True)
def _agree(signature: Signature, first: int, second: int, begin: int, end: int) -> bool:
    k = begin
    while k < end and signature[first, k] == signature[second, k]:
        k += 1
    return k == end


@numba.njit(cache=True, nogil=True)
def _pairs(links: Images, reach: int) -> npt.NDArray[np.int64]:
    """Return the pairs (p, 2) of rows of a chain in any band, each once, at most `reach` steps apart."""
    bands, n = links.shape
    met = np.full(n, -1, np.int32)
    pairs, count = np.empty((max(1, n), 2), np.int64), 0
    for row in range(n):
        for band in range(bands):
            other = links[band, row]
            for _ in range(reach):
                if other < 0:
                    break
                if met[other] != row:
                    met[other] = row
                    if count == len(pairs):
                        pairs = np.concatenate((pairs, np.empty_like(pairs)))
                    pairs[count, 0], pairs[count, 1] = other, row
                    count += 1
                other = links[band, other]
    return pairs[:count].copy()


def bands(images: Images, permutations: int, band_rows: int, seed: int, threads: int) -> Iterator[Images]:
    """Yield links (bands, n), see linked_bands, of some bands after the other for rows of images (n, m).

    All bands of band_rows at once for up to FEW rows. Beyond, where a band would pair more than all rows once, it gets
    more rows, so that rows that meet by chance do not outgrow n; then AT_ONCE bands at a time. O(n m) for each band.
    """
    factors, summands = _permutations(permutations, seed)
    n = len(images)

    def links(chosen: range, rows: int) -> Images:
        """Links of the chosen bands, as many in one piece as TOGETHER allows."""
        step = max(1, min(-(-len(chosen) // threads), TOGETHER // max(1, n * rows)))

        def part(begin: int) -> Images:
            own = slice(begin * rows, min(begin + step, chosen.stop) * rows)
            return linked_bands(_signatures(images, factors[own], summands[own]), rows)

        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate([*pool.map(part, range(chosen.start, chosen.stop, step))])

    rows = band_rows
    if n > FEW:
        while rows < MOST_ROWS and _met(links(range(TRIED), rows)) > n * TRIED:
            rows += 1
    count = permutations // rows
    step = count if n <= FEW else AT_ONCE
    for begin in range(0, count, step):
        yield links(range(begin, min(begin + step, count)), rows)


@numba.njit(cache=True, nogil=True)
def _met(links: Images) -> int:
    """Count the pairs of rows that agree in a band, over all bands."""
    pairs, before = 0, np.zeros(links.shape[1], np.int64)
    for band in range(len(links)):
        for row in range(links.shape[1]):
            before[row] = 0 if links[band, row] < 0 else before[links[band, row]] + 1
            pairs += before[row]
    return pairs
