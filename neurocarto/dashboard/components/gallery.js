class Gallery {
  constructor(root) {
    this.root = root;
    root.addEventListener("click", (event) => this.clicked(event));
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("pointerover", (event) => this.over(event.target));
    root.addEventListener("pointerleave", () => light(undefined, this));
  }

  // The HTML comes from neurocarto.views, which escapes every text of the run.
  update({ html }) {
    if (html === this.html) return;
    this.html = html;
    this.root.innerHTML = html;
    this.root.dataset.cards = this.root.querySelectorAll(".nc-card").length;
  }

  clicked(event) {
    const patch = event.target.closest("[data-image]");
    if (patch) return showImage(this.root, patch.dataset.image, patch.dataset.of);
    const asks = event.target.closest("[data-event]");
    if (asks) return this.send(JSON.parse(asks.dataset.event));
    const target = event.target.closest("[data-cluster], [data-neuron], [data-class]");
    if (!target) return undefined;
    const add = event.ctrlKey || event.metaKey || event.shiftKey;
    const { cluster, neuron, class: name, page } = target.dataset;
    const what = cluster !== undefined ? { cluster: +cluster } : neuron !== undefined ? { neuron: +neuron } : { name };
    return this.send({ kind: name === undefined ? "click" : "class", add, page, ...what });
  }

  // Patches of a strip are one stop of the tab key; arrows walk along it.
  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !event.target.matches(".nc-strip [data-image]")) return;
    const patches = [...event.target.parentElement.querySelectorAll("[data-image]")];
    patches[patches.indexOf(event.target) + step]?.focus();
    event.preventDefault();
  }

  over(target) {
    const of = target.closest("[data-cluster]") ?? target.closest("[data-card-cluster]");
    light(of ? +(of.dataset.cluster ?? of.dataset.cardCluster) : undefined, this);
  }
}
