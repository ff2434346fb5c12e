
// Figures as they are seen, and the words by which to cite them.
class Export {
  constructor(root) {
    this.figures = make("div", { class: "nc-tools", role: "group", "aria-label": "Figures" });
    this.cite = make("p", { class: "nc-cite" });
    this.status = make("span", { role: "status", class: "nc-visually-hidden" });
    this.copy = button("Copy citation and link", "Copy citation and link", () => this.copied());
    root.replaceChildren(make("p", { class: "nc-export-title" }, make("b", {}, "Figures"), " as they are seen"), this.figures,
      make("p", { class: "nc-export-title" }, make("b", {}, "Cite")), this.cite, make("div", { class: "nc-tools" }, this.copy), this.status);
    this.title = root.firstChild;
  }

  update({ query, citation }) {
    this.link = `${location.origin}${location.pathname}?${query}`;
    this.cite.textContent = citation;
    const view = (name) => document.querySelector(`.nc-${name}`)?.view;
    const figures = { "Map PNG": ["projection", "png"], "Map SVG": ["projection", "svg"], "Graph PNG": ["graph", "png"] };
    const seen = Object.entries(figures).filter(([, [name]]) => view(name));
    this.title.hidden = this.figures.hidden = !seen.length;
    this.figures.replaceChildren(...seen.map(([text, [name, format]]) => button(text, text, async () => {
      const address = await view(name)?.picture(format);
      if (address) make("a", { href: address, download: `${name === "graph" ? "graph" : "map"}.${format}` }).click();
    })));
  }

  async copied() {
    const text = `${this.cite.textContent} ${this.link}`;
    try {
      await navigator.clipboard.writeText(text);
      this.copy.textContent = this.status.textContent = "Copied";
    } catch {
      window.prompt("Copy this", text);
    }
    setTimeout(() => { this.copy.textContent = "Copy citation and link"; }, 2000);
  }
}
