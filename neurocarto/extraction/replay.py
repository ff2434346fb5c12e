"""Running a network many times on one batch, computing only what comes behind a layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import Consumer, LastLayerReached, layer_outputs, submodule
from neurocarto.extraction.models import Model
from neurocarto.records import Layer


class Replay:
    """A network on one batch, which can be run again from a layer on.

    What a module gives before the layer has run cannot hang on what the layer gives. So the modules that have come
    to an end by then, without those inside them, give what they gave before, and are not computed again.
    Memory: what these put out.
    """

    def __init__(self, model: Model, batch: Tensor) -> None:
        self._model, self._batch = model, batch
        self._kept: list[tuple[nn.Module, Tensor]] = []  # in the order in which they came to an end

    def advance(self, layer: str) -> None:
        """Go on to a layer that runs behind the present one: from now on, runs begin behind it."""
        kept: list[tuple[nn.Module, Tensor]] = []
        begins: list[int] = []
        last = submodule(self._model.module, layer)

        def begin(_module: nn.Module, _inputs: object) -> None:
            begins.append(len(kept))

        def end(module: nn.Module, _inputs: object, output: object) -> None:
            begun = begins.pop()
            if isinstance(output, Tensor):  # of anything else, only what is inside is kept
                kept[begun:] = [(module, output.clone())]  # a copy: what comes behind may work in place
            if module is last:
                raise LastLayerReached

        modules = [*self._model.module.modules()]
        handles = [module.register_forward_pre_hook(begin) for module in modules]
        handles += [module.register_forward_hook(end) for module in modules]
        try:
            with torch.inference_mode(), self._served(), suppress(LastLayerReached):
                self._model.logits(self._batch)
        finally:
            for handle in handles:
                handle.remove()
        self._kept = kept

    def run(self, layers: Sequence[Layer], consume: Consumer, until: str = "") -> Tensor | None:
        """Run on, with hooks on some layers (extraction/hooks.py); returns the network's outputs (B, outputs).

        until: the layer behind which nothing is needed; then nothing is returned. ModelError when the network does not
        do the same again.
        """

        def visit(name: str, maps: Tensor) -> Tensor | None:
            replaced = consume(name, maps)
            if name == until:
                raise LastLayerReached
            return replaced

        logits = None
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            left = stack.enter_context(self._served())
            stack.enter_context(layer_outputs(self._model.module, layers, visit))
            stack.enter_context(suppress(LastLayerReached))
            logits = self._model.logits(self._batch)
        if left():
            raise ModelError(
                "the network does not run the same way twice on the same images, so nothing in it can be switched off: "
                "choose the setting influence=gradient"
            )
        return logits

    @contextmanager
    def _served(self) -> Iterator[Callable[[], int]]:
        """Let the modules give what they gave before, each call in its turn; yields how many are left to come."""
        turn = 0

        def serve(module: nn.Module, forward: Callable[..., object]) -> Callable[..., object]:
            def served(*args: Any, **kwargs: Any) -> object:
                nonlocal turn
                if turn < len(self._kept) and self._kept[turn][0] is module:
                    turn += 1
                    return self._kept[turn - 1][1].clone()
                return forward(*args, **kwargs)

            return served

        modules = {id(module): module for module, _ in self._kept}.values()
        own = [(module, vars(module).get("forward")) for module in modules]
        try:
            for module in modules:
                vars(module)["forward"] = serve(module, module.forward)
            yield lambda: len(self._kept) - turn
        finally:
            for module, forward in own:
                if forward is None:
                    vars(module).pop("forward", None)
                else:
                    vars(module)["forward"] = forward
