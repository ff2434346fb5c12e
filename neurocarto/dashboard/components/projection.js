
const DIM = { all: 0.16, context: 0.28 };
const FULL = { all: 0.8, context: 0.9 };

function decoded(values) {
  if (!values?.bdata) return values ?? [];
  const buffer = bytes(values.bdata).buffer;
  const kinds = { f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, i4: Int32Array };
  return new kinds[values.dtype](buffer);
}

const hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl"));

class Projection {
  constructor(root) {
    this.root = root;
    this.plot = make("div", { class: "nc-canvas" });
    this.tip = make("div", { class: "nc-tip", hidden: "" });
    this.ring = make("div", { class: "nc-ring", hidden: "" });
    this.live = make("div", { class: "nc-visually-hidden", "aria-live": "polite" });
    this.legend = make("div", { class: "nc-legend" });
    this.lasso = button("Lasso", "Lasso: draw around neurons to select them", () => this.setMode("lasso"));
    this.pan = button("Move", "Move: drag to pan, click to select", () => this.setMode("pan"));
    const tools = make("div", { class: "nc-tools", role: "toolbar", "aria-label": "Projection" },
      this.pan, this.lasso,
      button("+", "Zoom in", () => this.zoom(0.7)), button("−", "Zoom out", () => this.zoom(1 / 0.7)),
      button("Fit", "Show the whole map", () => this.fit()));
    this.stage = make("div", { class: "nc-stage", tabindex: "0", role: "group" },
      this.plot, this.ring, this.tip);
    this.selects = {};
    this.choices = make("div", { class: "nc-choices" });
    root.replaceChildren(this.choices, tools, this.stage, this.legend, this.live);
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("blur", () => this.leave());
    this.stage.addEventListener("mouseleave", () => { this.tip.hidden = true; });
    this.resizes = new ResizeObserver(() => this.drawn && Plotly.Plots.resize(this.plot));
    this.resizes.observe(this.stage);
    onThemeChange(root, () => this.drawn && this.apply());
  }

  async update(state) {
    this.state = state;
    const [content, colours] = await Promise.all([published("projection", state.version),
      published("colours", state.colours), loadScript("plotly.min.js")]);
    if (this.state !== state) return;
    this.colours = colours;
    this.codes = new Int16Array(bytes(colours.codes).buffer);
    if (this.drawn !== state.version) await this.draw(content, state.version);
    await this.apply();
  }

  async draw(content, version) {
    const { data, layout } = content.figure;
    Object.assign(this, { content, layout, traces: data });
    [this.x, this.y, this.layer] = [data[0].x, data[0].y, data[0].marker.color].map(decoded);
    this.cluster = new Int32Array(bytes(content.clusters).buffer);
    Object.assign(data[0], { x: this.x, y: this.y });
    data[0].marker.color = this.layer;
    if (!hasWebGL()) for (const trace of data) trace.type = "scatter";
    this.mode = "pan";
    const config = { displayModeBar: false, scrollZoom: true, doubleClick: "reset", responsive: false };
    await Plotly.newPlot(this.plot, data, { ...layout, dragmode: this.mode }, config);
    this.plot.removeAllListeners?.("plotly_click");
    this.plot.on("plotly_click", ({ points, event }) => this.pick(points[0].pointNumber, event.shiftKey || event.ctrlKey));
    this.plot.on("plotly_hover", ({ points, event }) => this.hover(points[0].pointNumber, event));
    this.plot.on("plotly_unhover", () => { this.tip.hidden = true; });
    this.plot.on("plotly_selected", (event) => this.lassoed(event));
    this.plot.on("plotly_relayout", () => this.placeRing());
    this.drawn = version;
    this.setMode("pan");
  }

  subset(mask) {
    const bits = bytes(mask);
    const x = [], y = [], color = [];
    for (let i = 0; i < this.x.length; i++) {
      if (hasBit(bits, i) && !Number.isNaN(this.x[i])) { x.push(this.x[i]); y.push(this.y[i]); color.push(this.codes[i]); }
    }
    return { x, y, color };
  }

  async apply() {
    const { state, content } = this;
    this.tip.hidden = true;
    const look = theme(this.root);
    const accent = content.accent[look.name];
    const [all, context, selected, neuron] = this.traces.map((trace) => ({ ...trace, marker: { ...trace.marker } }));
    const standing = state.context ? this.subset(state.context) : { x: [], y: [], color: [] };
    const chosen = this.subset(state.selected);
    const one = state.neuron ?? -1;
    const opacity = chosen.x.length ? DIM : FULL;
    all.marker.opacity = state.context || chosen.x.length ? DIM.all : FULL.all;
    Object.assign(context, { x: standing.x, y: standing.y });
    Object.assign(context.marker, { color: standing.color, opacity: opacity.context });
    const scale = evenBands(this.colours[look.name]);
    all.marker.color = this.codes;
    for (const trace of [all, context]) Object.assign(trace.marker, scale);
    Object.assign(selected, { x: chosen.x, y: chosen.y });
    const crowd = chosen.x.length > 400;
    selected.marker.color = accent;
    selected.marker.size = crowd ? 5 : chosen.x.length > 40 ? 8 : 11;
    selected.marker.line = { width: crowd ? 0.5 : 1.2, color: look.background };
    Object.assign(neuron, one >= 0 && !Number.isNaN(this.x[one]) ? { x: [this.x[one]], y: [this.y[one]] } : { x: [], y: [] });
    neuron.marker.color = accent;
    neuron.marker.line = { width: 2.5, color: look.text };
    const shapes = state.lasso?.length ? [{
      type: "path", path: `M${state.lasso.map((p) => p.join(",")).join("L")}Z`,
      line: { color: accent, width: 1.5, dash: "dot" }, fillcolor: accent, opacity: 0.12, layer: "below",
    }] : [];
    await Plotly.react(this.plot, [all, context, selected, neuron],
      { ...this.layout, dragmode: this.mode, shapes, selections: [], selectionrevision: (this.revision = (this.revision ?? 0) + 1),
        newselection: { line: { color: accent, width: 2, dash: "dot" } } });
    this.drawLegend();
    this.drawChoices();
    this.root.dataset.colours = state.colours;
    this.root.dataset.highlighted = chosen.x.length;
    this.root.dataset.neuron = one >= 0 ? one : "";
    this.root.dataset.version = this.drawn;
    this.stage.setAttribute("aria-label", `Projection of ${this.x.length} neurons; ${state.summary}. ` +
      "Arrow keys walk from neuron to neuron, Enter selects, Shift and Enter adds, plus and minus zoom, 0 shows everything.");
    this.placeRing();
  }

  drawLegend() {
    const { low, high, legend, light, dark } = this.colours;
    const bar = make("span", { class: "nc-ramp", role: "img", "aria-label": `Colours: from ${low} to ${high}` });
    for (const [code, title] of legend.entries()) {
      bar.append(make("i", { style: `--light:${light[code]};--dark:${dark[code]}`, title }));
    }
    this.legend.replaceChildren(make("span", {}, low), bar, make("span", {}, high));
  }

  // Native selects: they bring their own keyboard and their own voice. Made once, so that they keep the focus.
  drawChoices() {
    for (const [name, [title, value, options]] of Object.entries(this.state.choices)) {
      this.selects[name] ??= this.makeChoice(name, title, options);
      this.selects[name].value = value;
    }
  }

  makeChoice(name, title, options) {
    const select = make("select", { "aria-label": title, "data-choice": name },
      ...Object.entries(options).map(([key, text]) => new Option(`${title}: ${text}`, key)));
    select.addEventListener("change", () => this.send({ kind: "choose", name, value: select.value }));
    this.choices.append(select);
    return select;
  }

  describe(i) {
    const layer = this.content.layers[this.layer[i]];
    const cluster = this.cluster[i];
    return [`${layer.name}/${i - layer.first}`,
      cluster < 0 ? "in no cluster" : `${this.content.labels[cluster]} (cluster ${cluster})`];
  }

  hover(i, event) {
    const box = this.stage.getBoundingClientRect();
    fillTip(this.tip, this.describe(i));
    placeTip(this.tip, this.stage, event.clientX - box.left, event.clientY - box.top);
  }

  pick(i, add) {
    this.cursor = i;
    this.send({ kind: "click", neuron: i, add: Boolean(add) });
  }

  lassoed(event) {
    const line = event?.lassoPoints;
    if (!line) return;
    this.send({ kind: "lasso", polygon: thinned(line.x, line.y, 400) });
    this.forgetDrawing();
  }

  // Plotly keeps what was drawn, with handles, and dims the rest by itself; what is selected is ours to show.
  async forgetDrawing() {
    await Plotly.update(this.plot, { selectedpoints: null }, { selections: [], dragmode: "pan" });
    await Plotly.relayout(this.plot, { dragmode: this.mode });
  }

  setMode(mode) {
    this.mode = mode;
    this.pan.setAttribute("aria-pressed", mode === "pan");
    this.lasso.setAttribute("aria-pressed", mode === "lasso");
    if (this.drawn) Plotly.relayout(this.plot, { dragmode: mode });
  }

  zoom(factor) {
    const change = {};
    for (const axis of ["xaxis", "yaxis"]) {
      const [low, high] = this.plot._fullLayout[axis].range;
      const centre = (low + high) / 2;
      change[`${axis}.range`] = [centre + (low - centre) * factor, centre + (high - centre) * factor];
    }
    Plotly.relayout(this.plot, change);
  }

  fit() {
    Plotly.relayout(this.plot, { "xaxis.autorange": true, "yaxis.autorange": true });
  }

  key(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.target !== this.stage || !this.drawn) return;
    if (arrows[event.key]) this.walk(...arrows[event.key]);
    else if (event.key === "Enter" && this.cursor !== undefined) this.pick(this.cursor, event.shiftKey);
    else if (event.key === "Escape") this.send({ kind: "clear" });
    else if (event.key === "+") this.zoom(0.7);
    else if (event.key === "-") this.zoom(1 / 0.7);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  // The nearest neuron in a direction, seen on the screen: distance counts, being off the direction counts double.
  walk(right, up) {
    const { x, y, cursor } = this;
    const axes = this.plot._fullLayout;
    const fromX = cursor === undefined ? (axes.xaxis.range[0] + axes.xaxis.range[1]) / 2 : x[cursor];
    const fromY = cursor === undefined ? (axes.yaxis.range[0] + axes.yaxis.range[1]) / 2 : y[cursor];
    let best = -1, least = Infinity;
    for (let i = 0; i < x.length; i++) {
      const dx = x[i] - fromX, dy = y[i] - fromY;
      const along = dx * right + dy * up, across = Math.abs(dx * up) + Math.abs(dy * right);
      if (i === cursor || !(along > 0)) continue;
      if (along + 2 * across < least) { least = along + 2 * across; best = i; }
    }
    if (best < 0) return;
    this.cursor = best;
    this.placeRing();
    this.live.textContent = this.describe(best).join(", ");
    fillTip(this.tip, this.describe(best));
    placeTip(this.tip, this.stage, parseFloat(this.ring.style.left), parseFloat(this.ring.style.top));
  }

  placeRing() {
    const show = this.cursor !== undefined && document.activeElement === this.stage;
    this.ring.hidden = !show;
    if (!show) return;
    const { xaxis, yaxis } = this.plot._fullLayout;
    this.ring.style.left = `${xaxis._offset + xaxis.l2p(this.x[this.cursor])}px`;
    this.ring.style.top = `${yaxis._offset + yaxis.l2p(this.y[this.cursor])}px`;
  }

  leave() {
    this.ring.hidden = this.tip.hidden = true;
  }

  destroy() {
    this.resizes.disconnect();
    if (this.drawn) Plotly.purge(this.plot);
  }
}

// A Plotly colour scale with one even band per code.
function evenBands(colours) {
  const n = colours.length;
  return { cmin: -0.5, cmax: n - 0.5, colorscale: colours.flatMap((c, i) => [[i / n, c], [(i + 1) / n, c]]) };
}

// A lasso drawn slowly has thousands of corners; the server keeps the 32 that matter of at most `most`.
function thinned(x, y, most) {
  const step = Math.max(1, Math.ceil(x.length / most));
  const polygon = [];
  for (let i = 0; i < x.length; i += step) polygon.push([+x[i].toPrecision(7), +y[i].toPrecision(7)]);
  return polygon;
}

export default component(Projection);
