const LARGEST_BATCH = 150;

class Answers {
  constructor() {
    this.waiting = new Map();
    this.known = new Map();
    hub.answers = this;
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

  soon() {
    if (this.timer || this.asked) return;
    this.timer = setTimeout(() => this.put(), 15);
  }

  // What was asked last is wanted most: a mouse that has moved on no longer waits for what it left behind.
  put() {
    this.timer = undefined;
    const asked = [...this.waiting.keys()].slice(-LARGEST_BATCH);
    if (!asked.length) return undefined;
    this.asked = asked;
    this.send(asked);
    // A page that runs at the same moment may swallow a question: it is asked again.
    this.retry = setTimeout(() => { this.asked = undefined; this.soon(); }, 4000);
    return undefined;
  }

  update({ version, answers }) {
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
    if (hub.answers === this) hub.answers = undefined;
  }
}
