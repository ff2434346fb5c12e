const read = (json) => JSON.parse(new TextDecoder().decode(json));

// One line with name and version, then the content.
class Publish {
  update(data) {
    const end = data.indexOf(10), [name, version] = read(data.subarray(0, end));
    if (hub.data.get(name)?.version === version) return;
    if (name === "names") hub.answers?.forget(/^[ncf]:/); // what says a cluster's name
    hub.data.set(name, { version, content: read(data.subarray(end + 1)) });
    for (const look of [...hub.listeners]) look();
  }
}
