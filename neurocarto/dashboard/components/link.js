
class Link {
  constructor(root) {
    this.anchor = make("a", { class: "nc-copy" }, "Copy link");
    this.status = make("span", { role: "status", class: "nc-visually-hidden" });
    root.replaceChildren(this.anchor, this.status);
    this.anchor.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.copy();
    });
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.anchor.href);
      this.say("Link copied");
    } catch {
      // Without a secure context there is no clipboard: the address goes where it can be copied by hand.
      window.prompt("Copy this link", this.anchor.href);
    }
  }

  say(text) {
    this.anchor.textContent = this.status.textContent = text;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.anchor.textContent = "Copy link"; }, 2000);
  }

  update({ query }) {
    // A page just moved to, or a first visit: what it shows takes the place of the bare address in the history.
    if (!location.search) history.replaceState(history.state, "", `${location.pathname}?${query}`);
    this.anchor.href = `${location.origin}${location.pathname}?${query}`;
    this.anchor.title = "Copy a link that opens exactly this";
  }
}
