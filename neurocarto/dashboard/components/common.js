// Shared by all components; each component's own script follows. `hub` is one per browser page.
const hub = (window.neurocarto ??= { data: new Map(), listeners: new Set(), scripts: new Map() });

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
      script.onerror = () => reject(new Error(`${name} could not be loaded`));
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

function fillTip(tip, lines) {
  tip.replaceChildren(...lines.filter(Boolean).map((text, i) => make(i ? "span" : "strong", {}, text)));
}

// One view object per root element: made at the first call, updated at every rerun, destroyed at the end.
function component(View) {
  const views = new WeakMap();
  return ({ data, parentElement, setTriggerValue }) => {
    const root = parentElement.querySelector(".nc");
    if (!views.has(root)) views.set(root, new View(root));
    const view = views.get(root);
    root.view = view;
    view.send = (event) => setTriggerValue("event", event);
    view.update(data);
    return () => { view.destroy?.(); views.delete(root); };
  };
}
