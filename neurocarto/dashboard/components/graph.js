const INHIBITING = { light: "#6a4c93", dark: "#c3a6ff" };
const isOutput = (id) => id < 0;

class Graph {
  get words() {
    return {
      name: "Cluster graph", home: "Top", homeHint: "Go to the last layers, at a readable size", fitHint: "Show all layers",
      keys: "Enter selects, Control and Enter adds", legend: "wider: stronger in its layer · larger picture: more important",
    };
  }

  constructor(root) {
    this.root = root;
    this.channel = "graph";
    Object.assign(this, { fires: new Map(), firing: 0 });
    this.canvas = make("div", { class: "nc-canvas" });
    this.tip = make("div", { class: "nc-tip", hidden: "" });
    this.live = make("div", { class: "nc-visually-hidden", "aria-live": "polite" });
    this.tools = make("div", { class: "nc-tools", role: "toolbar", "aria-label": this.words.name },
      button("+", "Zoom in", () => this.zoom(1.35)), button("−", "Zoom out", () => this.zoom(1 / 1.35)),
      button(this.words.home, this.words.homeHint, () => { this.moved = false; this.start(); }),
      button("Fit", this.words.fitHint, () => this.fit()), fullScreenButton(root));
    this.empty = make("div", { class: "nc-empty", role: "status", hidden: "" });
    this.stage = make("div", { class: "nc-stage", tabindex: "0", role: "group" }, this.canvas, this.empty, this.tip);
    this.legend = make("div", { class: "nc-legend" });
    this.controls = new Controls((name, value) => this.send({ kind: "choose", name, value }));
    root.replaceChildren(this.tools, this.stage, this.legend, this.controls.root, this.live);
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("focus", () => this.chosen && this.paintEdges());
    this.stage.addEventListener("blur", () => { this.tip.hidden = true; if (this.chosen) this.paintEdges(); });
    this.stage.addEventListener("mouseleave", () => this.network && this.hover(undefined));
    this.resizes = new ResizeObserver(() => this.resized());
    this.resizes.observe(this.stage);
    this.unlight = onLight((cluster) => this.lit(cluster), this);
    onThemeChange(root, () => this.network && this.state && this.apply());
  }

  async update(state) {
    this.state = state;
    this.controls.update(state.controls ?? {});
    this.empty.hidden = !state.empty;
    this.empty.replaceChildren(...(state.empty ?? []).map((text, i) => make(i ? "span" : "strong", {}, text)));
    const [content] = await Promise.all([published(this.channel, state.version), loadScript("vis-network.min.js")]);
    if (this.state !== state) return;
    if (this.drawn !== state.version) this.draw(content, state.version);
    this.apply();
  }

  draw(content, version) {
    const { nodes, edges, options, rows } = content;
    this.tip.hidden = true;
    Object.assign(this, { content, rows, zones: content.zones ?? [], hovered: undefined, cursor: undefined });
    this.byId = new Map(nodes.map((node) => [node.id, node]));
    this.asked = new Set();
    this.nodes = new vis.DataSet(nodes);
    this.edges = new vis.DataSet(edges.map((edge, id) => ({ ...edge, id })));
    const data = { nodes: this.nodes, edges: this.edges };
    if (this.network) {
      // A person who has moved the view keeps it through a change of class; else the new graph gets its own.
      const view = { position: this.network.getViewPosition(), scale: this.network.getScale() };
      this.network.setData(data);
      if (this.moved) this.network.moveTo(view); else this.start();
    } else {
      this.network = new vis.Network(this.canvas, data, options);
      this.network.on("click", (event) => this.clicked(event));
      this.network.on("hoverNode", ({ node, pointer }) => this.hover(node, pointer.DOM));
      this.network.on("blurNode", () => this.hover(undefined));
      this.network.on("dragEnd", () => { this.moved = true; });
      this.network.on("zoom", () => { this.moved = true; });
      this.network.on("beforeDrawing", (context) => { this.drawBands(context); this.drawHalos(context); });
      this.network.on("afterDrawing", (context) => { this.drawVeils(context); this.drawCursor(context); this.askPictures(); });
      this.start();
    }
    this.drawn = version;
  }

  apply() {
    const { state } = this;
    this.look = theme(this.root);
    const accent = state.accent[this.look.name];
    const chosen = new Set(state.clusters.filter((id) => this.byId.has(id)));
    this.chosen = chosen;
    this.fires = new Map([...this.byId.keys()].filter((id) => id in (state.fires ?? {})).map((id) => [id, state.fires[id]]));
    this.firing = Object.keys(state.fires ?? {}).length;
    this.nodes.update([...this.byId.values()].map((node) => this.nodeLook(node, chosen, accent)));
    this.paintEdges();
    this.drawLegend(state.clusters.length - chosen.size);
    this.root.dataset.version = this.drawn;
    this.root.dataset.nodes = this.byId.size;
    this.root.dataset.highlighted = [...chosen].join(" ");
    this.root.dataset.firing = [...this.fires.keys()].join(" ");
    this.stage.setAttribute("aria-label", `${this.words.name}; ${state.summary}. Arrow keys walk from cluster to cluster, ` +
      `${this.words.keys}, Shift and arrows move, plus and minus zoom, 0 shows everything.`);
  }

  // Whether what is not selected steps back.
  get recedes() {
    return this.chosen?.size > 0;
  }

  // What is neither selected nor fires, where anything does.
  isFaded(id) {
    return (this.recedes || this.firing > 0) && !this.chosen.has(id) && !this.fires.has(id) && !isOutput(id);
  }

  nodeLook(node, chosen, accent) {
    const { text, background, font, name } = this.look;
    const selected = chosen.has(node.id);
    const faded = this.isFaded(node.id);
    const border = selected ? accent : isOutput(node.id) ? text : node[name];
    return {
      id: node.id,
      borderWidth: selected ? 6 : 2.5,
      color: { border, background, hover: { border, background } },
      font: { ...node.font, face: font, size: isOutput(node.id) ? 18 : 12.5, color: faded ? fade(text, 0.55) : text,
              strokeWidth: 3, strokeColor: background },
    };
  }

  paintEdges() {
    const accent = this.state.accent[this.look.name];
    this.edges.update(this.edges.map((edge) => this.edgeLook(edge, this.chosen, accent)));
  }

  edgeLook(edge, chosen, accent) {
    const { name, text } = this.look;
    const focus = this.hovered ?? this.focused();
    const lit = edge.from === focus || edge.to === focus || chosen.has(edge.from) || chosen.has(edge.to);
    const quiet = !lit && (this.recedes || focus !== undefined);
    const sign = edge.weight < 0 ? INHIBITING[name] : text;
    const touched = chosen.has(edge.from) || chosen.has(edge.to);
    return { id: edge.id, color: { color: touched ? accent : sign, opacity: quiet ? 0.1 : lit ? 0.85 : 0.38 } };
  }

  drawBands(context) {
    if (!this.look || !this.rows.length) return;
    const { down } = this.content;
    const left = this.network.DOMtoCanvas({ x: 0, y: 0 }).x;
    const right = this.network.DOMtoCanvas({ x: this.canvas.clientWidth, y: 0 }).x;
    const unit = 1 / this.network.getScale();
    context.save();
    context.textBaseline = "top";
    const shown = this.network.DOMtoCanvas({ x: 0, y: 36 }).y; // below the tools
    for (const zone of this.zones) this.drawZone(context, zone, unit, shown);
    for (const [i, row] of this.rows.entries()) {
      const top = row.y - down * 0.42;
      context.fillStyle = fade(this.look.text, i % 2 ? 0.0 : 0.035);
      context.fillRect(left, top, right - left, down);
      context.fillStyle = row[this.look.name];
      context.fillRect(left, top, 4 * unit, down);
      const size = Math.min(11.5 * unit, 20);
      context.font = `${size}px ${this.look.font}`;
      context.fillStyle = fade(this.look.text, 0.7);
      const count = row.shown < row.available ? `  ${row.shown} of ${row.available}` : "";
      haloed(context, row.name + count, [left + 10 * unit, top + 3 * unit], 3 * unit, this.look.background);
    }
    context.restore();
  }

  // A column of the graph with its name, which stays in sight.
  drawZone(context, { name, left, right, top, bottom }, unit, shown) {
    context.strokeStyle = fade(this.look.text, 0.35);
    context.lineWidth = unit;
    context.setLineDash([5 * unit, 5 * unit]);
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    context.textAlign = "center";
    context.font = `600 ${Math.min(13 * unit, 26)}px ${this.look.font}`;
    context.fillStyle = this.look.text;
    const place = [(left + right) / 2, Math.max(top + 4 * unit, shown), right - left - 8];
    haloed(context, name, place, 4 * unit, this.look.background);
    context.textAlign = "start";
  }

  // A veil instead of transparency: through a transparent picture one would see the edges behind it.
  drawVeils(context) {
    if (!this.recedes && !this.firing) return;
    context.save();
    context.fillStyle = fade(this.look.background, 0.62);
    for (const { id, x, y, size } of this.byId.values()) {
      if (!this.isFaded(id) || this.isHidden(id)) continue;
      context.fillRect(x - size - 3, y - size - 3, 2 * size + 6, 2 * size + 6);
    }
    context.restore();
  }

  // What fires on the visitor's image, wider and brighter where it fires more.
  drawHalos(context) {
    if (!this.fires.size) return;
    context.save();
    context.fillStyle = this.state.firing[this.look.name];
    for (const [id, strength] of this.fires) {
      const { x, y, size } = this.byId.get(id), half = size + 5 + 9 * strength;
      context.globalAlpha = 0.35 + 0.65 * strength;
      context.beginPath();
      context.roundRect(x - half, y - half, 2 * half, 2 * half, 8);
      context.fill();
    }
    context.restore();
  }

  isHidden() {
    return false;
  }

  // Clusters get their pictures when they come in sight: a tall graph shows few of them at once.
  async askPictures() {
    const { nodes, asked } = this, { clientWidth: width, clientHeight: height } = this.canvas;
    const wanted = [...this.byId.values()].filter((node) => {
      if (isOutput(node.id) || asked.has(node.id) || this.isHidden(node.id)) return false;
      const { x, y } = this.network.canvasToDOM(node), reach = 2 * node.size * this.network.getScale();
      return x > -reach && y > -reach && x < width + reach && y < height + reach;
    });
    if (!wanted.length) return;
    for (const { id } of wanted) asked.add(id);
    const found = await Promise.all(wanted.map(async ({ id }) => ({ id, image: await ask(`g:${id}`) })));
    if (this.state && this.nodes === nodes) nodes.update(found.filter(({ image }) => image).map((node) => ({ ...node, shape: "image" })));
  }

  // Where the keyboard is, while it is here.
  focused() {
    return document.activeElement === this.stage ? this.cursor : undefined;
  }

  drawCursor(context) {
    for (const [id, dash] of [[this.focused(), [4, 3]], [this.lighted, []]]) {
      if (id === undefined || !this.byId.has(id) || this.isHidden(id)) continue;
      const { x, y, size = 24 } = this.byId.get(id);
      context.save();
      context.strokeStyle = this.look.text;
      context.lineWidth = 2;
      context.setLineDash(dash);
      context.strokeRect(x - size - 8, y - size - 8, 2 * size + 16, 2 * size + 16);
      context.restore();
    }
  }

  drawLegend(missing) {
    const edge = (kind, text) => [make("i", { class: `nc-edge nc-edge-${kind}` }), make("span", {}, text)];
    const note = missing ? [make("strong", {}, `${missing.toLocaleString("en")} of the selected clusters ${missing > 1 ? "are" : "is"} not among those shown`)] : [];
    if (this.firing) note.push(firingNote(this.state.firing[this.look.name], `${this.fires.size} of the ${this.byId.size} fire on your image`));
    this.legend.replaceChildren(...edge("plus", "excites"), ...edge("minus", "inhibits"),
      make("span", {}, this.words.legend), ...note);
  }

  // Tall graphs open at their top, where the class is, at a size that can be read.
  start() {
    if (!this.network || !this.byId.size) return;
    const places = [...this.byId.values()];
    const { down } = this.content;
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    if (!width || !height) return; // not laid out yet, or hidden: there is no scale to choose
    const xs = [...places.map((n) => n.x), ...this.zones.flatMap(({ left, right }) => [left + 15, right - 65])];
    const ys = places.map((n) => n.y);
    const across = Math.max(...xs) - Math.min(...xs) + 150, tall = Math.max(...ys) - Math.min(...ys) + down;
    const readable = Math.min(1.15, width / across);
    const whole = Math.min(readable, height / tall);
    const scale = whole > 0.8 * readable ? whole : readable;
    const top = Math.min(...ys) - down * 0.42 - 34 / scale;
    const y = tall * scale <= height ? top + tall / 2 : top + height / scale / 2;
    this.network.moveTo({ position: { x: (Math.max(...xs) + Math.min(...xs)) / 2, y }, scale, animation: false });
  }

  fit() {
    this.moved = true;
    this.network?.fit({ animation: false, maxZoomLevel: 1.1 });
  }

  // The graph as it is seen, on the page's background, as the address of a picture.
  async picture() {
    const seen = this.canvas.querySelector("canvas");
    if (!seen || !this.byId.size) return undefined;
    const sheet = make("canvas", { width: seen.width, height: seen.height }), context = sheet.getContext("2d");
    context.fillStyle = this.look.background;
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.drawImage(seen, 0, 0);
    return sheet.toDataURL();
  }

  zoom(factor) {
    if (!this.network) return;
    this.moved = true;
    this.network.moveTo({ scale: this.network.getScale() * factor, animation: false });
  }

  resized() {
    if (!this.network || !this.stage.clientWidth) return;
    this.network.setSize("100%", "100%");
    if (!this.moved) this.start();
    this.network.redraw();
  }

  clicked({ pointer, event }) {
    const id = this.network.getNodeAt(pointer.DOM);
    const source = event.srcEvent ?? event;
    if (id !== undefined && !isOutput(id)) this.pick(id, source.ctrlKey || source.metaKey || source.shiftKey);
  }

  pick(id, add) {
    this.cursor = id;
    this.tip.hidden = true;
    this.send({ kind: "click", cluster: id, add: Boolean(add) });
  }

  hover(id, pointer) {
    const cluster = id === undefined || isOutput(id) ? undefined : id;
    this.hovered = id;
    this.canvas.style.cursor = cluster === undefined ? "" : "pointer";
    this.paintEdges();
    this.tip.hidden = true;
    light(cluster, this);
    if (id === undefined) return;
    showCard(this.tip, this.stage, pointer, cluster === undefined ? undefined : `c:${cluster}`, this.describe(id));
  }

  // What is under the mouse in another view is framed here.
  lit(cluster) {
    if (this.lighted === cluster) return;
    this.lighted = cluster;
    this.network?.redraw();
  }

  describe(id) {
    const node = this.byId.get(id);
    if (isOutput(id)) return [node.name, "the class's own output"];
    return [node.name, `cluster ${id} in ${node.layer}`, [`${node.neurons} neurons`, node.badge].filter(Boolean).join(", "), ...(node.notes ?? [])];
  }

  key(event) {
    if (event.target !== this.stage || !this.network) return;
    const { key } = event;
    if (key.startsWith("Arrow") && event.shiftKey) this.shift(key);
    else if (key.startsWith("Arrow")) this.walk(key);
    else if (key === "Enter" && this.cursor !== undefined && !isOutput(this.cursor)) this.pick(this.cursor, event.ctrlKey || event.shiftKey);
    else if (key === "Escape") this.send({ kind: "clear" });
    else if (key === "+") this.zoom(1.35);
    else if (key === "-") this.zoom(1 / 1.35);
    else if (key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  shift(key) {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const { x, y } = this.network.getViewPosition(), step = 80 / this.network.getScale();
    this.moved = true;
    this.network.moveTo({ position: { x: x + right * step, y: y + down * step }, animation: false });
  }

  walk(key) {
    const places = [...this.byId.values()].filter((node) => !this.isHidden(node.id));
    if (!places.length) return;
    const from = this.byId.get(this.cursor);
    const next = from ? this.next(places, from, key) : this.first(places);
    if (!next) return;
    this.cursor = next.id;
    this.live.textContent = this.describe(next.id).join(", ");
    this.reveal(next);
    this.paintEdges();
    light(isOutput(next.id) ? undefined : next.id, this);
    const { x, y } = this.network.canvasToDOM(next);
    showCard(this.tip, this.stage, { x: x + 20, y }, isOutput(next.id) ? undefined : `c:${next.id}`, this.describe(next.id));
    this.network.redraw();
  }

  first(places) {
    return places.reduce((a, b) => (b.y < a.y ? b : a));
  }

  next(places, from, key) {
    return nearest(places, from, key);
  }

  reveal(node) {
    const { x, y } = this.network.canvasToDOM(node);
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (x < 50 || y < 50 || x > width - 50 || y > height - 50) this.network.moveTo({ position: node, animation: false });
  }

  destroy() {
    this.unlight();
    this.state = undefined;
    this.resizes.disconnect();
    this.network?.destroy();
  }
}

function nearest(places, from, key) {
  const sideways = key === "ArrowLeft" || key === "ArrowRight";
  const sign = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  const candidates = places.filter((n) => (sideways
    ? Math.abs(n.y - from.y) < 1 && (n.x - from.x) * sign > 0
    : (n.y - from.y) * sign > 1));
  const distance = (n) => Math.abs(n.x - from.x) + 100 * Math.abs(n.y - from.y);
  return candidates.sort((a, b) => distance(a) - distance(b))[0];
}

// Text that stays legible over lines.
function haloed(context, text, place, width, halo) {
  context.save();
  context.strokeStyle = halo;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.strokeText(text, ...place);
  context.restore();
  context.fillText(text, ...place);
}

function fade(colour, alpha) {
  return `color-mix(in srgb, ${colour} ${Math.round(alpha * 100)}%, transparent)`;
}
