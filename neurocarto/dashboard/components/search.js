const SHOWN_MATCHES = 6;

class Search {
  constructor(root) {
    this.root = root;
    const id = "nc-search-list";
    this.input = make("input", { type: "search", role: "combobox", "aria-expanded": "false", "aria-controls": id,
      "aria-autocomplete": "list", "aria-label": "Search classes, clusters and neurons", autocomplete: "off", spellcheck: "false",
      placeholder: "Class, cluster, neuron  ( / )" });
    this.list = make("div", { class: "nc-found", id, role: "listbox", "aria-label": "Found", hidden: "" });
    this.live = make("div", { class: "nc-visually-hidden", "aria-live": "polite" });
    root.replaceChildren(make("label", {}, make("span", { class: "nc-label" }, "Search"), this.input), this.list, this.live);
    this.input.addEventListener("input", () => this.look());
    this.input.addEventListener("focus", () => this.look());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.pick(this.options.indexOf(option));
    });
    this.shortcut = (event) => this.slash(event);
    document.addEventListener("keydown", this.shortcut);
  }

  async update({ version, names }) {
    [this.index] = await Promise.all([published("index", version), published("names", names)]);
  }

  // "/" leads here from anywhere but a field that takes text.
  slash(event) {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    this.input.focus();
  }

  look() {
    const text = this.input.value.trim().toLowerCase();
    this.options = [];
    this.at = 0;
    if (!text || !this.index) return this.close();
    const groups = [this.classes(text), this.clusters(text), this.neurons(text)];
    this.list.replaceChildren(...groups.flatMap((group) => this.group(group, text)));
    if (!this.options.length) this.list.append(make("p", {}, "Nothing of that name. Neurons are found as layer/channel."));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    const count = groups.reduce((sum, { found }) => sum + found.length, 0);
    this.live.textContent = `${count} found`;
    return this.mark();
  }

  classes(text) {
    const found = this.index.classes.filter((name) => name.toLowerCase().includes(text));
    return { title: "Classes", found: startFirst(found, text, (name) => name), item: (name) => [name, "", { name }] };
  }

  clusters(text) {
    const { clusters, layers } = this.index;
    const found = clusters.filter(([id, label]) => String(id) === text || called(id, label).toLowerCase().includes(text));
    found.sort((a, b) => (String(b[0]) === text) - (String(a[0]) === text));
    return { title: "Clusters", found, item: ([id, label, layer, badge]) => (
      [called(id, label), [`cluster ${id} in ${layers[layer][0]}`, badge].filter(Boolean).join(", "), { cluster: id }]) };
  }

  // layer/channel: the layer by a part of its name, the channel by its first digits.
  neurons(text) {
    const cut = text.lastIndexOf("/"), found = [];
    const [layer, channel] = cut < 0 ? [text, undefined] : [text.slice(0, cut), text.slice(cut + 1)];
    let first = 0;
    for (const [name, channels] of this.index.layers) {
      if (cut >= 0 && name.toLowerCase().includes(layer)) {
        for (let i = 0; i < channels; i++) if (String(i).startsWith(channel)) found.push([name, i, first + i]);
      }
      first += channels;
    }
    const exact = ([name, i]) => (String(i) === channel) + (name.toLowerCase() === layer);
    found.sort((a, b) => exact(b) - exact(a) || a[2] - b[2]);
    return { title: "Neurons", found, item: ([name, i, neuron]) => [`${name}/${i}`, "", { neuron }] };
  }

  group({ title, found, item }, text) {
    if (!found.length) return [];
    const rest = found.length - SHOWN_MATCHES;
    const options = found.slice(0, SHOWN_MATCHES).map((entry) => {
      const [name, note, target] = item(entry);
      const option = make("div", { role: "option", id: `nc-option-${this.options.length}`, "aria-selected": "false" },
        make("span", {}, ...highlighted(name, text)), make("small", {}, note));
      option.target = target;
      this.options.push(option);
      return option;
    });
    const more = rest > 0 ? [make("p", {}, `and ${rest.toLocaleString("en")} more: type on`)] : [];
    const heading = make("h6", {}, `${title} (${found.length.toLocaleString("en")})`);
    return [make("div", { role: "group", "aria-label": title }, heading, ...options, ...more)];
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.options?.length) {
      this.at = (this.at + step + this.options.length) % this.options.length;
      this.mark();
    } else if (event.key === "Enter" && this.options?.length) this.pick(this.at);
    else if (event.key === "Escape") { this.input.value = ""; this.close(); } else return;
    event.preventDefault();
  }

  mark() {
    for (const [i, option] of this.options.entries()) option.setAttribute("aria-selected", i === this.at);
    this.input.setAttribute("aria-activedescendant", this.options[this.at]?.id ?? "");
    this.options[this.at]?.scrollIntoView({ block: "nearest" });
  }

  pick(i) {
    this.send({ kind: "select", ...this.options[i].target });
    this.input.value = "";
    this.close();
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
  }

  destroy() {
    document.removeEventListener("keydown", this.shortcut);
  }
}

function startFirst(found, text, name) {
  return found.sort((a, b) => name(b).toLowerCase().startsWith(text) - name(a).toLowerCase().startsWith(text));
}

function highlighted(name, text) {
  const part = text.includes("/") ? text.slice(0, text.lastIndexOf("/")) : text;
  const at = name.toLowerCase().indexOf(part);
  if (at < 0 || name.toLowerCase().length !== name.length) return [name];
  return [name.slice(0, at), make("mark", {}, name.slice(at, at + part.length)), name.slice(at + part.length)];
}
