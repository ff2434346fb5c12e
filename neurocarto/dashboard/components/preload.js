class Preload {
  update({ scripts }) {
    // A script that does not come now is asked for again by the view that needs it.
    for (const name of scripts) loadScript(name).catch(() => {});
  }
}
