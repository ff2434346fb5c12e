"""Following one forward pass: what runs, which tensors are activations, what their axes are, how far they see.

Modules are followed by hooks, functions by a torch function mode, so that shared modules, functional activations
and parallel branches are told apart by the tensors themselves and not by names.

Axes are written as letters: B image, C channel, H row, W column, T token (rows and columns in one, row by row), h, w, t
the same three inside a window (H, W, T then count windows), 1 an axis of length one, ? not known.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from neurocarto.records import Clamp

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Value:
    """What is known of a tensor; an in-place operation gives the tensor another value.

    axes: letters, see the module; field: theoretical receptive field (height, width) in input pixels, None when unknown
    or unbounded; step: input pixels between neighbouring cells; rests: whether zero means that nothing was found;
    depth: convolutions and linear maps on the way; behind: the value that this one is an arrangement or a maximum of.
    """

    axes: str
    field: Pair | None = (1, 1)
    step: Pair = (1, 1)
    rests: bool = False
    depth: int = 0
    behind: "Value | None" = None


@dataclass(frozen=True)
class Activation:
    """One use of an activation function; clamp: where it is one; running: the modules that it was called in."""

    name: str
    source: Value
    clamp: Clamp | None
    running: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Call:
    """One run of a module. kind: the output's type where it is no tensor; lowest: its smallest number."""

    module: nn.Module
    kind: str
    value: Value | None = None
    shape: tuple[int, ...] = ()
    lowest: float = 0.0


@dataclass
class Trace:
    """What happened in a forward pass: module calls in the order in which they ended, activations by their output.

    uses: by how many functions a value is read.
    """

    batch: int
    uses: Counter[Value] = field(default_factory=Counter)
    calls: list[Call] = field(default_factory=list)
    activations: dict[Value, Activation] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Convolutions and linear maps behind the network's own output."""
        last = self.calls[-1].value
        return last.depth if last else max((call.value.depth for call in self.calls if call.value), default=0)


def trace(module: nn.Module, batch: Tensor) -> Trace:
    """Run a network once on a batch (B, C, H, W) and return what happened; hooks live only during this call."""
    handles: list[RemovableHandle] = []
    try:
        with torch.inference_mode(False), torch.no_grad():  # inference mode would hide which operations are in place
            batch = batch.clone()
            tracer = _Tracer(batch)
            for child in module.modules():
                handles.append(child.register_forward_pre_hook(tracer.enter))
                handles.append(child.register_forward_hook(tracer.leave))
            with tracer:
                module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return tracer.trace


@dataclass(frozen=True)
class _Use:
    """One call of a function. sources: the tensors among its arguments that depend on the input."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sources: list[Tensor]
    shapes: list[tuple[int, ...]]
    values: list[Value]

    def arg(self, index: int, name: str, default: Any = None) -> Any:
        return self.args[index] if len(self.args) > index else self.kwargs.get(name, default)


class _Tracer(TorchFunctionMode):
    def __init__(self, batch: Tensor) -> None:
        super().__init__()
        self.trace = Trace(len(batch))
        self._values = WeakTensorKeyDictionary({batch: Value("BCHW")})
        self._running: list[nn.Module] = []

    def enter(self, module: nn.Module, _inputs: object) -> None:
        self._running.append(module)

    def leave(self, module: nn.Module, _inputs: object, output: object) -> None:
        self._running.pop()
        with torch._C.DisableTorchFunction():
            self.trace.calls.append(self._call(module, output))

    def _call(self, module: nn.Module, output: object) -> Call:
        if not isinstance(output, Tensor):
            return Call(module, type(output).__name__)
        if output not in self._values:  # made where no mode sees it: scripted code, functions with their own gradient
            deepest = max((call.value.depth for call in self.trace.calls if call.value), default=0)
            self._values[output] = Value("?" * output.ndim, None, depth=deepest)
        lowest = output.amin().item() if output.is_floating_point() and output.numel() else -1.0
        return Call(module, "", self._values[output], tuple(output.shape), lowest)

    def __torch_function__(
        self, func: Callable[..., Any], _types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        sources = [tensor for tensor in _tensors((args, kwargs)) if tensor in self._values]
        if not sources:
            return func(*args, **kwargs)
        values = [self._values[tensor] for tensor in sources]
        use = _Use(func, args, kwargs, sources, [tuple(tensor.shape) for tensor in sources], values)
        versions = [_version(tensor) for tensor in sources]
        result = func(*args, **kwargs)
        unchanged = {id(tensor) for tensor, old in zip(sources, versions, strict=True) if _version(tensor) == old}
        name = str(getattr(func, "__name__", "")).strip("_")
        outputs = list(_tensors(result)) or ([args[0]] if name == "setitem" else [])
        changed = [(part, output) for part, output in enumerate(outputs) if id(output) not in unchanged]
        self.trace.uses.update(set(values) if changed else ())
        for part, output in changed:
            self._values[output] = self._value(name, use, output, part)
        return result

    def _value(self, name: str, use: _Use, output: Tensor, part: int) -> Value:
        """Derive the value of a function's output, and note it where that is an activation."""
        value = _RULES.get(name, _unknown)(use, output, part)
        if name in _RESTING and all(before.rests for before in use.values):
            # A sum or product with weights can have another rest.
            operands = [arg for arg in use.args[:2] if isinstance(arg, Tensor | int | float)]
            value = replace(value, rests=name not in {"add", "mul"} or len(operands) == len(use.values))
        if name == "mul":
            return self._gated(use, value)
        rests, clamp = _activation(name, use)
        if rests is None:
            return value
        value = replace(value, rests=rests)
        self.trace.activations[value] = Activation(name, use.values[0], clamp, tuple(self._running))
        return value

    def _gated(self, use: _Use, value: Value) -> Value:
        """Forget a sigmoid that something is multiplied by: it is a gate, or with its own input SiLU."""
        for gate in use.values:
            activation = self.trace.activations.get(gate)
            if activation and activation.name in _GATES and len(use.values) == 2:
                del self.trace.activations[gate]
                if activation.source in use.values:
                    value = replace(value, rests=True)
                    self.trace.activations[value] = replace(activation, name="silu")
        return value


def _tensors(tree: object) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _tensors(part)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


_GATES = {"sigmoid", "hardsigmoid"}
_ACTIVATIONS = dict.fromkeys(
    ["relu", "relu6", "gelu", "silu", "hardswish", "mish", "softplus", "elu", "celu", "selu", *_GATES], True
) | {"leaky_relu": True, "prelu": True, "rrelu": True, "tanh": False, "softsign": False}
"""Activation functions, and whether their output rests at zero: above it only where something was found."""


def _activation(name: str, use: _Use) -> tuple[bool | None, Clamp | None]:
    """Whether the output rests at zero, None where the function is no activation; and the clamp that it is."""
    if name in _ACTIVATIONS:
        return _ACTIVATIONS[name], {"relu": (0.0, None), "relu6": (0.0, 6.0)}.get(name)
    if name == "hardtanh":
        low, high = float(use.arg(1, "min_val", -1.0)), float(use.arg(2, "max_val", 1.0))
        return low >= 0, (low, high)
    if name in {"clamp", "clip", "clamp_min"}:
        least, most = use.arg(1, "min"), None if name == "clamp_min" else use.arg(2, "max")
        if not isinstance(least, Tensor) and least == 0 and not isinstance(most, Tensor):
            return True, (0.0, None if most is None else float(most))
    return None, None


# What a function does to axes, field and step. Rules get the output, and its place among several.

_Rule = Callable[[_Use, Tensor, int], Value]


def _join(use: _Use, output: Tensor, _part: int = 0) -> Value:
    """Elementwise functions and whatever leaves each cell where it is: the widest of the fields."""
    fields = [value.field for value in use.values]
    bounded = [known for known in fields if known is not None]
    return Value(
        axes=_joined_axes([value.axes for value in use.values], output.ndim),
        field=_widest(bounded) if len(bounded) == len(fields) else None,
        step=_widest([value.step for value in use.values]),
        depth=max(value.depth for value in use.values),
    )


def _widest(pairs: Sequence[Pair]) -> Pair:
    return max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)


def _joined_axes(several: Sequence[str], ndim: int) -> str:
    """For each axis the first letter that says what it is."""
    fitting = [axes for axes in several if len(axes) == ndim] or ["?" * ndim]
    return "".join(
        next((letter for letter in axis if letter not in "?1"), axis[0]) for axis in zip(*fitting, strict=True)
    )


def _unknown(use: _Use, output: Tensor, _part: int = 0) -> Value:
    """Any other function may look everywhere; axes stay where the shape does."""
    same = [value.axes for value, shape in zip(use.values, use.shapes, strict=True) if shape == output.shape]
    return replace(_join(use, output), axes=_joined_axes(same, output.ndim), field=None)


def _resized(use: _Use, output: Tensor, _part: int = 0) -> Value:
    return replace(_join(use, output), field=None, depth=use.values[0].depth + 1)


def _wider(value: Value, kernel: Pair, stride: Pair, dilation: Pair) -> Value:
    if value.field is None or value.axes[1] not in "C1":
        return replace(value, axes="BCHW", field=None)
    grown = [f + (k - 1) * d * s for f, k, d, s in zip(value.field, kernel, dilation, value.step, strict=True)]
    return replace(
        value, axes="BCHW", field=(grown[0], grown[1]), step=(value.step[0] * stride[0], value.step[1] * stride[1])
    )


def _pair(number: int | Sequence[int]) -> Pair:
    return (number, number) if isinstance(number, int) else (number[0], number[-1])


def _conv(use: _Use, output: Tensor, _part: int = 0) -> Value:
    kernel = use.arg(1, "weight").shape[2:]
    value = replace(use.values[0], rests=False, depth=use.values[0].depth + 1, behind=None)
    if len(kernel) != 2:
        pointwise = all(side == 1 for side in kernel)
        return replace(value, field=value.field if pointwise else None)
    return _wider(value, _pair(kernel), _pair(use.arg(3, "stride", 1)), _pair(use.arg(5, "dilation", 1)))


def _pool(use: _Use, _output: Tensor, _part: int = 0, dilation: int | Sequence[int] = 1) -> Value:
    kernel = use.arg(1, "kernel_size")
    stride = use.arg(2, "stride") or kernel
    return replace(_wider(use.values[0], _pair(kernel), _pair(stride), _pair(dilation)), rests=False, behind=None)


def _max_pool(use: _Use, output: Tensor, part: int = 0) -> Value:
    return replace(_pool(use, output, part, use.arg(4, "dilation", 1)), behind=use.values[0])


def _adaptive_pool(use: _Use, output: Tensor, _part: int = 0) -> Value:
    """Exact strides are an ordinary pooling; down to one cell everything is mixed."""
    value = replace(use.values[0], rests=False, behind=None)
    before, after = _pair(use.shapes[0][-2:]), _pair(output.shape[-2:])
    if before == after:
        return value
    if 1 in after or any(b % a for b, a in zip(before, after, strict=True)):
        return replace(value, field=None)
    kernel = before[0] // after[0], before[1] // after[1]
    return _wider(value, kernel, kernel, (1, 1))


def _linear(use: _Use, output: Tensor, _part: int = 0) -> Value:
    value = use.values[0]
    return replace(
        value,
        axes=value.axes[:-1] + "C",
        field=value.field if value.axes[-1:] in {"C", "1"} else None,
        rests=False,
        depth=value.depth + 1,
        behind=None,
    )


def _matmul(use: _Use, output: Tensor, part: int = 0) -> Value:
    """A product with weights is a linear map; one of two tensors, as in attention, looks everywhere."""
    if len(use.values) == 1 and use.args[0] is use.sources[0]:
        return _linear(use, output, part)
    first, last = use.values[0].axes, use.values[-1].axes
    axes = first[:-1] + last[-1:] if len(use.values) > 1 and len(first) == output.ndim else "?" * output.ndim
    return replace(_join(use, output), axes=axes, field=None)


def _attention(use: _Use, output: Tensor, part: int = 0) -> Value:
    """Attention gives as many tokens as there are queries, the first of its arguments."""
    axes = use.values[0].axes if part == 0 else "?" * output.ndim
    return replace(_join(use, output), axes=axes, field=None, depth=max(value.depth for value in use.values) + 1)


def _einsum(use: _Use, output: Tensor, _part: int = 0) -> Value:
    equation = str(use.args[0]).replace(" ", "")
    labels = dict(
        zip(equation.split("->")[0].replace(",", ""), "".join(value.axes for value in use.values), strict=False)
    )
    named = "->" in equation and len(use.values) == equation.count(",") + 1 and "." not in equation
    axes = "".join(labels[label] for label in equation.split("->")[1]) if named else "?" * output.ndim
    return replace(_join(use, output), axes=axes, field=None, depth=max(value.depth for value in use.values))


def _over_axes(use: _Use, output: Tensor, axes: Sequence[int]) -> Value:
    """Elementwise but for statistics over some axes: over channels alone, every cell stays for itself."""
    value = _join(use, output)
    own = all(value.axes[axis] in "C1" for axis in axes)
    return value if own else replace(value, field=None)


def _layer_norm(use: _Use, output: Tensor, _part: int = 0) -> Value:
    return _over_axes(use, output, range(-len(use.arg(1, "normalized_shape")), 0))


def _softmax(use: _Use, output: Tensor, _part: int = 0) -> Value:
    dim = use.arg(1, "dim")
    return _over_axes(use, output, [dim] if isinstance(dim, int) else range(output.ndim))


def _reduce(use: _Use, output: Tensor, _part: int = 0) -> Value:
    value, ndim = use.values[0], len(use.shapes[0])
    dims = use.arg(1, "dim", None)
    gone = {dim % ndim for dim in ([dims] if isinstance(dims, int) else dims or range(ndim)) if isinstance(dim, int)}
    mixed = any(value.axes[axis] not in "C1" for axis in gone)
    left = "".join(letter for axis, letter in enumerate(value.axes) if axis not in gone)
    axes = value.axes if output.ndim == ndim else left if output.ndim == len(left) else "?" * output.ndim
    return replace(value, axes=axes, field=None if mixed else value.field, rests=False, behind=None)


def _cat(use: _Use, output: Tensor, _part: int = 0) -> Value:
    value = _join(use, output)
    dim = use.arg(1, "dim", 0)
    letters = list(value.axes)
    if letters[dim] == "1":
        letters[dim] = "C"
    if letters[dim] == "T" and use.args[0][-1] is not use.sources[-1]:
        letters[dim] = "?"  # tokens without a place are known only in front
    return replace(value, axes="".join(letters))


_STRIDES = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079)


def _view(use: _Use, output: Tensor, part: int = 0) -> Value:
    """Views: a tensor without data whose strides are prime shows where each axis went."""
    value, shape = use.values[0], use.shapes[0]
    probe = torch.empty_strided(shape, _STRIDES[: len(shape)], device="meta")
    try:
        seen = use.func(*[probe if arg is use.sources[0] else arg for arg in use.args], **use.kwargs)
        strides = list(_tensors(seen))[part].stride()
    except (RuntimeError, IndexError, TypeError, NotImplementedError):
        return _unknown(use, output)
    letters, strided = "", False
    for stride, size in zip(strides, output.shape, strict=True):
        origin = [axis for axis, prime in enumerate(_STRIDES[: len(shape)]) if stride and stride % prime == 0]
        exact = bool(origin) and stride == _STRIDES[origin[0]]
        letters += "1" if size == 1 and not exact else value.axes[origin[0]] if origin else "?"
        strided |= bool(origin) and not exact and size > 1
    whole = not strided and ("?" not in letters or "?" in value.axes)
    part_of = output.numel() < prod(shape)
    return replace(value, axes=letters, field=value.field if whole else None, behind=None if part_of else value)


_MERGED = {"HW": "T", "hw": "t", "Hh": "H", "Ww": "W", "HhWw": "T"}
_SPLIT = {"H": "Hh", "W": "Ww", "T": "HW", "t": "hw"}


def _reshape(use: _Use, output: Tensor, _part: int = 0) -> Value:
    """Axes are matched in blocks of equal length; a block of channels and places mixes the places."""
    value, before, after = use.values[0], use.shapes[0], tuple(output.shape)
    if before == after:
        return replace(value, behind=value)
    sources = [axis for axis, size in enumerate(before) if size > 1]
    targets = [axis for axis, size in enumerate(after) if size > 1]
    letters, mixed = ["1"] * len(after), False
    while sources and targets:
        block, parts = [sources.pop(0)], [targets.pop(0)]
        while (m := prod(before[axis] for axis in block)) != (n := prod(after[axis] for axis in parts)):
            (block if m < n else parts).append((sources if m < n else targets).pop(0))
        merged = "".join(value.axes[axis] for axis in block)
        mixed |= "C" in merged and len(set(merged)) > 1
        for axis, letter in zip(parts, _block(merged, [after[axis] for axis in parts]), strict=True):
            letters[axis] = letter
    return replace(value, axes="".join(letters), field=None if mixed else value.field, behind=value)


def _block(block: str, sizes: Sequence[int]) -> str:
    """Letters of the axes that a block of axes becomes."""
    if set(block) == {"C"} or "C" in block and set(block) <= set("Chw"):
        return "C" * len(sizes)
    merged = block if len(block) == 1 else _MERGED.get(block, "?")
    if len(sizes) == 1:
        return merged
    square = merged in "HW" or sizes[0] == sizes[-1]
    return _SPLIT.get(merged, "??") if len(sizes) == 2 and square else "?" * len(sizes)


def _rules(names: str, rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_VIEWS = (
    "permute transpose swapaxes swapdims movedim moveaxis t squeeze unsqueeze chunk split tensor_split unbind "
    "select narrow getitem expand get"
)
_RESHAPES = "reshape view flatten unflatten ravel reshape_as view_as"
_DROPOUTS = "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout"
_POOLS = "avg_pool2d max_pool2d max_pool2d_with_indices adaptive_avg_pool2d adaptive_max_pool2d mean amax"
_RESTING = set(f"{_VIEWS} {_RESHAPES} {_DROPOUTS} {_POOLS} add mul cat concat contiguous clone pad detach to".split())
"""Functions whose output rests at zero where all their inputs do."""

_RULES: dict[str, _Rule] = {
    **_rules(" ".join(_ACTIVATIONS), _join),
    **_rules(_DROPOUTS, _join),
    **_rules(
        "hardtanh clamp clip clamp_min clamp_max threshold abs neg exp log log1p sqrt rsqrt square pow rpow", _join
    ),
    **_rules("add radd iadd sub rsub isub mul rmul imul div rdiv idiv truediv rtruediv reciprocal sin cos erf", _join),
    **_rules("maximum minimum where lerp addcmul addcdiv sign logsigmoid hardshrink softshrink tanhshrink", _join),
    **_rules("contiguous clone to type type_as float half double bfloat16 detach pad", _join),
    **_rules("batch_norm local_response_norm", _join),
    **_rules("conv1d conv2d conv3d", _conv),
    **_rules("conv_transpose2d interpolate upsample pixel_shuffle pixel_unshuffle", _resized),
    **_rules("max_pool2d max_pool2d_with_indices", _max_pool),
    **_rules("avg_pool2d lp_pool2d", _pool),
    **_rules("adaptive_avg_pool2d adaptive_max_pool2d", _adaptive_pool),
    **_rules("linear", _linear),
    **_rules("matmul rmatmul mm bmm", _matmul),
    **_rules("scaled_dot_product_attention multi_head_attention_forward", _attention),
    **_rules("einsum", _einsum),
    **_rules("layer_norm rms_norm", _layer_norm),
    **_rules("softmax log_softmax", _softmax),
    **_rules("mean sum amax amin std var", _reduce),
    **_rules("cat concat concatenate", _cat),
    **_rules(_VIEWS, _view),
    **_rules(_RESHAPES, _reshape),
}
