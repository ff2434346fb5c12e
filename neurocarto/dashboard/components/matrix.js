const NAME_LENGTH = 17;
const LINE = 11;
const LEAST_FRAME = 7;

class Matrix {
  constructor(root) {
    this.root = root;
    this.plot = make("div", { class: "nc-canvas" });
    this.tip = make("div", { class: "nc-tip", hidden: "" });
    this.live = make("div", { class: "nc-visually-hidden", "aria-live": "polite" });
    this.legend = make("div", { class: "nc-legend" });
    const tools = make("div", { class: "nc-tools", role: "toolbar", "aria-label": "Matrix of classes" },
      button("+", "Zoom in", () => this.zoom(0.6)), button("−", "Zoom out", () => this.zoom(1 / 0.6)),
      button("Fit", "Show all classes", () => this.fit()), fullScreenButton(root));
    this.stage = make("div", { class: "nc-stage", tabindex: "0", role: "group" }, this.plot, this.tip);
    root.replaceChildren(make("div", { class: "nc-bar" }, this.legend, tools), this.stage, this.live);
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("blur", () => { this.cursor = undefined; this.tip.hidden = true; this.mark(); });
    this.stage.addEventListener("mouseleave", () => { this.tip.hidden = true; });
    this.resizes = new ResizeObserver(() => this.drawn && resized(this.plot)?.then(() => this.state && this.mark()));
    this.resizes.observe(this.stage);
    onThemeChange(root, () => this.drawn && this.state && this.apply());
  }

  async update(state) {
    this.state = state;
    const [content] = await Promise.all([published("matrix", state.version), loadScript("plotly.min.js")]);
    if (this.state !== state) return;
    if (this.drawn !== state.version) this.read(content);
    await this.apply();
    this.root.dataset.version = this.drawn = state.version;
  }

  read({ names, codes, counts, values, scale }) {
    Object.assign(this, { names, codes, counts, scale, cursor: undefined });
    this.places = new Map(names.map((name, i) => [name, i]));
    const flat = bytes(values);
    this.rows = names.map((_, i) => flat.subarray(i * names.length, (i + 1) * names.length));
    this.range = [-0.5, names.length - 0.5];
    this.drawn = undefined;
  }

  async apply() {
    const look = this.look = theme(this.root);
    const colours = this.scale[look.name];
    const trace = {
      type: "heatmap", z: this.rows, zmin: 0, zmax: 100, showscale: false, hoverinfo: "none",
      colorscale: colours.map((colour, i) => [i / (colours.length - 1), colour]),
    };
    const room = 20 + 5.8 * Math.min(NAME_LENGTH, Math.max(...this.names.map((name) => name.length)));
    const layout = {
      margin: { l: room, r: 4, t: 4, b: room }, dragmode: "pan", showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: look.font, size: 10.5, color: look.text },
      xaxis: this.axis(false), yaxis: this.axis(true),
    };
    const config = { displayModeBar: false, scrollZoom: true, doubleClick: "reset", responsive: false };
    this.pending = Plotly.react(this.plot, [trace], layout, config);
    await this.pending;
    if (!this.state) return;
    if (!this.listening) this.listen();
    this.drawLegend(colours);
    this.mark();
    const { first, second } = this.state;
    this.root.dataset.pair = this.pair() ? JSON.stringify([first, second]) : "";
    this.stage.setAttribute("aria-label", `Similarity of ${this.names.length} classes; ${this.state.summary}. `
      + "Arrow keys walk from cell to cell, with Shift by ten, Enter compares its two classes, plus and minus zoom, 0 shows everything.");
  }

  axis(down) {
    const [low, high] = this.range;
    const shown = this.drawn && this.plot._fullLayout[down ? "yaxis" : "xaxis"].range;
    return {
      range: shown || (down ? [high, low] : [low, high]), minallowed: low, maxallowed: high, showgrid: false, zeroline: false,
      tickmode: "array", tickvals: [], ticktext: [], ticks: "outside", ticklen: 3, tickcolor: this.look.text,
      tickangle: down ? 0 : -90, automargin: false,
    };
  }

  listen() {
    this.listening = true;
    this.plot.on("plotly_click", ({ points: [{ x, y }] }) => this.pick(y, x));
    this.plot.on("plotly_hover", ({ points: [{ x, y }], event }) => {
      const box = this.stage.getBoundingClientRect();
      this.tell(y, x, { x: event.clientX - box.left, y: event.clientY - box.top });
    });
    this.plot.on("plotly_unhover", () => { this.tip.hidden = true; });
    this.plot.on("plotly_relayout", (change) => { if (!("shapes" in change)) this.mark(); });
  }

  pair() {
    const [first, second] = [this.state.first, this.state.second].map((name) => this.places.get(name));
    return first === undefined || second === undefined ? undefined : [first, second];
  }

  // Names beside as many rows as have room for one, frames around the pair and the cursor.
  mark() {
    if (!this.plot._fullLayout) return;
    const { xaxis, yaxis } = this.plot._fullLayout;
    const [acrossX, acrossY] = [xaxis, yaxis].map((axis) => axis._length / Math.abs(axis.range[1] - axis.range[0]));
    const chosen = this.pair() ?? [this.places.get(this.state.first)];
    const frame = (row, column, line) => {
      const [right, down] = [acrossX, acrossY].map((pixels) => Math.max(0.5, LEAST_FRAME / pixels));
      return { type: "rect", x0: column - right, x1: column + right, y0: row - down, y1: row + down, line, layer: "above" };
    };
    const shapes = [];
    if (this.pair()) {
      const [row, column] = this.pair();
      shapes.push(frame(row, column, { color: this.look.text, width: 5 }),
        frame(row, column, { color: this.state.accent[this.look.name], width: 3 }),
        frame(column, row, { color: this.state.accent[this.look.name], width: 2, dash: "dot" }));
    }
    if (this.cursor) shapes.push(frame(...this.cursor, { color: this.look.background, width: 4 }),
      frame(...this.cursor, { color: this.look.text, width: 2, dash: "dash" }));
    const row = this.ticks(yaxis.range, acrossY, chosen[0]), column = this.ticks(xaxis.range, acrossX, chosen[1]);
    Plotly.relayout(this.plot, {
      shapes, "yaxis.tickvals": row.values, "yaxis.ticktext": row.names, "xaxis.tickvals": column.values, "xaxis.ticktext": column.names,
    });
  }

  ticks(range, pixels, chosen) {
    const low = Math.max(0, Math.ceil(Math.min(...range))), high = Math.min(this.names.length - 1, Math.floor(Math.max(...range)));
    const step = Math.max(1, Math.ceil(LINE / pixels));
    const values = [];
    for (let i = Math.ceil(low / step) * step; i <= high; i += step) {
      if (chosen === undefined || Math.abs(i - chosen) >= step) values.push(i);
    }
    if (chosen >= low && chosen <= high) values.push(chosen);
    return { values, names: values.map((i) => (i === chosen ? `<b>${tickText(this.names[i])}</b>` : tickText(this.names[i]))) };
  }

  drawLegend(colours) {
    const ramp = make("span", { class: "nc-shades" });
    ramp.style.background = `linear-gradient(to right, ${colours.join(",")})`;
    const notes = [make("span", {}, "0: nothing shared"), ramp, make("span", {}, "1: the same")];
    this.legend.replaceChildren(...notes);
  }

  describe(row, column) {
    const name = this.names[row], other = this.names[column];
    if (row === column) return [name, `${this.counts[row].toLocaleString("en")} important clusters`];
    return [`${name} · ${other}`, "", "", `similarity ${(this.rows[row][column] / 100).toFixed(2)}`];
  }

  tell(row, column, place) {
    const question = row === column ? undefined : `p:${this.codes[row]}:${this.codes[column]}`;
    showCard(this.tip, this.stage, place, question, this.describe(row, column));
  }

  pick(row, column) {
    const [first, second] = [this.names[row], this.names[column]];
    this.send(row === column ? { kind: "class", name: first } : { kind: "compare", first, second });
  }

  key(event) {
    const { key } = event;
    if (event.target !== this.stage || !this.drawn) return;
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    if (step) this.walk(step, event.shiftKey ? 10 : 1);
    else if (key === "Enter" && this.cursor) this.pick(...this.cursor);
    else if (key === "Escape") this.tip.hidden = true;
    else if (key === "+") this.zoom(0.6);
    else if (key === "-") this.zoom(1 / 0.6);
    else if (key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  walk(step, by) {
    const last = this.names.length - 1;
    const [row, column] = this.cursor ?? this.pair() ?? [this.places.get(this.state.first) ?? 0, 0];
    const cell = this.cursor ? [row + step[0] * by, column + step[1] * by] : [row, column];
    this.cursor = cell.map((at) => Math.min(last, Math.max(0, at)));
    this.reveal();
    const { xaxis, yaxis } = this.plot._fullLayout;
    const [y, x] = this.cursor;
    this.tell(y, x, { x: xaxis._offset + xaxis.l2p(x), y: yaxis._offset + yaxis.l2p(y) });
    this.live.textContent = this.describe(y, x).filter(Boolean).join(", ");
    this.mark();
  }

  // The cursor never leaves what is shown: the map moves along.
  reveal() {
    const [y, x] = this.cursor;
    const { xaxis, yaxis } = this.plot._fullLayout;
    const inside = (at, range) => at >= Math.min(...range) && at <= Math.max(...range);
    if (!inside(x, xaxis.range) || !inside(y, yaxis.range)) this.show(x, y, Math.abs(xaxis.range[1] - xaxis.range[0]));
  }

  zoom(factor) {
    if (!this.drawn) return;
    const { range } = this.plot._fullLayout.xaxis, rows = this.plot._fullLayout.yaxis.range;
    const chosen = this.cursor ?? this.pair();
    const [y, x] = factor < 1 && chosen ? chosen : [(rows[0] + rows[1]) / 2, (range[0] + range[1]) / 2];
    this.show(x, y, Math.max(4, (range[1] - range[0]) * factor));
  }

  show(x, y, width) {
    const [low, high] = this.range;
    const span = Math.min(width, high - low);
    const start = (at) => Math.min(Math.max(at - span / 2, low), high - span);
    Plotly.relayout(this.plot, { "xaxis.range": [start(x), start(x) + span], "yaxis.range": [start(y) + span, start(y)] });
  }

  fit() {
    if (this.drawn) this.show(0, 0, Infinity);
  }

  destroy() {
    this.state = undefined;
    this.resizes.disconnect();
    Promise.resolve(this.pending).finally(() => this.plot._fullLayout && Plotly.purge(this.plot));
  }
}

// Plotly reads its texts as a little HTML: names are shown as they are.
function tickText(name) {
  const short = name.length > NAME_LENGTH ? `${name.slice(0, NAME_LENGTH - 1)}…` : name;
  return short.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
