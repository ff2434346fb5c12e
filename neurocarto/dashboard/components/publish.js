
class Publish {
  update({ name, version, content }) {
    if (hub.data.get(name)?.version === version) return;
    hub.data.set(name, { version, content });
    for (const look of [...hub.listeners]) look();
  }
}
