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


class _Kept:
    """What a module gave once.

    It is given as a copy, until a run as far as the present one has shown that nothing writes into it: then as it is.
    """

    def __init__(self, module: nn.Module, output: Tensor) -> None:
        self.module, self._output = module, output
        self._unwritten: set[str] = set()
        self._given: Tensor = output

    def gave(self, output: Tensor) -> bool:
        """Return whether this is what was given last."""
        return output is self._given

    def give(self, until: str) -> Tensor:
        self._given = self._output if until in self._unwritten else self._output.clone()
        return self._given

    def take_back(self, until: str) -> None:
        if self._given._version == 0:  # counts what is done in place, to views of it too
            self._unwritten.add(until)
        self._given = self._output


class Replay:
    """A network on one batch, which can be run again from a layer on.

    What a module gives before the layer has run cannot hang on what the layer gives. So the modules that have come
    to an end by then, without those inside them, give what they gave before, and are not computed again.
    Memory: what these put out.
    """

    def __init__(self, model: Model, batch: Tensor) -> None:
        self._model, self._batch = model, batch
        self._kept: list[_Kept] = []  # in the order in which they came to an end

    def advance(self, layer: str) -> None:
        """Go on to a layer that runs behind the present one: from now on, runs begin behind it."""
        kept: list[_Kept] = []
        begins: list[int] = []
        last = submodule(self._model.module, layer)

        def keep(module: nn.Module, output: Tensor) -> _Kept:
            again = (each for each in self._kept if each.module is module and each.gave(output))
            # A copy: what comes behind may work in place.
            return next(again, None) or _Kept(module, output.clone())

        def begin(_module: nn.Module, _inputs: object) -> None:
            begins.append(len(kept))

        def end(module: nn.Module, _inputs: object, output: object) -> None:
            begun = begins.pop()
            if isinstance(output, Tensor):  # of anything else, only what is inside is kept
                kept[begun:] = [keep(module, output)]
            if module is last:
                raise LastLayerReached

        modules = [*self._model.module.modules()]
        handles = [module.register_forward_pre_hook(begin) for module in modules]
        handles += [module.register_forward_hook(end) for module in modules]
        try:
            with torch.no_grad(), self._served(layer), suppress(LastLayerReached):
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
            stack.enter_context(torch.no_grad())
            left = stack.enter_context(self._served(until))
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
    def _served(self, until: str) -> Iterator[Callable[[], int]]:
        """Let the modules give what they gave before, each call in its turn; yields how many are left to come.

        until: the layer behind which nothing is run.
        """
        turn = 0

        def serve(module: nn.Module, forward: Callable[..., object]) -> Callable[..., object]:
            def served(*args: Any, **kwargs: Any) -> object:
                nonlocal turn
                if turn < len(self._kept) and self._kept[turn].module is module:
                    turn += 1
                    return self._kept[turn - 1].give(until)
                return forward(*args, **kwargs)

            return served

        modules = {id(each.module): each.module for each in self._kept}.values()
        own = [(module, vars(module).get("forward")) for module in modules]
        try:
            for module in modules:
                vars(module)["forward"] = serve(module, module.forward)
            yield lambda: len(self._kept) - turn
        finally:
            for each in self._kept[:turn]:
                each.take_back(until)
            for module, forward in own:
                if forward is None:
                    vars(module).pop("forward", None)
                else:
                    vars(module)["forward"] = forward
