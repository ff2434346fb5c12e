class Gallery {
  constructor(root) {
    this.root = root;
    this.namings = new Map();
    root.addEventListener("click", (event) => this.clicked(event));
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("pointerover", (event) => this.over(event.target));
    root.addEventListener("pointerleave", () => light(undefined, this));
    const fill = (entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => this.fill(target));
    this.sight = new IntersectionObserver(fill, { root: root.closest(".stMain"), rootMargin: "300px" });
  }

  // The HTML comes from neurocarto.views, which escapes every text of the run.
  update({ html }) {
    if (html === this.html) return;
    this.html = html;
    const focused = document.activeElement;
    this.root.innerHTML = html;
    this.addNamings(focused);
    this.sight.disconnect();
    for (const strip of this.root.querySelectorAll("[data-strip]")) this.sight.observe(strip);
    this.root.dataset.cards = this.root.querySelectorAll(".nc-card").length;
  }

  // The whole card of a cluster has a button to name it.
  addNamings(focused) {
    const before = this.namings;
    this.namings = new Map();
    for (const header of this.root.querySelectorAll(".nc-full[data-card-cluster] > header")) {
      const cluster = +header.parentElement.dataset.cardCluster;
      const naming = before.get(cluster) ?? new Naming(cluster, (event) => this.send(event));
      naming.attach(header, header);
      this.namings.set(cluster, naming);
      if (naming.holds(focused)) focused.focus();
    }
  }

  // Patches of compact cards are asked for when they come near the part of the page that is seen.
  async fill(strip) {
    this.sight.unobserve(strip);
    const patches = await ask(`s:${strip.dataset.strip}`);
    if (patches) strip.innerHTML = patches;
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

  destroy() {
    this.sight.disconnect();
  }
}
