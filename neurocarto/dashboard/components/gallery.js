
class Gallery {
  constructor(root) {
    this.root = root;
    root.addEventListener("click", (event) => {
      const target = event.target.closest("[data-cluster], [data-neuron]");
      if (!target) return;
      const add = event.ctrlKey || event.metaKey || event.shiftKey;
      const { cluster, neuron } = target.dataset;
      this.send(cluster === undefined ? { kind: "click", neuron: +neuron, add } : { kind: "click", cluster: +cluster, add });
    });
  }

  // The HTML comes from neurocarto.views.gallery, which escapes every text of the run.
  update({ html }) {
    if (html === this.html) return;
    this.html = html;
    this.root.innerHTML = html;
    this.root.dataset.cards = this.root.querySelectorAll(".nc-card").length;
  }
}

export default component(Gallery);
