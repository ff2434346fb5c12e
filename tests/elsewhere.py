"""A device that this machine does not have, pretended: its tensors lie beside the processor's and do not mix."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = "lazy"
"""A kind of device that torch knows by name and has no kernels for."""
_MOVES = {"aten._to_copy", "aten.to", "aten.copy_"}
_INDEXED = {"aten.index", "aten.index_put", "aten.index_put_", "aten._unsafe_index"}
"""These take indices that lie on the processor."""


class Away(Tensor):
    """A tensor that says it lies on DEVICE; held: what is computed with."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Away":
        """Wrap a tensor of the processor's."""
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=DEVICE, requires_grad=held.requires_grad
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """Return what it holds: as of a graphics card's tensors, without being asked to move it first."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Only within Elsewhere."""
        raise AssertionError(f"{func} outside of Elsewhere")


class Elsewhere(TorchDispatchMode):
    """Within it DEVICE exists. An operation on tensors of both devices fails, as it would with a graphics card."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the processor; what has an operand on DEVICE, or is made there, lies there."""
        kwargs = kwargs or {}
        name = str(func).rsplit(".", 1)[0]
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        away = [each for each in tensors if isinstance(each, Away)]
        if name == "aten._has_compatible_shallow_copy_type":
            return False
        if name in _INDEXED:
            mixed = len(away) > 0 and not isinstance(args[0], Away)
        else:
            here = [each for each in tensors if each.ndim and not isinstance(each, Away)]  # single numbers go anywhere
            mixed = name not in _MOVES and bool(away) and bool(here)
        if mixed:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        asked = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.device)]
        there = asked[0].type == DEVICE if asked else bool(away)
        given = tree_map_only(Away, lambda each: each.held, (args, kwargs))
        given = tree_map_only(torch.device, lambda _: torch.device("cpu"), given)
        made = func(*given[0], **given[1])
        self.operations += there
        if func._schema.is_mutable:
            return args[0]
        return tree_map_only(Tensor, Away, made) if there else made
