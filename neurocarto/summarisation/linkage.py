"""Groups of neurons from pairs of them: the most similar pairs of each, and complete linkage."""

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from neurocarto.records import IntArray

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def strongest(pairs: Ints, similarity: Doubles, count: int) -> tuple[Ints, Doubles]:
    """Keep the pairs (p, 2) that are among the `count` most similar of either neuron, in their order. O(p log p)."""
    keep = _strongest(similarity, *_incident(pairs), count)
    return pairs[keep], similarity[keep]


@numba.njit(cache=True, nogil=True)
def _incident(pairs: Ints) -> tuple[Ints, Ints]:
    """Return where each neuron's pairs begin (n + 1), and which they are (2 p): first those that it comes first in."""
    begins = np.zeros(pairs.max() + 2 if len(pairs) else 1, np.int64)
    for pair in pairs:
        begins[pair[0] + 1] += 1
        begins[pair[1] + 1] += 1
    begins = begins.cumsum()
    into, which = begins.copy(), np.empty(2 * len(pairs), np.int64)
    for side in range(2):
        for i in range(len(pairs)):
            which[into[pairs[i, side]]] = i
            into[pairs[i, side]] += 1
    return begins, which


@numba.njit(cache=True, nogil=True)
def _strongest(similarity: Doubles, begins: Ints, which: Ints, count: int) -> npt.NDArray[np.bool_]:
    keep = np.zeros(len(similarity), np.bool_)
    for neuron in range(len(begins) - 1):
        own = which[begins[neuron] : begins[neuron + 1]]
        if len(own) > count:
            own = own[np.argsort(-similarity[own], kind="mergesort")[:count]]
        keep[own] = True
    return keep


def complete_linkage(pairs: Ints, similarity: Doubles) -> list[Ints]:
    """Merge the most similar groups first, as long as *every* pair across them is among `pairs`.

    Two groups are as similar as their least similar members, so groups do not chain: nothing joins a
    group by resembling one of its members. pairs (p, 2), each once; similarity (p,). Equal similarities
    are merged in the order of the smallest members. Returns the groups of two and more by their smallest member,
    members rising. O(p log p) for groups of bounded size.
    """
    if not len(pairs):
        return []
    group = _link(pairs, similarity, _falling(pairs, similarity), *_incident(pairs))
    order = group.argsort(kind="stable")
    ends = np.flatnonzero(np.diff(group[order])) + 1
    return [members for members in np.split(order, ends) if len(members) > 1]


def _falling(pairs: Ints, similarity: Doubles) -> Ints:
    """Return the order of the pairs by falling similarity, of one connected part of their graph after the other.

    No group reaches beyond its part, and what is looked up together then lies together in the processor's cache.
    """
    return np.lexsort((-similarity, connected_parts(pairs, int(pairs.max()) + 1)[pairs[:, 0]]))


def connected_parts(pairs: IntArray, count: int) -> npt.NDArray[np.int32]:
    """Return which connected part of the graph of pairs (p, 2) each of 0 … count-1 lies in, (count,)."""
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    part: npt.NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return part


@numba.njit(cache=True, nogil=True)
def _link(pairs: Ints, similarity: Doubles, order: Ints, begins: Ints, which: Ints) -> Ints:
    """Return each neuron's group (n,), named by its smallest member; order: see _falling.

    Pairs come one after the other; two groups merge with the last of the pairs across them, their least similar.
    """
    n = len(begins) - 1
    near, value = np.empty(len(which), np.int64), np.empty(len(which))
    for neuron in range(n):  # who is paired with it, rising, and how similar they are
        own = which[begins[neuron] : begins[neuron + 1]]
        others = pairs[own, 0] + pairs[own, 1] - neuron
        rising = np.argsort(others)
        near[begins[neuron] : begins[neuron + 1]] = others[rising]
        value[begins[neuron] : begins[neuron + 1]] = similarity[own[rising]]
    group, following = np.arange(n), np.arange(n)  # a group's members follow one another in a ring
    begin = 0
    while begin < len(order):
        least, end = similarity[order[begin]], begin + 1
        while end < len(order) and similarity[order[end]] == least:
            end += 1
        ready = np.empty((end - begin, 2), np.int64)
        count = 0
        for i in order[begin:end]:
            a, b = group[pairs[i, 0]], group[pairs[i, 1]]
            a, b = min(a, b), max(a, b)
            if a != b and _all_paired(a, b, least, following, begins, near, value):
                ready[count] = a, b
                count += 1
        ready = ready[:count]
        if count > 1:
            ready = ready[np.argsort(ready[:, 0] * n + ready[:, 1])]
        for a, b in ready:
            if group[a] == a and group[b] == b and _all_paired(a, b, least, following, begins, near, value):
                _merge(a, b, group, following)
        begin = end
    return group


@numba.njit(cache=True, nogil=True)
def _all_paired(a: int, b: int, least: float, following: Ints, begins: Ints, near: Ints, value: Doubles) -> bool:
    """Whether all members of two groups are pairs of at least that similarity."""
    x = a
    while True:
        first, last = begins[x], begins[x + 1]
        y = b
        while True:
            at = first + np.searchsorted(near[first:last], y)
            if at == last or near[at] != y or value[at] < least:
                return False
            y = following[y]
            if y == b:
                break
        x = following[x]
        if x == a:
            return True


@numba.njit(cache=True, nogil=True)
def _merge(a: int, b: int, group: Ints, following: Ints) -> None:
    member = b
    while True:
        group[member] = a
        if following[member] == b:
            break
        member = following[member]
    following[member] = following[a]
    following[a] = b
