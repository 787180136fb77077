// A person's page: the grid of tracks, and timelines that lead to the moment.

import * as grid from "./grid.js";

export function start() {
  grid.start();
  document.addEventListener("click", (event) => {
    const track = event.target.closest("[data-scene-track]");
    if (!track) return;
    const { scene, end } = track.closest("[data-scene]").dataset, box = track.getBoundingClientRect();
    const time = (Math.min(Math.max(event.clientX - box.left, 0), box.width) / box.width) * Number(end);
    location.assign(`/videos/${scene}?t=${time.toFixed(2)}`);
  });
}
