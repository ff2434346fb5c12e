class Preload {
  update({ scripts }) {
    scripts.forEach(loadScript);
  }
}
