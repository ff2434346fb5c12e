// Your image beside its cards: a cluster's boxes show while it is under the mouse here or in another view, or selected.
class Own extends Gallery {
  constructor(root) {
    super(root);
    this.unlight = onLight((cluster) => this.box(cluster), this);
    root.addEventListener("focusin", (event) => this.over(event.target));
    root.addEventListener("pointerleave", () => this.box(undefined));
  }

  update(state) {
    super.update(state);
    this.box(undefined);
  }

  over(target) {
    super.over(target);
    const of = target.closest("[data-cluster]") ?? target.closest("[data-card-cluster]");
    this.box(of ? +(of.dataset.cluster ?? of.dataset.cardCluster) : undefined);
  }

  // Without one under the mouse, those of the selected clusters.
  box(cluster) {
    const chosen = new Set([...this.root.querySelectorAll(".nc-card.nc-selected")].map((card) => card.dataset.cardCluster));
    const shown = cluster === undefined ? chosen : new Set([String(cluster)]);
    for (const box of this.root.querySelectorAll("[data-boxed]")) box.hidden = !shown.has(box.dataset.boxed);
    this.root.dataset.boxed = [...shown].join(" ");
  }

  destroy() {
    this.unlight();
    super.destroy();
  }
}
