// What the chosen person shows over time: the mix of emotions, valence and arousal, and the values at this moment.

import { api } from "./api.js";
import { all, draw, find, lastBefore, make } from "./dom.js";

const GAP = 1;
const MOST_POINTS = 4000;

export class Curves {
  #curves = new Map();
  #waiting = new Set();
  #chosen = null;
  onLoad = () => {};

  constructor(video, lanes) {
    Object.assign(this, { video, lanes, place: find("[data-curves]"), area: find("[data-curve-area]") });
    this.colors = new Map(all(".legend li").map((item) => [item.textContent.trim(), find("rect", item)?.getAttribute("fill")]));
    if (!this.area) return;
    this.mix = draw("svg", { class: "mix", preserveAspectRatio: "none", role: "img" });
    this.affect = draw("svg", { class: "affect", preserveAspectRatio: "none", role: "img", "aria-label": "valence and arousal" });
    this.head = make("div", { class: "playhead" });
    this.area.append(this.mix, this.affect, this.head);
  }

  forget() {
    this.#curves.clear();
    if (this.#chosen) this.choose(this.#chosen.identity, this.#chosen.label, this.lanes.time);
  }

  async choose(identity, label, time) {
    if (!this.area) return;
    this.#chosen = { identity, label };
    find("[data-curves-name]").textContent = label;
    this.mix.setAttribute("aria-label", `Emotions of ${label} over time`);
    const curve = await this.#load(identity);
    if (this.#chosen.identity !== identity) return;
    this.mix.replaceChildren(...(curve ? this.#mixes(curve) : []));
    this.affect.replaceChildren(draw("path", { class: "zero", d: `M0 0H${this.lanes.end}` }), ...(curve ? this.#lines(curve) : []));
    this.zoom();
    this.show(time);
  }

  zoom() {
    if (!this.area) return;
    const { from, to } = this.lanes;
    this.mix.setAttribute("viewBox", `${from} 0 ${to - from} 1`);
    this.affect.setAttribute("viewBox", `${from} -1 ${to - from} 2`);
  }

  show(time) {
    if (!this.area) return;
    const width = this.area.clientWidth, at = this.lanes.x(time, width);
    this.head.style.transform = `translateX(${at}px)`;
    this.head.style.visibility = at < -1 || at > width + 1 ? "hidden" : "visible";
    const felt = this.#chosen && this.at(this.#chosen.identity, time);
    const place = find("[data-curves-now]");
    const text = felt ? `${felt.label} ${Math.round(100 * felt.share)} %, valence ${signed(felt.valence)}, arousal ${signed(felt.arousal)}` : "not known at this moment";
    if (place.dataset.text !== text) { place.dataset.text = text; place.textContent = text; }
  }

  /** Return what a person shows at a moment, null where it is not known (or not yet here). */
  at(identity, time) {
    const curve = this.#curves.get(identity);
    if (!curve) { if (!this.#waiting.has(identity)) this.#load(identity); return null; }
    const row = lastBefore(curve.times, time);
    if (row < 0 || time - curve.times[row] > GAP) return null;
    const shares = Object.entries(curve.emotions).map(([label, values]) => [label, values[row]]).filter(([, share]) => share !== null);
    if (!shares.length) return null;
    const [label, share] = shares.reduce((best, one) => (one[1] > best[1] ? one : best));
    const swatch = () => draw("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, draw("rect", { width: 10, height: 10, fill: this.colors.get(label) ?? "gray" }));
    return { label, share, swatch, valence: curve.valence[row], arousal: curve.arousal[row] };
  }

  async #load(identity) {
    if (this.#curves.has(identity)) return this.#curves.get(identity);
    this.#waiting.add(identity);
    const { items } = await api(`/videos/${this.video}/emotions?identity=${identity}`).catch(() => ({ items: [] }));
    const curve = items[0] ?? null;
    this.#curves.set(identity, curve ?? { times: [], emotions: {}, valence: [], arousal: [] });
    this.#waiting.delete(identity);
    this.onLoad();
    return this.#curves.get(identity);
  }

  /** Return the runs of rows in which all is known, each at most so long without a sample. */
  #runs({ times, valence }) {
    const runs = [], step = Math.max(1, Math.ceil(times.length / MOST_POINTS));
    let run = [];
    for (let row = 0; row < times.length; row += step) {
      if (valence[row] === null || (run.length && times[row] - times[run.at(-1)] > GAP * step)) { if (run.length) runs.push(run); run = []; }
      if (valence[row] !== null) run.push(row);
    }
    return run.length ? [...runs, run] : runs;
  }

  #mixes(curve) {
    const labels = Object.keys(curve.emotions).filter((label) => label !== "neutral");
    const paths = new Map(labels.map((label) => [label, ""]));
    for (const run of this.#runs(curve)) {
      const times = run.map((row) => curve.times[row]);
      let below = run.map(() => 0);
      for (const label of labels) {
        const above = run.map((row, place) => below[place] + curve.emotions[label][row]);
        const there = times.map((time, place) => `${time} ${(1 - above[place]).toFixed(4)}`);
        const back = times.map((time, place) => `${time} ${(1 - below[place]).toFixed(4)}`).reverse();
        paths.set(label, `${paths.get(label)}M${[...there, ...back].join("L")}z`);
        below = above;
      }
    }
    return [...paths].map(([label, d]) => draw("path", { d, fill: this.colors.get(label) ?? "gray" }));
  }

  #lines(curve) {
    return ["valence", "arousal"].map((name) => draw("path", {
      class: name,
      d: this.#runs(curve).map((run) => `M${run.map((row) => `${curve.times[row]} ${(-curve[name][row]).toFixed(4)}`).join("L")}`).join(""),
    }));
  }
}

const signed = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
