const PATIENCE = 4000; // milliseconds after which an answer that nobody has heard can be given again

// One question of a study: four rows to choose from by mouse or by the keys 1 to 4.
class Study {
  constructor(root) {
    this.root = root;
    root.addEventListener("click", (event) => {
      const option = event.target.closest("[data-place]");
      if (option) this.answer(+option.dataset.place);
    });
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
  }

  // The HTML comes from neurocarto.views.study.
  update({ html, question }) {
    if (html === this.html) return;
    const first = this.html === undefined;
    Object.assign(this, { html, question, since: performance.now() });
    this.root.innerHTML = html;
    this.root.dataset.question = question;
    this.free();
    this.root.querySelector("h4").focus({ preventScroll: !first });
  }

  key(event) {
    const place = ["1", "2", "3", "4"].indexOf(event.key);
    if (place < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    this.answer(place);
  }

  answer(place) {
    if (this.sent) return;
    this.sent = setTimeout(() => this.free(), PATIENCE);
    this.root.querySelector(`[data-place="${place}"]`).setAttribute("aria-pressed", "true");
    this.send({ kind: "answer", question: this.question, place, seconds: (performance.now() - this.since) / 1000 });
  }

  free() {
    clearTimeout(this.sent);
    this.sent = undefined;
    for (const option of this.root.querySelectorAll("[aria-pressed]")) option.removeAttribute("aria-pressed");
  }

  destroy() {
    clearTimeout(this.sent);
    document.removeEventListener("keydown", this.keys);
  }
}
