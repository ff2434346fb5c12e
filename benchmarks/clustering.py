"""What clustering costs as neurons grow, beside other ways to find who shares images, in this process, taking turns.

    python -m benchmarks.clustering [--neurons 10000 100000 1000000] [--rounds 3]

Prints what was measured as JSON and as Markdown tables, and puts these into docs/performance.md.
"""

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from datasketch import MinHash, MinHashLSH
from scipy import sparse

from benchmarks.measuring import PeakMemory, power, spread, write_section
from benchmarks.planted_stimuli import Planted, judge, plant
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.settings import RunSettings
from neurocarto.summarisation.candidates import candidate_pairs, signatures
from neurocarto.summarisation.clusters import find_clusters
from neurocarto.summarisation.paper import connected

IMAGES = 1_000_000
BANDS, ROWS = 32, 4
"""Of the peers that hash: as many bands and rows as these planted groups need."""
LEAST = 0.2
"""Cosine from which the exact peer takes two neurons for alike."""
EXACT_ROWS = 2000
"""Neurons that the exact peer compares with all; its seconds are extrapolated from them."""
PEERS_UP_TO = {"buckets": 1_000_000, "loops": 10_000, "datasketch": 10_000, "exact": 100_000}
"""Neurons up to which a peer is run."""


def loops(planted: Planted) -> None:
    """Hash each neuron's images by each of the permutations, collect equal bands and join them: plain Python."""
    rng = np.random.default_rng(0)
    factors, summands = (rng.integers(1, 2**31, BANDS * ROWS).tolist() for _ in range(2))
    parent = list(range(len(planted.group)))

    def root(neuron: int) -> int:
        while parent[neuron] != neuron:
            neuron = parent[neuron]
        return neuron

    buckets: dict[tuple[int, ...], int] = {}
    for neuron, images in enumerate(planted.stimuli.images.tolist()):
        signature = [
            min((factor * image + summand) % 2147483647 for image in images if image >= 0)
            for factor, summand in zip(factors, summands, strict=True)
        ]
        for band in range(BANDS):
            key = (band, *signature[band * ROWS : (band + 1) * ROWS])
            if key in buckets:
                parent[root(neuron)] = root(buckets[key])
            else:
                buckets[key] = neuron


def datasketch(planted: Planted) -> None:
    """MinHash.update image by image, insert into MinHashLSH, query each."""
    index, hashed = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS)), []
    for neuron, images in enumerate(planted.stimuli.images.tolist()):
        own = MinHash(num_perm=BANDS * ROWS)
        for image in images:
            if image >= 0:
                own.update(image.to_bytes(4, "little"))
        hashed.append(own)
        index.insert(neuron, own)
    for own in hashed:
        index.query(own)


def buckets(planted: Planted) -> None:
    """What the first two peers do, as it is done here: hash, join equal bands; no pair is verified."""
    signature = signatures(planted.stimuli.images, BANDS * ROWS, seed=0)
    connected(candidate_pairs(signature, ROWS, reach=1), len(signature))


def exact(planted: Planted) -> None:
    """Pairs of EXACT_ROWS neurons and all: the product of the sparse matrix of weights, what is above LEAST."""
    present = planted.stimuli.weights > 0
    neurons = present.nonzero()[0]
    shape = (len(planted.group), IMAGES)
    matrix = sparse.csr_matrix((planted.stimuli.weights[present], (neurons, planted.stimuli.images[present])), shape)
    product = matrix[:EXACT_ROWS] @ matrix.T.tocsr()
    product.data[product.data < LEAST] = 0
    product.eliminate_zeros()


def measure(sizes: list[int], rounds: int, settings: RunSettings) -> dict[int, dict[str, Any]]:
    """Return, for each size, the seconds of every way in every round; of ours also memory, recall and precision."""
    results: dict[int, dict[str, Any]] = {}
    small = plant(2000, IMAGES)
    find_clusters(small.stimuli, small.layers, settings)  # compiles
    buckets(small)
    for size in sizes:
        planted = plant(size, IMAGES)
        found: list[npt.NDArray[np.int32]] = []

        def ours(own: Planted = planted, found: list[npt.NDArray[np.int32]] = found) -> None:
            found.append(find_clusters(own.stimuli, own.layers, settings)[0])

        ways: dict[str, Callable[[], None]] = {"ours": ours}
        peers = {"buckets": buckets, "loops": loops, "datasketch": datasketch, "exact": exact}
        ways |= {name: partial(way, planted) for name, way in peers.items() if size <= PEERS_UP_TO[name]}
        times: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(1 if size > 200_000 else rounds):
            for name, way in ways.items():
                begin, worked = time.perf_counter(), time.process_time()
                if name == "ours":
                    with PeakMemory() as memory:
                        way()
                    times["memory"].append(memory.peak / 1e6)
                    times["processor"].append(time.process_time() - worked)
                else:
                    way()
                taken = time.perf_counter() - begin
                times[name].append(taken * max(1, size / EXACT_ROWS) if name == "exact" else taken)
        recall, precision = judge(found[-1], planted.group)
        results[size] = {**times, "recall": recall, "precision": precision}
        print(json.dumps({size: results[size]}), flush=True)
    return results


def exponent(results: dict[int, dict[str, Any]], name: str = "processor") -> float:
    """Return the exponent of growth with neurons, by least squares on logarithms of the medians."""
    sizes = [size for size in results if size >= 10_000]
    seconds = [float(np.median(results[size][name])) for size in sizes]
    return power(sizes, seconds)


def table(results: dict[int, dict[str, Any]]) -> str:
    """Return what was measured as a Markdown table, one row for each number of neurons."""
    heads = ["neurons", "ours (s)", "processor (s)", "memory (MB)", "recall", "precision", "buckets (s)"]
    peers = {"loops": "buckets", "datasketch": "buckets", "exact": "ours"}
    heads += [f"{peer} (s)" for peer in peers] + [f"{peer} / {unit}" for peer, unit in peers.items()]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for size, row in results.items():
        cells = [f"{size:,}", *(spread(row[name], ".1f") for name in ("ours", "processor")), spread(row["memory"])]
        cells += [f"{row[name]:.3f}" for name in ("recall", "precision")]
        cells += [spread(row[peer], ".3g") if peer in row else "" for peer in ("buckets", *peers)]
        for peer, unit in peers.items():
            ratios = [own / one for own, one in zip(row.get(peer, []), row.get(unit, []), strict=False)]
            cells.append(spread(ratios, ".3g") if ratios else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [1000, 10_000, 100_000, 1_000_000]
    parser.add_argument("--neurons", type=int, nargs="+", default=sizes, help="sizes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way (default: %(default)s)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    keep_freed_memory()
    settings = RunSettings()
    results = measure(options.neurons, options.rounds, settings)
    text = (
        f"Neurons of one layer, up to 100 of {IMAGES:,} images each, planted groups of 5 to 20 among images of unequal "
        f"popularity (`benchmarks/planted_stimuli.py`); default settings; measured on {datetime.now(UTC):%Y-%m-%d} on "
        f"{settings.threads} cores ({platform.machine()}), the machine's load was {load:.1f} before. Median of "
        f"{options.rounds} turns (one of a million neurons), lowest to highest behind.\n\n{table(results)}\n\n"
        f"Processor seconds grow as neurons to the power of {exponent(results):.2f} from 10,000 on. Recall: planted "
        "pairs in one cluster; precision: clusters that lie within one group. The peers find who shares images, "
        f"nothing more: *loops* hash in plain Python ({BANDS} bands of {ROWS} rows, union-find), *datasketch* updates "
        "image by image, inserts and queries, *buckets* is the same by our own compiled hashing and joining, and what "
        "these two are compared with; *exact* multiplies the sparse matrix of weights by its transpose (beyond "
        f"{EXACT_ROWS:,} neurons extrapolated from so many of them; more take too much memory). Ours "
        "verifies places and common axes besides and links groups. `make bench` measures this anew."
    )
    print(text)
    write_section("Clustering", text)


if __name__ == "__main__":
    main()
