const SCALES = { least: 0.62, most: 1.5 }; // at which pictures and names can be read
const HEAD = 44; // room for the columns' heads, in pixels
const PACE = 1400; // milliseconds per step
const TURNED = { ArrowLeft: "ArrowUp", ArrowRight: "ArrowDown", ArrowUp: "ArrowLeft", ArrowDown: "ArrowRight" };

// The cluster graph turned by a right angle, revealed step by step from where it starts.
class Cascade extends Graph {
  get words() {
    return {
      name: "Cascade", home: "Start", homeHint: "Go back to the start, at a readable size", fitHint: "Show all steps that are revealed",
      keys: "Enter pins a card, space plays the steps", legend: `wider: larger part of all influence on its target · larger picture: more important · ${this.state?.over ?? ""}`,
    };
  }

  constructor(root) {
    super(root);
    this.channel = "cascade";
    this.upTo = 0;
    this.card = make("div", { class: "nc-pin" });
    this.open = make("button", { type: "button" }, "Open in Explore");
    this.begin = make("button", { type: "button" }, "Start here");
    this.open.addEventListener("click", () => this.send({ kind: "select", cluster: this.pinned, page: "explore" }));
    this.begin.addEventListener("click", () => this.send({ kind: "select", cluster: this.pinned }));
    const tools = make("div", { class: "nc-tools" }, this.open, this.begin);
    this.naming = new Naming(undefined, (event) => this.send(event));
    this.stage.after(make("div", { class: "nc-pinned", role: "region", "aria-label": "Pinned concept" }, this.card, tools));
    this.naming.attach(tools, this.card);
    this.player = make("button", { type: "button" });
    this.player.addEventListener("click", () => this.toggle());
    this.slider = make("input", { type: "range", min: "0", step: "1", "aria-label": "Steps shown from the start" });
    this.slider.addEventListener("input", () => { this.pause(); this.showUpTo(+this.slider.value); });
    this.count = make("span");
    this.controls.root.prepend(make("div", { class: "nc-tools" }, this.player), make("label", {}, this.count, this.slider));
    this.pause();
  }

  draw(content, version) {
    const { start, nodes } = content;
    const again = start === this.from;
    this.pause();
    this.last = Math.max(...nodes.map((node) => Math.abs(node.step)));
    this.upTo = Math.min(again ? Math.max(this.upTo, 1) : this.fitting(content), this.last);
    this.moved = again && this.moved;
    this.from = start;
    this.byId = new Map(nodes.map((node) => [node.id, node]));
    super.draw(content, version);
    this.pin(again && this.byId.has(this.pinned) ? this.pinned : start);
  }

  // So many steps in both directions have room side by side.
  fitting({ nodes, column, row }) {
    const ys = nodes.map((node) => node.y);
    const scale = Math.min(1, (this.stage.clientHeight - HEAD) / (Math.max(...ys) - Math.min(...ys) + row));
    return Math.max(1, Math.floor((this.stage.clientWidth / (column * scale) - 1) / 2));
  }

  apply() {
    super.apply();
    this.tell();
  }

  // Nothing steps back: only the start is selected, and all the rest is about it.
  get recedes() {
    return false;
  }

  isHidden(id) {
    return Math.abs(this.byId.get(id).step) > this.upTo;
  }

  nodeLook(node, chosen, accent) {
    return { ...super.nodeLook(node, chosen, accent), hidden: this.isHidden(node.id) };
  }

  edgeLook(edge, chosen, accent) {
    const { name, text } = this.look;
    const focus = this.hovered ?? this.cursor;
    const lit = [edge.from, edge.to].includes(focus);
    return { id: edge.id, hidden: this.isHidden(edge.from) || this.isHidden(edge.to),
             color: { color: edge.weight < 0 ? INHIBITING[name] : text, opacity: lit ? 0.9 : focus === undefined ? 0.5 : 0.2 } };
  }

  showUpTo(step) {
    this.upTo = step;
    this.hovered = this.cursor = undefined;
    this.tip.hidden = true;
    if (!this.moved) this.start();
    this.apply();
  }

  tell() {
    const shown = [...this.byId.keys()].filter((id) => !this.isHidden(id) && !isOutput(id)).length - 1;
    const all = [...this.byId.keys()].filter((id) => !isOutput(id)).length - 1;
    this.count.textContent = `Steps: ${this.upTo} of ${this.last}, ${shown} of ${all} concepts`;
    this.slider.max = this.last;
    this.slider.value = this.upTo;
    this.slider.setAttribute("aria-valuetext", this.count.textContent);
    this.slider.disabled = this.player.disabled = !this.last;
    this.root.dataset.upTo = this.upTo;
  }

  toggle() {
    if (this.playing) return this.pause();
    this.moved = false; // the view follows what is played
    this.playing = setInterval(() => this.advance(), PACE);
    this.player.textContent = "❚❚ Pause";
    return this.upTo < this.last ? this.advance() : this.showUpTo(0);
  }

  advance() {
    this.showUpTo(this.upTo + 1);
    const added = [...this.byId.values()].filter((node) => Math.abs(node.step) === this.upTo);
    this.live.textContent = `Step ${this.upTo}: ${added.map((node) => node.name).join(", ")}`;
    if (this.upTo >= this.last) this.pause();
  }

  pause() {
    clearInterval(this.playing);
    this.playing = undefined;
    this.player.textContent = "▶ Play";
  }

  pick(id) {
    this.cursor = id;
    this.tip.hidden = true; // the pinned card says the same, and does not cover anything
    this.pin(id);
  }

  describe(id) {
    const { step } = this.byId.get(id);
    const lines = this.links(id, step > 0 ? "to" : "from").map(({ name, percent, weight }) => (
      step > 0 ? `${weight < 0 ? "inhibited" : "excited"} by ${name} (${percent})` : `${weight < 0 ? "inhibits" : "excites"} ${name} (${percent})`));
    return step ? [...super.describe(id), ...lines] : super.describe(id);
  }

  // The influences on a concept (end "to") or of it ("from"), strongest first, with what is at their other end.
  links(id, end) {
    const found = this.content.edges.filter((edge) => edge[end] === id).sort((a, b) => b.share - a.share);
    return found.map((edge) => {
      const other = edge[end === "to" ? "from" : "to"];
      return { other, name: this.byId.get(other).name, weight: edge.weight, percent: `${Math.round(100 * edge.share)} %` };
    });
  }

  // Buttons that lead along the influences from what is pinned.
  listLinks(title, id, end) {
    const items = this.links(id, end).map(({ other, name, weight, percent }) => {
      const item = make("button", { type: "button", class: "nc-link" }, name);
      item.addEventListener("click", () => this.pin(other));
      item.disabled = isOutput(other);
      return make("div", {}, make("i", { class: `nc-edge nc-edge-${weight < 0 ? "minus" : "plus"}` }), item,
        make("small", {}, `${weight < 0 ? "inhibits" : "excites"}, ${percent}`));
    });
    return items.length ? [make("h5", {}, `${title} (${items.length})`), ...items] : [];
  }

  // What is pinned stays beside the flow, with the two things that one can do with it.
  async pin(id) {
    const { name, step } = this.byId.get(id);
    this.pinned = id;
    this.root.dataset.pinned = id;
    this.naming.of(id);
    this.begin.hidden = id === this.from;
    this.open.setAttribute("aria-label", `Open ${name} in Explore`);
    this.begin.setAttribute("aria-label", `Start the cascade at ${name}`);
    const where = step ? `${Math.abs(step)} step${Math.abs(step) > 1 ? "s" : ""} ${step < 0 ? "before" : "after"} the start` : "the start";
    this.network?.redraw();
    const card = await ask(`c:${id}`);
    if (this.pinned !== id) return;
    this.card.innerHTML = card;
    this.card.prepend(make("small", {}, where));
    this.card.append(...this.listLinks("Driven by", id, "to"), ...this.listLinks("Drives", id, "from"));
  }

  drawCursor(context) {
    super.drawCursor(context);
    const node = this.byId.get(this.pinned);
    if (!this.look || !node || this.isHidden(node.id)) return;
    const reach = node.size + 6;
    context.save();
    context.strokeStyle = this.look.text;
    context.lineWidth = 1.5;
    context.strokeRect(node.x - reach, node.y - reach, 2 * reach, 2 * reach);
    context.restore();
  }

  // One column per step. Its head stays at the top of the view, whatever is moved or zoomed.
  drawBands(context) {
    if (!this.look) return;
    const { column } = this.content;
    const [top, bottom] = [0, this.canvas.clientHeight].map((y) => this.network.DOMtoCanvas({ x: 0, y }).y);
    const unit = 1 / this.network.getScale();
    context.save();
    for (const [i, band] of this.rows.entries()) {
      if (Math.abs(band.step) > this.upTo) continue;
      const left = band.x - column / 2;
      context.fillStyle = fade(this.look.text, i % 2 ? 0.0 : 0.035);
      context.fillRect(left, top, column, bottom - top);
      context.fillStyle = band[this.look.name];
      context.fillRect(left, top, column, 4 * unit);
      this.drawHead(context, band, left + 6 * unit, top + 8 * unit, column - 10 * unit, unit);
    }
    context.restore();
  }

  drawHead(context, { step, name, shown, available }, x, y, width, unit) {
    const title = step ? `${step < 0 ? "−" : "+"}${Math.abs(step)}` : "start";
    const count = shown < available ? `   ${shown} of ${available}` : "";
    context.textBaseline = "top";
    for (const [line, text] of [title + count, name].entries()) {
      context.font = `${line ? 400 : 600} ${11.5 * unit}px ${this.look.font}`;
      context.fillStyle = fade(this.look.text, line ? 0.7 : 1);
      context.fillText(clipped(context, text, width), x, y + 14 * line * unit);
    }
  }

  start() {
    this.frame(SCALES.least);
  }

  fit() {
    this.moved = true;
    this.frame(0);
  }

  // What is revealed, whole where that is not smaller than `least`; else as much of it as there is room for, around
  // the start.
  frame(least) {
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    if (!this.network || !width || !height) return;
    const { column, row } = this.content;
    const shown = [...this.byId.values()].filter(({ id }) => !this.isHidden(id));
    const xs = shown.map((n) => n.x), ys = shown.map((n) => n.y);
    const left = Math.min(...xs) - column / 2, right = Math.max(...xs) + column / 2;
    const top = Math.min(...ys) - row * 0.4, bottom = Math.max(...ys) + row * 0.6;
    const scale = Math.min(SCALES.most, Math.max(least, width / (right - left)), (height - HEAD) / (bottom - top));
    const half = width / scale / 2;
    const x = right - left <= 2 * half ? (left + right) / 2
      : Math.min(Math.max(this.byId.get(this.from).x, left + half), right - half);
    this.network.moveTo({ position: { x, y: (top + bottom - HEAD / scale) / 2 }, scale, animation: false });
  }

  first() {
    return this.byId.get(this.from);
  }

  // In a graph that is turned, so are the arrow keys.
  next(places, from, key) {
    const turn = ({ id, x, y }) => ({ id, x: y, y: x });
    const found = nearest(places.map(turn), turn(from), TURNED[key]);
    return found && this.byId.get(found.id);
  }

  key(event) {
    if (event.target !== this.stage || event.key !== " ") return super.key(event);
    event.preventDefault();
    return this.last && this.toggle();
  }

  destroy() {
    this.pause();
    super.destroy();
  }
}

function clipped(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length)}…`;
}
