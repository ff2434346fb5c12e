
const THUMB = 42;
const MOST_WITH_THUMBS = 500;
const TRAVEL = 700; // milliseconds from one map to the next
const MOST_POINTS = 12_000; // that Plotly is given at once: it takes about 10 ms for each 1,000
const CELL = 4; // pixels: of points this close, the lower ones are hidden anyway
const BESIDE = 8; // what lies beside the view counts as if so many were before it in its cell
const MARKS = {
  disc: (context, x, y, half) => context.arc(x, y, half, 0, 2 * Math.PI),
  square: (context, x, y, half) => context.rect(x - half, y - half, 2 * half, 2 * half),
  diamond: (context, x, y, half) => {
    for (const [right, down] of [[0, -half], [half, 0], [0, half], [-half, 0]]) context.lineTo(x + right, y + down);
    context.closePath();
  },
};
const DIM = { all: 0.14, context: 0.5 };
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
    this.fresh = true; // until the first drawing of a run
    this.plot = make("div", { class: "nc-canvas" });
    this.marks = make("canvas", { class: "nc-marks", "aria-hidden": "true" });
    this.thumbs = make("div", { class: "nc-thumbs", "aria-hidden": "true" });
    this.tip = make("div", { class: "nc-tip", hidden: "" });
    this.ring = make("div", { class: "nc-ring", hidden: "" });
    this.live = make("div", { class: "nc-visually-hidden", "aria-live": "polite" });
    this.legend = make("div", { class: "nc-legend" });
    this.modes = {
      pan: button("Move", "Move: drag to pan, click to select", () => this.setMode("pan")),
      lasso: button("Lasso", "Lasso: draw around neurons to select them", () => this.setMode("lasso")),
      select: button("Box", "Box: draw a rectangle to select the neurons in it", () => this.setMode("select")),
    };
    const tools = make("div", { class: "nc-tools", role: "toolbar", "aria-label": "Projection" },
      ...Object.values(this.modes),
      button("+", "Zoom in", () => this.zoom(0.7)), button("−", "Zoom out", () => this.zoom(1 / 0.7)),
      button("Fit", "Show the whole map", () => this.fit()), fullScreenButton(root));
    this.outline = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.outline.setAttribute("class", "nc-outline");
    this.stage = make("div", { class: "nc-stage", tabindex: "0", role: "group" },
      this.plot, this.marks, this.thumbs, this.outline, this.ring, this.tip);
    this.selects = {};
    this.choices = make("div", { class: "nc-choices" });
    this.play = button("▶", "Play how the map came about", () => this.playMaps());
    this.maps = new Controls((name, value) => this.choose(name, this.isLast(value) ? "" : value));
    this.maps.root.prepend(this.play);
    root.replaceChildren(make("div", { class: "nc-bar" }, this.choices, tools), this.stage, this.legend, this.maps.root, this.live);
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("pointerdown", (event) => this.beginDrawing(event), true);
    for (const kind of ["mousedown", "touchstart"]) {
      this.stage.addEventListener(kind, (event) => { if (this.mode !== "pan") event.stopPropagation(); }, true);
    }
    this.stage.addEventListener("blur", () => this.leave());
    this.stage.addEventListener("mouseleave", () => { this.tip.hidden = true; light(undefined, this); });
    this.resizes = new ResizeObserver(() => resized(this.plot));
    this.resizes.observe(this.stage);
    this.unlight = onLight((cluster) => this.lit(cluster), this);
    onThemeChange(root, () => !this.fresh && this.state && this.apply());
  }

  isLast(map) {
    return Number(map) === this.state.fractions.length - 1;
  }

  async update(state) {
    this.state = state;
    const [content, colours] = await Promise.all([published("projection", state.version),
      published("colours", state.colours), loadScript("plotly.min.js")]);
    if (this.state !== state) return; // another has come since, or the view is gone
    // The same arrays again where nothing has changed, so that Plotly need not look at all points anew.
    if (this.colours !== colours) this.codes = new Int16Array(bytes(colours.codes).buffer);
    this.colours = colours;
    if (this.drawn !== state.version) this.read(content, state.version);
    await this.apply();
    if (this.state === state) await this.showMap(state.snapshot ?? state.fractions.length - 1, false);
  }

  read(content, version) {
    const { data, layout } = content.figure;
    Object.assign(this, { content, layout, traces: data, frames: undefined, cursor: undefined, lighted: undefined, fresh: true });
    [this.x, this.y, this.layer] = [data[0].x, data[0].y, data[0].marker.color].map(decoded);
    this.last = { x: this.x, y: this.y };
    this.cluster = new Int32Array(bytes(content.clusters).buffer);
    Object.assign(data[0], { x: this.x, y: this.y });
    data[0].marker.color = this.layer;
    if (!hasWebGL()) for (const trace of data) trace.type = "scatter";
    this.order = shuffled(this.x.length);
    this.drawn = version;
    this.at = undefined;
    this.setMode("pan");
  }

  listen() {
    this.fresh = false;
    const neuron = ({ points: [{ curveNumber, pointNumber }] }) => this.traced[curveNumber][pointNumber];
    this.plot.on("plotly_click", (at) => this.pick(neuron(at), at.event.shiftKey || at.event.ctrlKey));
    this.plot.on("plotly_hover", (at) => this.hover(neuron(at), at.event));
    this.plot.on("plotly_unhover", () => { this.tip.hidden = true; light(undefined, this); });
    const follow = () => { this.drawMarks(); this.placeThumbs(); };
    for (const moved of ["plotly_relayouting", "plotly_afterplot"]) this.plot.on(moved, follow);
    this.plot.on("plotly_relayout", () => { this.drawMarks(); this.placeRing(); this.showThumbs(); this.refine(); });
  }

  indices(mask) {
    const bits = bytes(mask);
    const found = [];
    for (let i = 0; i < this.x.length; i++) if (hasBit(bits, i)) found.push(i);
    return found;
  }

  places(neurons) {
    return { x: Float32Array.from(neurons, (i) => this.x[i]), y: Float32Array.from(neurons, (i) => this.y[i]) };
  }

  // Which neurons are drawn in each trace, those that keep their colour above the rest. Of more than Plotly draws at
  // once, the first in every cell of the view, then the second in every cell, and so on; some beside the view too,
  // for whoever moves it. What stands out comes first, and is marked besides whether it is drawn here or not.
  trace() {
    const { x, y, order } = this, first = new Uint8Array(x.length);
    for (const i of this.groups.context) first[i] = 1;
    const chosen = x.length > MOST_POINTS ? spread(x, y, first, order, this.view()) : order.map((_, i) => i);
    this.traced = [chosen.filter((i) => !first[i]), chosen.filter((i) => first[i])];
  }

  // What of the map is seen, and on how many pixels; before the first drawing, all of it.
  view() {
    const { clientWidth: width, clientHeight: height } = this.stage, axes = this.plot._fullLayout;
    const [[left, right], [low, high]] = this.fresh ? [extent(this.x), extent(this.y)] : [axes.xaxis.range, axes.yaxis.range];
    const scale = Math.min(width / (right - left), height / (high - low));
    return { left: (left + right - width / scale) / 2, low: (low + high - height / scale) / 2, scale, width, height };
  }

  // Closer up there is room for more of the neurons.
  async refine(moved = false) {
    if (this.x.length <= MOST_POINTS || !this.state) return;
    if (moved) this.shown = undefined;
    await this.drawPoints(this.look);
    if (this.state) this.drawLegend();
  }

  // How many neurons are in sight, and how many of them have a point.
  inSight() {
    const { left, low, scale, width, height } = this.view();
    const seen = (i) => this.x[i] >= left && this.x[i] <= left + width / scale && this.y[i] >= low && this.y[i] <= low + height / scale;
    let all = 0;
    for (let i = 0; i < this.x.length; i++) all += seen(i);
    return [this.traced.reduce((sum, trace) => sum + trace.filter(seen).length, 0), all];
  }

  async apply() {
    const { state, content } = this;
    this.tip.hidden = true;
    const look = (this.look = theme(this.root));
    const one = state.neuron ?? -1;
    this.groups = {
      context: state.context ? this.indices(state.context) : [],
      related: state.related, selected: this.indices(state.selected),
      fires: this.firing(), lit: this.lightedNeurons(), neuron: one >= 0 ? [one] : [],
    };
    await this.drawPoints(look);
    if (this.state !== state) return;
    this.drawMarks();
    this.drawLegend();
    this.drawChoices();
    this.drawModes(state.snapshot === null);
    this.root.dataset.colours = state.colours;
    this.root.dataset.highlighted = this.groups.selected.filter((i) => !Number.isNaN(this.x[i])).length;
    this.root.dataset.firing = this.groups.fires.length;
    this.root.dataset.related = state.related.join(" ");
    this.root.dataset.neuron = one >= 0 ? one : "";
    this.root.dataset.version = this.drawn;
    this.stage.setAttribute("aria-label", `Projection of ${this.x.length} neurons; ${state.summary}. ` +
      "Arrow keys walk from neuron to neuron, Enter selects, Shift and Enter adds, B at two neurons selects the box between them, " +
      "Shift and arrows move, plus and minus zoom, 0 shows everything.");
    this.placeRing();
    this.showThumbs();
  }

  // Plotly draws the points, which takes most of the time: only when what it draws has changed.
  async drawPoints(look) {
    const { state } = this, standing = this.groups.selected.length > 0 || this.groups.fires.length > 0;
    const view = this.x.length > MOST_POINTS ? Object.values(this.view()) : [];
    const shown = [this.drawn, state.colours, look.name, look.background, standing, state.context, ...view].join(" ");
    if (!this.fresh && shown === this.shown) return;
    this.trace();
    const opacities = [state.context || standing ? DIM.all : FULL.all, (standing ? DIM : FULL).context];
    const traces = this.traced.map((neurons, t) => ({ ...this.traces[t], ...this.places(neurons), marker: {
      ...this.traces[t].marker, ...evenBands(this.colours[look.name]), color: Int16Array.from(neurons, (i) => this.codes[i]), opacity: opacities[t] } }));
    const config = { displayModeBar: false, scrollZoom: true, doubleClick: "reset", responsive: false };
    await this.plotly(() => (this.fresh ? Plotly.newPlot : Plotly.react)(this.plot, traces, this.layout, config));
    this.shown = shown;
    if (this.fresh && this.state) this.listen();
  }

  // Plotly is not finished when it returns: what comes next waits for it, and so does the end of the view.
  plotly(call) {
    const next = () => (this.state ? call() : undefined);
    this.pending = Promise.resolve(this.pending).then(next, next);
    return this.pending;
  }

  // What stands out lies on a canvas of its own above the points: a click need not draw these again.
  drawMarks() {
    if (this.fresh || !this.state) return;
    const { clientWidth: width, clientHeight: height } = this.stage, ratio = devicePixelRatio;
    if (this.marks.width !== width * ratio || this.marks.height !== height * ratio) Object.assign(this.marks, { width: width * ratio, height: height * ratio });
    const context = this.marks.getContext("2d"), { look, groups } = this;
    const accent = this.content.accent[look.name];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.drawFiring(context, this.content.firing[look.name]);
    if (this.state.snapshot === null) this.drawLasso(context, accent);
    const many = groups.selected.length, half = many > 400 ? 2.5 : many > 40 ? 4 : 5.5;
    this.mark(context, groups.selected, MARKS.disc, half, accent, look.background, many > 400 ? 0.5 : 1.2);
    this.mark(context, groups.related, MARKS.disc, 6.5, undefined, look.text, 2);
    this.mark(context, groups.lit, MARKS.square, 6.5, undefined, look.text, 2);
    this.mark(context, groups.neuron, MARKS.diamond, 9, accent, look.text, 2.5);
  }

  // The map as it is seen, drawn anew by Plotly with what stands out among its points, as the address of a picture.
  async picture(format) {
    if (this.fresh || !this.state) return undefined;
    const { look, groups, stage } = this, accent = this.content.accent[look.name], many = groups.selected.length;
    const marks = [
      [groups.selected, { symbol: "circle", size: many > 400 ? 5 : many > 40 ? 8 : 11, color: accent, line: { color: look.background, width: many > 400 ? 0.5 : 1.2 } }],
      [groups.related, { symbol: "circle-open", size: 13, color: look.text, line: { width: 2 } }],
      [groups.neuron, { symbol: "diamond", size: 18, color: accent, line: { color: look.text, width: 2.5 } }],
    ].map(([neurons, marker]) => ({ mode: "markers", ...this.places(neurons), marker, showlegend: false }));
    const lasso = this.state.snapshot === null && this.state.lasso?.length ? [{ type: "path", path: `M${this.state.lasso.map((at) => at.join(",")).join("L")}Z`,
      line: { color: accent, width: 1.5, dash: "dot" } }] : [];
    const data = [...this.plot.data.map((trace) => ({ ...trace, type: "scatter" })), ...marks];
    const axis = (name) => ({ ...this.layout[name], range: [...this.plot._fullLayout[name].range], autorange: false });
    const layout = { ...this.layout, xaxis: axis("xaxis"), yaxis: axis("yaxis"), shapes: lasso, paper_bgcolor: look.background, plot_bgcolor: look.background };
    return Plotly.toImage({ data, layout }, { format, width: stage.clientWidth, height: stage.clientHeight, scale: format === "png" ? 2 : 1 });
  }

  mark(context, neurons, shape, half, fill, line, width) {
    Object.assign(context, { fillStyle: fill, strokeStyle: line, lineWidth: width });
    for (const i of neurons) {
      const [x, y] = this.pixel(i);
      if (Number.isNaN(x)) continue;
      context.beginPath();
      shape(context, x, y, half);
      if (fill) context.fill();
      context.stroke();
    }
  }

  // What fires on the visitor's image, the strongest last and largest: neurons of one cluster are lit alike.
  drawFiring(context, colour) {
    for (const [i, strength] of this.groups.fires) {
      const [x, y] = this.pixel(i);
      if (Number.isNaN(x)) continue;
      context.globalAlpha = 0.3 + 0.7 * strength;
      this.mark(context, [i], MARKS.disc, 1.8 + 2.6 * strength, colour, this.look.background, 0.5);
    }
    context.globalAlpha = 1;
  }

  firing() {
    const { fires } = this.state, found = [];
    if (Object.keys(fires).length) this.cluster.forEach((cluster, i) => { if (cluster in fires) found.push([i, fires[cluster]]); });
    return found.sort(([, a], [, b]) => a - b);
  }

  drawLasso(context, accent) {
    if (!this.state.lasso?.length) return;
    const { xaxis, yaxis } = this.plot._fullLayout;
    context.beginPath();
    for (const [x, y] of this.state.lasso) context.lineTo(xaxis._offset + xaxis.l2p(x), yaxis._offset + yaxis.l2p(y));
    context.closePath();
    Object.assign(context, { fillStyle: accent, strokeStyle: accent, lineWidth: 1.5, globalAlpha: 0.12 });
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([2, 3]);
    context.stroke();
    context.setLineDash([]);
  }

  drawModes(final) {
    for (const [name, control] of Object.entries(this.modes)) {
      control.setAttribute("aria-pressed", name === this.mode);
      control.disabled = name !== "pan" && !final;
      control.title = control.disabled ? "Only on the last map, after all images" : control.getAttribute("aria-label");
    }
    if (!final && this.mode !== "pan") this.setMode("pan");
  }

  drawLegend() {
    const { low, high, legend, light: pale, dark } = this.colours;
    const bar = make("span", { class: "nc-ramp", role: "img", "aria-label": `Colours: from ${low} to ${high}` });
    for (const [code, title] of legend.entries()) {
      bar.append(make("i", { style: `--light:${pale[code]};--dark:${dark[code]}`, title }));
    }
    const marks = this.groups.neuron.length ? [make("span", {}, "◆ the neuron  ○ its nearest in the embedding")] : [];
    if (this.groups.fires.length) marks.push(firingNote(this.content.firing[this.look.name], `${this.groups.fires.length.toLocaleString("en")} neurons fire on your image`));
    const [points, neurons] = this.inSight().map((count) => count.toLocaleString("en"));
    if (points !== neurons) marks.push(make("span", {}, `${points} of the ${neurons} neurons in sight are drawn: zoom in to see all`));
    this.legend.replaceChildren(make("span", {}, low), bar, make("span", {}, high), ...marks);
  }

  // Native selects: they bring their own keyboard and their own voice. Made once, so that they keep the focus.
  drawChoices() {
    for (const [name, [title, value, options]] of Object.entries(this.state.choices)) {
      const select = (this.selects[name] ??= this.makeChoice(name, title));
      select.replaceChildren(...Object.entries(options).map(([key, text]) => new Option(`${title}: ${text}`, key)));
      select.value = value;
    }
  }

  makeChoice(name, title) {
    const select = make("select", { "aria-label": title, "data-choice": name });
    select.addEventListener("change", () => this.choose(name, select.value));
    this.choices.append(select);
    return select;
  }

  choose(name, value) {
    this.send({ kind: "choose", name, value });
  }

  describe(i) {
    const layer = this.content.layers[this.layer[i]];
    const cluster = this.cluster[i];
    return [`${layer.name}/${i - layer.first}`,
      cluster < 0 ? "in no cluster" : `${called(cluster, this.content.labels[cluster])} (cluster ${cluster})`];
  }

  hover(i, event) {
    const box = this.stage.getBoundingClientRect();
    if (this.drawing) return;
    light(this.cluster[i] < 0 ? undefined : this.cluster[i], this);
    showCard(this.tip, this.stage, { x: event.clientX - box.left, y: event.clientY - box.top }, `n:${i}`, this.describe(i));
  }

  // The neurons of the cluster that is under the mouse in another view.
  lit(cluster) {
    if (this.fresh || cluster === this.lighted) return;
    this.lighted = cluster;
    if (this.lightTimer) return;
    this.lightTimer = setTimeout(() => {
      this.lightTimer = undefined;
      this.groups.lit = this.lightedNeurons();
      this.root.dataset.lit = this.groups.lit.length;
      this.drawMarks();
    }, 40);
  }

  lightedNeurons() {
    const found = [];
    if (this.lighted !== undefined) this.cluster.forEach((cluster, i) => { if (cluster === this.lighted) found.push(i); });
    return found;
  }

  pick(i, add) {
    this.cursor = i;
    this.tip.hidden = true;
    this.send({ kind: "click", neuron: i, add: Boolean(add) });
  }

  // The maps after a part of the images are asked for when they are first looked at.
  async showMap(number, smoothly) {
    const { fractions } = this.state;
    const text = (i) => `Map after ${Math.round(fractions[i] * 100)} % of the images`;
    this.maps.update({ map: { min: 0, max: fractions.length - 1, step: 1, value: number, text: text(number) },
      pictures: { value: this.state.pictures, text: "Patches when zoomed in" } });
    const known = this.at ?? fractions.length - 1;
    this.root.dataset.map = number;
    if (number === known) return;
    this.at = number;
    this.frames ??= unpacked(await ask("maps"), this.last);
    if (this.at === number && this.state) await this.moveTo(this.frames[number], smoothly || known !== undefined);
  }

  async moveTo(target, smoothly) {
    const { xaxis, yaxis } = this.plot._fullLayout;
    // What is seen stays where it is: else every step would choose its own range.
    await this.plotly(() => Plotly.relayout(this.plot, { "xaxis.range": [...xaxis.range], "yaxis.range": [...yaxis.range] }));
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const duration = calm || !smoothly ? 0 : TRAVEL, begin = performance.now();
    const start = { x: this.x, y: this.y }, run = (this.run = {});
    this.thumbs.replaceChildren();
    // As many frames as the machine draws in the time.
    for (let passed = 0; passed < 1 && this.run === run;) {
      passed = duration ? Math.min(1, (performance.now() - begin + 16) / duration) : 1;
      const share = (1 - Math.cos(Math.PI * passed)) / 2;
      [this.x, this.y] = ["x", "y"].map((axis) => (passed === 1 ? target[axis] : between(start[axis], target[axis], share)));
      const places = this.traced.map((neurons) => this.places(neurons));
      await this.plotly(() => Plotly.restyle(this.plot, { x: places.map(({ x }) => x), y: places.map(({ y }) => y) }));
      if (this.run === run) this.drawMarks();
      await new Promise(requestAnimationFrame);
    }
    if (this.run !== run) return;
    this.placeRing();
    this.showThumbs();
    this.refine(true);
  }

  async playMaps() {
    const count = this.state.fractions.length;
    if (this.playing) { this.playing = false; return; }
    this.playing = true;
    this.play.textContent = "■";
    for (let i = 0; i < count && this.playing; i++) {
      await this.showMap(i, true);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    if (!this.state) return;
    if (!this.playing) this.choose("map", this.isLast(this.at) ? "" : String(this.at));
    else if (this.state.snapshot !== null) this.choose("map", "");
    this.playing = false;
    this.play.textContent = "▶";
  }

  // Patches instead of points where few enough neurons are seen; none covers another.
  showThumbs() {
    const chosen = this.state.pictures ? this.thumbsInView() : [];
    this.root.dataset.thumbs = chosen.length;
    const look = theme(this.root), colours = this.colours[look.name];
    const marked = new Set([...this.groups.selected, ...this.groups.neuron]);
    this.thumbs.replaceChildren(...chosen.map((i) => {
      const colour = marked.has(i) ? this.content.accent[look.name] : colours[this.codes[i]];
      const thumb = make("img", { class: "nc-thumb", alt: "", style: `border-color:${colour}` });
      thumb.neuron = i;
      ask(`t:${i}`).then((picture) => { if (picture) thumb.src = picture; else thumb.remove(); });
      return thumb;
    }));
    this.placeThumbs();
  }

  thumbsInView() {
    const seen = [], { clientWidth: width, clientHeight: height } = this.stage;
    for (let i = 0; i < this.x.length; i++) {
      const [left, top] = this.pixel(i);
      if (left > 0 && top > 0 && left < width && top < height && seen.push([i, left, top]) > MOST_WITH_THUMBS) return [];
    }
    const first = new Set([...this.groups.neuron, ...this.groups.selected]), next = new Set(this.groups.context);
    const order = (i) => (first.has(i) ? 0 : next.has(i) ? 1 : 2);
    seen.sort(([a], [b]) => order(a) - order(b) || a - b);
    const kept = [];
    for (const place of seen) {
      if (kept.every(([, x, y]) => Math.abs(x - place[1]) > THUMB || Math.abs(y - place[2]) > THUMB)) kept.push(place);
    }
    return kept.map(([i]) => i);
  }

  placeThumbs() {
    for (const thumb of this.thumbs.children) {
      const [left, top] = this.pixel(thumb.neuron);
      thumb.style.transform = `translate(${left - THUMB / 2}px, ${top - THUMB / 2}px)`;
    }
  }

  pixel(i) {
    const { xaxis, yaxis } = this.plot._fullLayout;
    return [xaxis._offset + xaxis.l2p(this.x[i]), yaxis._offset + yaxis.l2p(this.y[i])];
  }

  // Drawn by ourselves: Plotly would look for what is inside at every move of the mouse, which the server does once.
  beginDrawing(event) {
    if (this.mode === "pan" || event.button || this.fresh) return;
    const box = this.stage.getBoundingClientRect(), points = [];
    const shape = document.createElementNS(this.outline.namespaceURI, "polygon");
    this.outline.replaceChildren(shape);
    const move = ({ clientX, clientY }) => {
      const at = [clientX - box.left, clientY - box.top], [first = at] = points;
      if (this.mode === "lasso") points.push(at); else points.splice(0, 4, first, [at[0], first[1]], at, [first[0], at[1]]);
      shape.setAttribute("points", points.join(" "));
    };
    const end = (last) => {
      for (const [kind, listener] of Object.entries(listeners)) removeEventListener(kind, listener);
      this.drawing = false;
      this.outline.replaceChildren();
      if (last.type === "pointerup") this.drew(points, last);
    };
    const listeners = { pointermove: move, pointerup: end, pointercancel: end };
    for (const [kind, listener] of Object.entries(listeners)) addEventListener(kind, listener);
    this.drawing = true;
    this.tip.hidden = true;
    move(event);
  }

  // A line that goes nowhere is a click.
  drew(points, { shiftKey, ctrlKey }) {
    const [left, top] = points[0];
    if (points.every(([x, y]) => Math.abs(x - left) + Math.abs(y - top) < 6)) {
      const near = this.nearest(left, top, 12);
      if (near >= 0) this.pick(near, shiftKey || ctrlKey);
      return;
    }
    const { xaxis, yaxis } = this.plot._fullLayout;
    const x = points.map(([at]) => xaxis.p2l(at - xaxis._offset)), y = points.map(([, at]) => yaxis.p2l(at - yaxis._offset));
    this.send({ kind: "lasso", polygon: thinned(x, y, 400) });
  }

  nearest(left, top, most) {
    let best = -1, least = most;
    for (let i = 0; i < this.x.length; i++) {
      const [x, y] = this.pixel(i), away = Math.hypot(x - left, y - top);
      if (away < least) [best, least] = [i, away];
    }
    return best;
  }

  setMode(mode) {
    this.mode = mode;
    for (const [name, control] of Object.entries(this.modes)) control.setAttribute("aria-pressed", name === mode);
    this.stage.dataset.mode = mode;
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
    if (event.target !== this.stage || this.fresh) return;
    if (arrows[event.key] && event.shiftKey) this.shift(...arrows[event.key]);
    else if (arrows[event.key]) this.walk(...arrows[event.key]);
    else if (event.key === "b" && this.cursor !== undefined && this.state.snapshot === null) this.markCorner();
    else if (event.key === "Enter" && this.cursor !== undefined) this.pick(this.cursor, event.shiftKey);
    else if (event.key === "Escape") this.send({ kind: "clear" });
    else if (event.key === "+") this.zoom(0.7);
    else if (event.key === "-") this.zoom(1 / 0.7);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  shift(right, up) {
    const change = {};
    for (const [axis, by] of [["xaxis", right], ["yaxis", up]]) {
      const [low, high] = this.plot._fullLayout[axis].range;
      change[`${axis}.range`] = [low + ((high - low) * by) / 6, high + ((high - low) * by) / 6];
    }
    Plotly.relayout(this.plot, change);
  }

  // A box by keyboard: from the neuron where B was pressed first to the one where it is pressed again.
  markCorner() {
    const at = [this.x[this.cursor], this.y[this.cursor]];
    if (!this.corner) {
      this.corner = at;
      this.live.textContent = "First corner of a box; walk on and press B at the opposite one";
      return;
    }
    const { x, y } = corners({ x: [this.corner[0], at[0]], y: [this.corner[1], at[1]] });
    this.corner = undefined;
    this.send({ kind: "lasso", polygon: thinned(x, y, 400) });
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
    light(this.cluster[best] < 0 ? undefined : this.cluster[best], this);
    const [left, top] = this.pixel(best);
    showCard(this.tip, this.stage, { x: left, y: top }, `n:${best}`, this.describe(best));
  }

  placeRing() {
    const show = this.cursor !== undefined && document.activeElement === this.stage;
    this.ring.hidden = !show;
    if (!show) return;
    const [left, top] = this.pixel(this.cursor);
    Object.assign(this.ring.style, { left: `${left}px`, top: `${top}px` });
  }

  leave() {
    this.ring.hidden = this.tip.hidden = true;
  }

  destroy() {
    this.unlight();
    clearTimeout(this.lightTimer);
    this.state = this.run = undefined;
    this.playing = false;
    this.resizes.disconnect();
    Promise.resolve(this.pending).finally(() => this.plot._fullLayout && Plotly.purge(this.plot));
  }
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

// The numbers below a count in an order without pattern, always the same: steps of the golden section.
function shuffled(count) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let step = Math.round(count * 0.618);
  while (divisor(count, step) > 1) step++;
  return Uint32Array.from({ length: count }, (_, k) => (k * step) % count);
}

// MOST_POINTS of some places, in row order: of every cell of the view one, then two, and so on, `first` ones before others.
// What lies beside the view, up to half of it away, comes later. The outermost are always among them, so that the whole
// map keeps its size.
function spread(x, y, first, order, { left, low, scale, width, height }) {
  const columns = Math.ceil((2 * width) / CELL), rows = Math.ceil((2 * height) / CELL);
  const taken = new Uint16Array(columns * rows), rank = new Uint16Array(x.length), sizes = [];
  const outermost = new Set([x, y].flatMap((values) => extent(values).map((end) => values.indexOf(end))));
  for (const wanted of [1, 0]) {
    for (const i of order) {
      if (first[i] !== wanted) continue;
      const right = (x[i] - left) * scale, up = (y[i] - low) * scale;
      const column = Math.floor((right + width / 2) / CELL), row = Math.floor((up + height / 2) / CELL);
      const near = column >= 0 && column < columns && row >= 0 && row < rows;
      if (!near && !outermost.has(i)) continue;
      const inside = right >= 0 && right <= width && up >= 0 && up <= height;
      rank[i] = outermost.has(i) ? 1 : 1 + taken[row * columns + column]++ + (inside ? 0 : BESIDE);
      sizes[rank[i]] = (sizes[rank[i]] ?? 0) + 1;
    }
  }
  let last = 0, room = MOST_POINTS;
  while (last < sizes.length && room >= (sizes[last] ?? 0)) room -= sizes[last++] ?? 0;
  return order.filter((i) => rank[i] && (rank[i] < last || (rank[i] === last && room-- > 0))).sort();
}

// A Plotly colour scale with one even band per code.
function evenBands(colours) {
  const n = colours.length;
  return { cmin: -0.5, cmax: n - 0.5, colorscale: colours.flatMap((c, i) => [[i / n, c], [(i + 1) / n, c]]) };
}

function corners(range) {
  return range?.x && { x: [range.x[0], range.x[1], range.x[1], range.x[0]], y: [range.y[0], range.y[0], range.y[1], range.y[1]] };
}

// Maps travel as 16-bit steps between the lowest and the highest coordinate; the last map is there already.
function unpacked({ low, high, steps, data }, last) {
  const codes = new Int16Array(bytes(data).buffer), count = last.x.length, maps = codes.length / count / 2 + 1;
  const value = (code) => (code < 0 ? NaN : low + ((high - low) * code) / steps);
  const axis = (map, offset) => Float32Array.from({ length: count }, (_, i) => value(codes[2 * (map * count + i) + offset]));
  return [...Array.from({ length: maps - 1 }, (_, map) => ({ x: axis(map, 0), y: axis(map, 1) })), last];
}

// A neuron that has no place on one of two maps appears, or disappears, half-way.
function between(from, to, share) {
  return Float32Array.from(from, (value, i) => {
    const at = value + (to[i] - value) * share;
    return Number.isNaN(at) ? (share < 0.5 ? value : to[i]) : at;
  });
}

// A lasso drawn slowly has thousands of corners; the server keeps the 32 that matter of at most `most`.
function thinned(x, y, most) {
  const step = Math.max(1, Math.ceil(x.length / most));
  const polygon = [];
  for (let i = 0; i < x.length; i += step) polygon.push([+x[i].toPrecision(7), +y[i].toPrecision(7)]);
  return polygon;
}
