// Shared by all components; each component's own script follows. `hub` is one per browser page.
const hub = (window.neurocarto ??= { data: new Map(), listeners: new Set(), scripts: new Map() });

// Streamlit (1.67) can lose its place where a page opens while a question is under way: its script breaks and draws
// nothing from then on, or it has cleared the page and says that it is done. The address says what is to be seen, so the
// page is loaded anew; not again and again.
function mend() {
  const key = "neurocarto-mended";
  if (Date.now() - sessionStorage.getItem(key) < 10_000) return;
  sessionStorage.setItem(key, Date.now());
  location.reload();
}

function mendIfBroken(problem) {
  if (problem?.includes?.("delta path")) mend();
}

// Called when a page has gone, and from then on until the next one is whole: it may be cleared while it draws.
function mendIfEmpty() {
  clearTimeout(hub.empty);
  if (hub.answers) return;
  const atRest = document.querySelector('[data-test-script-state="notRunning"]');
  if (atRest && document.querySelector('[data-testid="stMain"]')?.innerText.trim() === "") mend();
  hub.empty = setTimeout(mendIfEmpty, 1000);
}

if (!hub.mends) {
  hub.mends = true;
  window.addEventListener("error", (event) => mendIfBroken(event.message));
  window.addEventListener("unhandledrejection", (event) => mendIfBroken(event.reason?.message));
}

// Streamlit's own script tells where the app is mounted, also behind a proxy with a path prefix.
function staticUrl(name) {
  const own = [...document.scripts].map((s) => s.src).find((src) => src.includes("/static/js/"));
  const base = own ? own.slice(0, own.indexOf("/static/js/") + 1) : new URL("/", location.href).href;
  return `${base}app/static/${name}`;
}

function loadScript(name) {
  if (!hub.scripts.has(name)) {
    hub.scripts.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = staticUrl(name);
      script.onload = resolve;
      script.onerror = () => {
        hub.scripts.delete(name);
        reject(new Error(`${name} could not be loaded`));
      };
      document.head.append(script);
    }));
  }
  return hub.scripts.get(name);
}

function published(name, version) {
  return new Promise((resolve) => {
    const look = () => {
      const found = hub.data.get(name);
      if (found?.version !== version) return false;
      hub.listeners.delete(look);
      resolve(found.content);
      return true;
    };
    if (!look()) hub.listeners.add(look);
  });
}

// A cluster by people's name and its computed label, as Lookup.label.
function called(cluster, label) {
  const name = hub.data.get("names")?.content[cluster];
  return name && name !== label ? `${name} · ${label}` : label;
}

// Ask the server for something small; the answer comes without the page running again.
function ask(question) {
  return new Promise((resolve) => {
    const put = () => (hub.answers ? hub.answers.ask(question).then(resolve) : setTimeout(put, 50));
    put();
  });
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Texts from a run are only ever set as text, never as HTML.
function button(text, label, action) {
  const element = make("button", { type: "button", "aria-label": label, title: label }, text);
  element.addEventListener("click", action);
  return element;
}

function bytes(base64) {
  const text = atob(base64);
  const result = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) result[i] = text.charCodeAt(i);
  return result;
}

const hasBit = (bits, i) => (bits[i >> 3] >> (i & 7)) & 1;

function theme(root) {
  const style = getComputedStyle(root);
  const value = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = value("--st-background-color", "#ffffff");
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  return {
    name: 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "dark" : "light",
    background: value("--st-background-color", "#ffffff"),
    text: value("--st-text-color", "#222222"),
    font: style.fontFamily || "sans-serif",
  };
}

// Plotly cannot fit a chart into a place that is not shown, as while another page is drawn.
function resized(plot) {
  if (!plot._fullLayout || !plot.clientWidth || !plot.isConnected) return undefined;
  return Plotly.Plots.resize(plot).catch(() => {});
}

// The root's text colour has a short transition (style.css), so a change of theme is an event.
function onThemeChange(root, action) {
  root.addEventListener("transitionend", (event) => {
    if (event.target === root && event.propertyName === "color") action();
  });
}

function placeTip(tip, root, x, y) {
  tip.hidden = false;
  const left = x + 16 + tip.offsetWidth > root.clientWidth ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 12, root.clientHeight - tip.offsetHeight - 4))}px`;
}

// What is under the mouse: its name at once, its card with patches as soon as it is here.
// Cards come from neurocarto.views.cards, which escapes every text of the run.
async function showCard(tip, stage, { x, y }, question, lines) {
  tip.replaceChildren(...lines.filter(Boolean).map((text, i) => make(i ? "span" : "strong", {}, text)));
  tip.shown = question;
  placeTip(tip, stage, x, y);
  if (!question) return;
  // A mouse that only passes, or clicks at once, asks for nothing.
  await new Promise((resolve) => setTimeout(resolve, 80));
  const isWanted = () => tip.shown === question && !tip.hidden;
  const card = isWanted() && await ask(question);
  if (!card || !isWanted()) return;
  const notes = lines.slice(3).map((text) => make("span", {}, text));
  tip.innerHTML = card;
  tip.append(...notes);
  placeTip(tip, stage, x, y);
}

// The cluster under the mouse in one view lights up in the others.
function light(cluster, source) {
  for (const [listener, owner] of hub.lit ?? []) if (owner !== source) listener(cluster);
}

function onLight(listener, owner) {
  hub.lit ??= new Set();
  const entry = [listener, owner];
  hub.lit.add(entry);
  return () => hub.lit.delete(entry);
}

function firingNote(colour, text) {
  return make("span", { class: "nc-firing", style: `--colour:${colour}` }, text);
}

function fullScreenButton(root) {
  const control = button("", "Show this view on the full screen, and back", () => (
    document.fullscreenElement === root ? document.exitFullscreen() : root.requestFullscreen()));
  control.innerHTML = '<svg viewBox="0 0 12 12" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true">'
    + '<path d="M1 4V1h3M8 1h3v3M11 8v3H8M4 11H1V8"/></svg>';
  return control;
}

// Native sliders: they bring their own keyboard and their own voice. Made once, so that they keep the focus.
// A control without a range is a tick box.
class Controls {
  constructor(choose) {
    this.root = make("div", { class: "nc-controls" });
    this.choose = choose;
    this.made = new Map();
  }

  update(controls) {
    for (const [name, control] of Object.entries(controls)) {
      if (!this.made.has(name)) this.make(name, control);
      const { input, text } = this.made.get(name);
      text.textContent = control.text;
      if (input.type === "checkbox") { input.checked = control.value; continue; }
      for (const attribute of ["min", "max", "step"]) input.setAttribute(attribute, control[attribute]);
      if (document.activeElement !== input || !this.timer) input.value = control.value;
      input.setAttribute("aria-valuetext", control.text);
    }
  }

  make(name, { max }) {
    const input = make("input", { type: max === undefined ? "checkbox" : "range", "data-choice": name });
    const text = make("span");
    input.addEventListener("change", () => {
      clearTimeout(this.timer);
      if (input.type === "checkbox") { this.choose(name, input.checked ? "on" : "off"); return; }
      // Keys change a slider step by step: only where it comes to rest counts.
      this.timer = setTimeout(() => { this.timer = undefined; this.choose(name, input.value); }, 150);
    });
    this.root.append(make("label", {}, text, input));
    this.made.set(name, { input, text });
  }
}

// The whole image behind a patch, with the box where a neuron is named: a native dialog, which brings Escape and the focus.
async function showImage(root, image, neuron) {
  const html = await ask(neuron === undefined ? `w:${image}` : `i:${image}:${neuron}`);
  if (!html) return;
  const dialog = make("dialog", { class: "nc nc-dialog", "aria-label": "The whole image" });
  dialog.innerHTML = html;
  dialog.append(button("Close", "Close", () => dialog.close()));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  root.parentElement.append(dialog);
  dialog.showModal();
}

// Streamlit (1.67) puts what is triggered in one tick into one message and runs one fragment for all of it: a click
// that met a question would change the selection but not the page. Each trigger gets a tick of its own.
function inTurn(trigger) {
  hub.turn = (hub.turn ?? Promise.resolve()).then(() => new Promise((resolve) => {
    trigger();
    setTimeout(resolve, 0);
  }));
}

// One view object per root element: made at the first call, updated at every rerun, destroyed at the end.
function component(View) {
  const views = new WeakMap();
  return ({ data, parentElement, setTriggerValue }) => {
    const root = parentElement.querySelector(".nc");
    if (!views.has(root)) views.set(root, new View(root));
    const view = views.get(root);
    root.view = view;
    view.trigger = (event) => setTriggerValue("event", event);
    // What is sent runs the page, and may lead to another.
    view.send = (event) => {
      hub.number = (hub.number ?? 0) + 1;
      const sent = { ...event, number: hub.number };
      hub.answers?.hold(hub.number);
      inTurn(() => view.trigger(sent));
    };
    view.update(data);
    return () => { view.destroy?.(); views.delete(root); };
  };
}
