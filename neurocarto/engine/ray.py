"""Extraction on a Ray cluster: shards run as tasks, on this machine or on many; what they have made is merged here."""

import atexit
import logging
import os
import pickle
import re
import socket
import sys
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

import neurocarto
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import Advance, Engine, Pass, Shard
from neurocarto.errors import EngineError, NeurocartoError, one_line
from neurocarto.extraction.activity import Activity
from neurocarto.extraction.decoding import shown
from neurocarto.extraction.weights import first_line
from neurocarto.request import module_sources
from neurocarto.runs.parts import Parts
from neurocarto.runs.shared import SharedFolder
from neurocarto.stages import PACKAGES

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # with a print of Ray's own numba compiles nothing that prints

try:
    import ray
except ImportError as error:
    raise EngineError("Ray is not installed: pip install -r requirements-ray.txt") from error

AHEAD = 2
"""Shards under way for each that can run at once, so that no worker waits: what bounds the memory."""
RETRIES = 10
"""How often a shard is run again when its worker or machine dies."""
SECONDS_TO_CONNECT = 10


@contextmanager
def connected(address: str | None = None, gpus: float = 0, shards: str | None = None) -> Iterator[Engine]:
    """Start Ray on this machine, or join the cluster at an address, and give the engine that runs shards there.

    address: HOST:PORT of a cluster that this machine is part of, or "auto"; gpus: of each worker, which also takes as
    many CPUs as the settings have threads; shards: a folder that all machines reach, mounted or through fsspec, where
    workers leave each finished shard until the block ends without an error: what is there is not done again.
    The machines have to reach the images under the same paths and have installed the same packages; the code of
    NeuroCartography and of the network is sent to them. EngineError when there is no such cluster, and, of the
    engine, when it cannot or can no longer run shards.
    """
    if not gpus >= 0 or (gpus > 1 and gpus % 1):
        raise EngineError(f"--ray-gpus is {gpus:g}; it must be a share of one GPU, or a whole number of them")
    folder = SharedFolder.at(shards) if shards else None
    _require_reachable(address)
    try:
        ray.init(
            address=address or "local",
            runtime_env={"py_modules": [str(Path(neurocarto.__file__).parent)]} if address else None,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises all sorts
        if address == "auto" and isinstance(error, ConnectionError):
            raise EngineError("no Ray cluster runs on this machine; `ray start --head` starts one") from error
        where = f"join the Ray cluster at {address}" if address else "start Ray on this machine"
        raise EngineError(f"cannot {where}: {one_line(error)}") from error
    finished: list[SharedFolder] = []

    def engine(work: Pass, parts: Iterator[Shard], advance: Advance) -> Generator[Activity]:
        below = folder.below(work.key) if folder and work.key else None
        finished.extend([below] if below else [])
        return run_shards(work, parts, advance, gpus, below)

    try:
        yield engine
        for below in finished:
            below.remove()
    finally:
        ray.shutdown()


def _require_reachable(address: str | None) -> None:
    """Ray itself waits for minutes where nobody answers."""
    if address in {None, "auto"}:
        return
    if not re.fullmatch(r"[^/]+:\d+", str(address)):
        raise EngineError(f"{shown(str(address))} is no address of a Ray cluster; give HOST:PORT or auto")
    host, _, port = str(address).rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise EngineError(
            f"no Ray cluster can be reached at {address}: {reason}; `ray start --head` starts one and says its address"
        ) from error


def run_shards(
    work: Pass, shards: Iterator[Shard], advance: Advance, gpus: float = 0, folder: SharedFolder | None = None
) -> Generator[Activity]:
    """Run shards on the cluster that this process is connected to; arguments as of `connected`."""
    threads = work.settings.threads
    if not _slots(threads, gpus):
        raise EngineError(
            f"no machine of the Ray cluster has the {threads} CPUs{f' and {gpus:g} GPUs' if gpus else ''} of a worker; "
            "lower --threads, or add such a machine first"
        )
    task = ray.remote(_run_shard).options(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)
    sent = ray.put(_packed(work))
    under_way: deque[tuple[int, Any]] = deque()
    try:
        while True:
            for shard in islice(shards, max(0, AHEAD * _slots(threads, gpus) - len(under_way))):
                under_way.append((len(shard.images), task.remote([sent], shard, folder)))
            if not under_way:
                return
            count, running = under_way.popleft()
            parts = _fetched(running)
            del running  # and with it what the cluster keeps
            advance(count)
            made = [Activity.from_parts(work.layers, parts)]
            del parts
            yield made.pop()  # nothing is held here while the next one is awaited
    finally:
        for _, running in under_way:
            ray.cancel(running)


def _slots(threads: int, gpus: float) -> int:
    """How many shards the cluster can run at once, as it is now."""
    owned = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    of_cpus = [int(has.get("CPU", 0) // threads) for has in owned]
    of_gpus = [int(has.get("GPU", 0) // gpus) for has in owned] if gpus else of_cpus
    return sum(map(min, of_cpus, of_gpus))


def _fetched(running: Any) -> Parts:
    """Wait for what a shard has made; copies it, since what Ray hands out is shared and read-only."""
    try:
        parts = ray.get(running)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NeurocartoError):
            raise error.cause from None
        if isinstance(error.cause, ImportError | ray.exceptions.RaySystemError):  # while it read what it was sent
            raise EngineError(
                f"a worker on Ray is missing something: {first_line(error.cause)}; install it on all machines"
            ) from error
        raise
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"a part of the images failed on Ray {RETRIES + 1} times: {one_line(error)}; what was kept is used when "
            "the same command is given again"
        ) from error
    return {name: part.copy() if isinstance(part, np.ndarray) else part for name, part in parts.items()}


def _packed(work: Pass) -> tuple[dict[str, bytes], bytes, dict[str, str]]:
    """What a worker needs once: code that it may not have, the pass, and the versions that compute here."""
    try:
        pickled = ray.cloudpickle.dumps(work)
    except Exception as error:  # whatever the network's own code raises
        raise EngineError(
            f"{work.model.name!r} cannot be sent to other processes: {one_line(error)}; use --engine local"
        ) from error
    return _own_code(work.model.module), pickled, _versions()


def _own_code(network: nn.Module) -> dict[str, bytes]:
    """The sources of what a network is made of that no package installs, by their paths in a folder of modules."""
    installed = {*packages_distributions(), *sys.stdlib_module_names, "neurocarto", "__main__"}
    code: dict[str, bytes] = {}
    for top in {type(module).__module__.partition(".")[0] for module in network.modules()} - installed:
        spec = sys.modules[top].__spec__
        if spec:
            folder = f"{top}/" if spec.submodule_search_locations else ""
            code.update((folder + place, path.read_bytes()) for place, path in module_sources(spec))
    return code


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _run_shard(sent: list[Any], shard: Shard, folder: SharedFolder | None) -> Parts:
    """Run one shard in a worker. sent is in a list, so that Ray does not unpack it for every shard."""
    name = f"{shard.start}-{shard.start + len(shard.images)}"
    parts = folder.get(name) if folder else None
    if parts is None:
        parts = _opened(sent[0]).run(shard, lambda _: None).parts()
        if folder:
            folder.put(name, parts)
    return parts


@lru_cache(maxsize=1)
def _opened(sent: Any) -> Pass:
    code, pickled, versions = ray.get(sent)
    here = _versions()
    other = next((name for name in versions if here[name] != versions[name]), None)
    if other:
        raise EngineError(
            f"{socket.gethostname()} has {other} {here[other]} where this machine has {versions[other]}, which may "
            "compute other bytes; install the same requirements on all machines"
        )
    keep_freed_memory()
    if code:
        folder = TemporaryDirectory(prefix="neurocarto-")
        atexit.register(folder.cleanup)
        for place, content in code.items():
            path = Path(folder.name, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        sys.path.insert(0, folder.name)
    work: Pass = pickle.loads(pickled)
    return work
