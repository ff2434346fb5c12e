// A button, and the form that it opens, in which people name a cluster and note something about it.
class Naming {
  constructor(cluster, send) {
    this.cluster = cluster;
    this.send = send;
    this.control = button("", "", () => (this.form ? this.close() : this.open()));
    this.control.classList.add("nc-pencil");
    this.control.innerHTML = '<svg viewBox="0 0 12 12" fill="none" stroke="currentColor" stroke-width="1.2" aria-hidden="true">'
      + '<path d="M1.5 10.5l.7-2.7L8.6 1.4l2 2L4.2 9.8zM7.2 2.8l2 2"/></svg> Name';
    this.live = make("span", { class: "nc-visually-hidden", role: "status" });
    this.of(cluster);
  }

  of(cluster) {
    if (this.form && this.cluster !== cluster) this.close();
    this.cluster = cluster;
    const hint = `Name cluster ${cluster}, or note something about it`;
    for (const attribute of ["aria-label", "title"]) this.control.setAttribute(attribute, hint);
    this.control.setAttribute("aria-expanded", Boolean(this.form));
  }

  // place: gets the button; anchor: the form opens after it. What is being written stays through a change of the page.
  attach(place, anchor) {
    this.anchor = anchor;
    place.append(this.control, this.live);
    if (this.form) anchor.after(this.form);
  }

  holds(element) {
    return element === this.control || Boolean(this.form?.contains(element));
  }

  async open() {
    const { cluster } = this, { name, note, label } = await ask(`f:${cluster}`);
    if (this.form || cluster !== this.cluster) return;
    const title = make("input", { type: "text", maxlength: 80, autocomplete: "off", placeholder: label });
    const remark = make("textarea", { maxlength: 2000, rows: 3, placeholder: "What you see, what you are not sure of" });
    [title.value, remark.value] = [name, note];
    const put = (written) => {
      this.live.textContent = written.name || written.note ? "Saved" : "Removed";
      this.close();
      this.send({ kind: "name", cluster, ...written });
    };
    const remove = make("button", { type: "button" }, "Remove"), cancel = make("button", { type: "button" }, "Cancel");
    remove.hidden = !name && !note;
    remove.addEventListener("click", () => put({ name: "", note: "" }));
    cancel.addEventListener("click", () => this.close());
    this.form = make("form", { class: "nc-naming", "aria-label": `Cluster ${cluster}` },
      make("label", {}, "Name", title), make("label", {}, "Note", remark),
      make("div", { class: "nc-tools" }, make("button", { type: "submit" }, "Save"), remove, cancel));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      put({ name: title.value, note: remark.value });
    });
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
      event.stopPropagation();
    });
    this.live.textContent = "";
    this.control.setAttribute("aria-expanded", "true");
    this.anchor.after(this.form);
    title.focus();
    title.select();
  }

  close() {
    const focused = this.form?.contains(document.activeElement);
    this.form?.remove();
    this.form = undefined;
    this.control.setAttribute("aria-expanded", "false");
    if (focused) this.control.focus();
  }
}
