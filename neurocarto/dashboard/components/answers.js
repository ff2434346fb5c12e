const LARGEST_BATCH = 150;
const LONGEST_HOLD = 30_000;
const SENDING = 40;

// Whether a click or a step in the browser's history opens another page in this tab.
function leadsAway(event, path) {
  if (event.type === "popstate") return location.pathname !== path;
  const link = event.target.closest?.("a[href]");
  const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link?.target === "_blank";
  return Boolean(link) && !elsewhere && link.origin === location.origin && link.pathname !== location.pathname;
}

class Answers {
  constructor() {
    this.waiting = new Map();
    this.known = new Map();
    this.leave = (event) => { if (leadsAway(event, hub.path)) this.leaving(event); };
    document.addEventListener("click", this.leave, true);
    window.addEventListener("popstate", this.leave);
    hub.answers = this;
  }

  // Streamlit sends a question some milliseconds after it is asked: a click in between would overtake it, so it waits.
  leaving(event) {
    if (event.type === "click" && performance.now() - this.sent < SENDING) {
      event.preventDefault();
      event.stopImmediatePropagation();
      setTimeout(() => event.target.closest("a").click(), SENDING);
    } else this.hold();
  }

  // A question names the page it is asked on. Streamlit (1.67) answers one that arrives after a change of page with the
  // former page's fragment, for which the browser clears the new page, and may break on a place that is gone. So while
  // another page may be on its way, questions wait, however slow the server: until a whole page has run since, and has
  // heard the event that was sent last. Should neither ever come, no question waits for longer than a while.
  hold(number = hub.held?.number ?? 0) {
    clearTimeout(hub.patience);
    hub.held = { number, after: hub.runs };
    hub.patience = setTimeout(() => this.release(), LONGEST_HOLD);
  }

  release() {
    clearTimeout(hub.patience);
    hub.held = undefined;
    hub.answers?.soon();
  }

  // Answers are kept, so each question crosses the wire once; only one batch is on its way at a time.
  ask(question) {
    if (this.known.has(question)) return Promise.resolve(this.known.get(question));
    return new Promise((resolve) => {
      if (!this.waiting.has(question)) this.waiting.set(question, []);
      this.waiting.get(question).push(resolve);
      this.soon();
    });
  }

  forget(questions) {
    for (const question of this.known.keys()) if (questions.test(question)) this.known.delete(question);
  }

  soon() {
    if (this.timer || this.asked) return;
    this.timer = setTimeout(() => inTurn(() => this.put()), 15);
  }

  // What was asked last is wanted most: a mouse that has moved on no longer waits for what it left behind.
  put() {
    this.timer = undefined;
    if (hub.held || hub.answers !== this) return;
    const asked = [...this.waiting.keys()].slice(-LARGEST_BATCH);
    if (!asked.length) return;
    this.asked = asked;
    this.trigger(asked);
    this.sent = performance.now();
    // A page that runs at the same moment may swallow a question: it is asked again.
    this.retry = setTimeout(() => { this.asked = undefined; this.soon(); }, 4000);
  }

  update({ page, runs, version, heard, answers }) {
    if (page !== hub.page) {
      hub.page = page;
      hub.path = location.pathname;
    }
    hub.runs = runs;
    // No number: an event was lost on its way, so nothing that was sent before is still to come.
    if (hub.held && runs > hub.held.after && (heard === null || heard >= hub.held.number)) this.release();
    if (version !== this.version) {
      this.known.clear();
      this.version = version;
    }
    for (const [question, answer] of Object.entries(answers)) {
      this.known.set(question, answer);
      for (const resolve of this.waiting.get(question) ?? []) resolve(answer);
      this.waiting.delete(question);
    }
    while (this.known.size > 4000) this.known.delete(this.known.keys().next().value);
    if (this.asked?.every((question) => !this.waiting.has(question))) {
      clearTimeout(this.retry);
      this.asked = undefined;
    }
    if (this.waiting.size) this.soon();
  }

  destroy() {
    clearTimeout(this.timer);
    clearTimeout(this.retry);
    document.removeEventListener("click", this.leave, true);
    window.removeEventListener("popstate", this.leave);
    if (hub.answers === this) hub.answers = undefined;
    hub.empty = setTimeout(mendIfEmpty, 2000);
  }
}
