// Boxes with names over the player, frame by frame; a click on one opens what can be said of it.

import { api } from "./api.js";
import { find, lastBefore, make } from "./dom.js";

const CHUNK = 20;

export class Boxes {
  seen = [];
  onChange = () => {};
  #chunks = new Map();
  #shown = new Map();
  #time = 0;

  constructor(player, video) {
    Object.assign(this, { player, video, place: find("[data-boxes]", player), picture: find("video, img", player) });
    this.size = [Number(player.dataset.width), Number(player.dataset.height)];
    this.hold = 1.5 / (Number(player.dataset.fps) || 25);
    this.still = "still" in player.dataset;
  }

  forget() {
    this.#chunks.clear();
  }

  switch(on) {
    this.place.classList.toggle("off", !on);
  }

  show(time) {
    this.#time = time;
    const chunk = Math.floor(time / CHUNK), tracks = this.#chunk(chunk);
    if (!this.still && time - chunk * CHUNK > CHUNK / 2) this.#chunk(chunk + 1);
    const scale = this.#fit(), seen = [];
    for (const track of tracks) {
      const at = lastBefore(track.times, time);
      if (at < 0 || (at === track.times.length - 1 && !this.still && time > track.times[at] + this.hold)) continue;
      seen.push(track);
      this.#put(track, at, scale);
    }
    for (const [key, box] of this.#shown) if (!seen.some(({ track }) => track === key)) { box.remove(); this.#shown.delete(key); }
    this.seen = seen;
  }

  /** Return the tracks of a stretch of time; none until they have come. */
  #chunk(number) {
    if (!this.#chunks.has(number)) {
      this.#chunks.set(number, []);
      api(`/videos/${this.video}/boxes?start=${number * CHUNK}&end=${(number + 1) * CHUNK}`).then(({ tracks }) => {
        this.#chunks.set(number, tracks);
        this.show(this.#time);
        this.onChange();
      }, () => this.#chunks.delete(number));
    }
    return this.#chunks.get(number);
  }

  /** Lay the boxes over the picture, which may have bars beside or above it. */
  #fit() {
    const outer = this.player.getBoundingClientRect(), inner = this.picture.getBoundingClientRect();
    const [width, height] = this.size, scale = Math.min(inner.width / width, inner.height / height) || 0;
    const style = this.place.style;
    style.inset = "auto";
    style.width = `${width * scale}px`;
    style.height = `${height * scale}px`;
    style.left = `${inner.left - outer.left + (inner.width - width * scale) / 2}px`;
    style.top = `${inner.top - outer.top + (inner.height - height * scale) / 2}px`;
    return scale;
  }

  #put(track, at, scale) {
    let box = this.#shown.get(track.track);
    if (!box || box.track !== track) {
      box?.remove();
      box = make("button", { type: "button", class: "box", tabindex: -1 }, make("span", {}, track.label));
      box.style.setProperty("--who", track.color);
      box.style.setProperty("--on-who", light(track.color) ? "#000000" : "#ffffff");
      box.track = track;
      box.addEventListener("click", () => menu(track));
      this.#shown.set(track.track, box);
      this.place.append(box);
    }
    const [x, y, w, h] = track.boxes[at].map((side) => side * scale);
    box.className = `box ${["", "flow", "interpolated"][track.sources[at]]}${y < 24 ? " under" : ""}`;
    box.style.transform = `translate(${x}px, ${y}px)`;
    box.style.width = `${w}px`;
    box.style.height = `${h}px`;
  }
}

const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);

/** Whether black is easier to read on a colour than white. */
export function light(color) {
  const [red, green, blue] = [1, 3, 5].map((place) => linear(parseInt(color.slice(place, place + 2), 16) / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179;
}

function menu(track) {
  const dialog = find("#box-menu"), known = track.identity !== null;
  find("video")?.pause();
  find("#box-title").textContent = `${track.label}, track ${track.track}`;
  for (const field of dialog.querySelectorAll("input[name=tracks]")) field.value = track.track;
  const name = find("[data-box-name]", dialog), not = find("[data-box-not]", dialog), person = find("a[data-box-person]", dialog);
  for (const part of [name, not, person]) part.hidden = !known;
  name.action = `/people/${track.identity}/name`;
  find("input[name=name]", name).value = track.name ?? "";
  not.action = `/people/${track.identity}/not`;
  person.href = `/people/${track.identity}`;
  find("[data-box-search]", dialog).href = `/search?track=${track.track}`;
  find("input[name=person]", dialog).value = "";
  dialog.showModal();
}
