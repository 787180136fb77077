// The lanes: drawn by the server; here they are zoomed by their view box, clicked, and gone through by keys.

import { all, clock, find, make } from "./dom.js";

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const SHORTEST = 0.5;

export class Lanes {
  onSeek = () => {};
  onChoose = () => {};
  onZoom = () => {};
  from = 0;
  to = 1;
  end = 1;
  time = 0;
  chosen = null;

  constructor() {
    document.addEventListener("pointerdown", (event) => this.#press(event));
    document.addEventListener("pointermove", (event) => this.#hover(event));
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-zoom]");
      if (button) this.zoom({ in: 0.5, out: 2, all: Infinity }[button.dataset.zoom]);
    });
    document.addEventListener("input", ({ target }) => target.matches("[data-pan]") && this.#move((target.value / 1000) * (this.end - this.#span())));
    document.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    addEventListener("resize", () => this.#draw());
  }

  /** Take in what the server has drawn. */
  read() {
    this.place = find("[data-lanes]");
    if (!this.place) return;
    this.end = Number(this.place.dataset.end) || 1;
    this.cuts = this.place.dataset.cuts.split(" ").filter(Boolean).map(Number);
    if (this.to === 1 || this.to > this.end) [this.from, this.to] = [0, this.end];
    const rows = all("[data-lane]", this.place), known = rows.filter(({ dataset }) => dataset.lane !== "0");
    this.#draw();
    const row = known.find(({ dataset }) => dataset.lane === this.chosen) ?? known[0];
    if (row) this.choose(row);
  }

  choose(row) {
    for (const other of all(".lane-row.chosen")) other.classList.remove("chosen");
    if (row.dataset.lane === "0") return;
    row.classList.add("chosen");
    this.chosen = row.dataset.lane;
    this.onChoose(Number(row.dataset.lane), row.dataset.label);
  }

  show(time, playing) {
    this.time = time;
    const outside = time < this.from || time > this.to;
    if (outside && playing) this.#move(time - 0.1 * this.#span());
    this.#playhead();
  }

  zoom(factor, around = this.time) {
    const span = Math.min(Math.max(this.#span() * factor, Math.min(SHORTEST, this.end)), this.end);
    const share = Math.min(Math.max((around - this.from) / this.#span(), 0), 1);
    this.#set(around - share * span, span);
  }

  /** Return the pixels of a moment from the left edge of the lanes. */
  x(time, width) {
    return ((time - this.from) / this.#span()) * width;
  }

  #span() {
    return this.to - this.from;
  }

  #move(from) {
    this.#set(from, this.#span());
  }

  #set(from, span) {
    this.from = Math.min(Math.max(from, 0), this.end - span);
    this.to = this.from + span;
    this.#draw();
    this.onZoom();
  }

  #draw() {
    const axis = find("[data-axis]");
    if (!axis) return;
    for (const drawing of all("[data-scaled]")) drawing.setAttribute("viewBox", `${this.from} 0 ${this.#span()} 100`);
    const width = axis.clientWidth, step = STEPS.find((one) => (one / this.#span()) * width > 74) ?? 7200, marks = [];
    for (let number = Math.ceil(this.from / step - 1e-6); number * step <= this.to; number++) {
      // A time that the edge would cut off is left out.
      if (this.x(number * step, width) > width - 36) break;
      const mark = make("span", {}, clock(number * step, step < 1 ? 1 : 0));
      mark.style.transform = `translateX(${this.x(number * step, width)}px)`;
      marks.push(mark);
    }
    axis.replaceChildren(...marks);
    const row = find("[data-pan-row]"), all_ = this.#span() >= this.end - 1e-6;
    row.hidden = all_;
    if (!all_) find("[data-pan]").value = (1000 * this.from) / (this.end - this.#span());
    this.#playhead();
  }

  #playhead() {
    const head = find("[data-playhead]"), axis = find("[data-axis]");
    if (!head || !axis) return;
    const at = this.x(this.time, axis.clientWidth);
    head.style.transform = `translateX(${at}px)`;
    head.style.visibility = at < -1 || at > axis.clientWidth + 1 ? "hidden" : "visible";
  }

  #timeAt(event, area) {
    const box = area.getBoundingClientRect();
    return this.from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.#span();
  }

  #press(event) {
    const area = event.target.closest?.("[data-track], [data-axis], [data-curve-area]");
    if (!area || event.button) return;
    const row = area.closest("[data-lane]");
    if (row) this.choose(row);
    const move = (moved) => this.onSeek(this.#timeAt(moved, area));
    const stop = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", stop); removeEventListener("pointercancel", stop); };
    move(event);
    if (event.pointerType === "touch") return;
    event.preventDefault();
    area.focus?.({ preventScroll: true });
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
    addEventListener("pointercancel", stop);
  }

  #hover(event) {
    const tip = find("[data-tip]"), area = event.target.closest?.("[data-track], [data-axis]");
    if (!tip) return;
    tip.hidden = !area || event.pointerType === "touch";
    if (tip.hidden) return;
    const lanes = this.place.getBoundingClientRect(), box = area.getBoundingClientRect();
    tip.textContent = clock(this.#timeAt(event, area), 2);
    const left = Math.min(Math.max(event.clientX - lanes.left + 10, 0), lanes.width - tip.offsetWidth);
    tip.style.transform = `translate(${left}px, ${box.top - lanes.top + 2}px)`;
  }

  #wheel(event) {
    const area = event.target.closest?.("[data-lanes], [data-curve-area]");
    if (!area) return;
    if (event.ctrlKey) {
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.#timeAt(event, find("[data-axis]")));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && this.#span() < this.end) {
      event.preventDefault();
      this.#move(this.from + (event.deltaX / find("[data-axis]").clientWidth) * this.#span());
    }
  }

  #key(event) {
    const track = event.target.closest?.("[data-track]");
    if (!track || event.target !== track || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = track.closest("[data-lane]"), tracks = all("[data-track]"), at = tracks.indexOf(track);
    if (event.key === "ArrowDown") tracks[Math.min(at + 1, tracks.length - 1)].focus();
    else if (event.key === "ArrowUp") tracks[Math.max(at - 1, 0)].focus();
    else if (event.key === "Enter") this.choose(row);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") this.#jump(row, event.key === "ArrowRight");
    else return;
    event.preventDefault();
  }

  #jump(row, onwards) {
    const starts = row.dataset.moments.trim().split(" ").map((moment) => Number(moment.split("-")[0]));
    const next = onwards ? starts.find((start) => start > this.time + 0.05) : starts.findLast((start) => start < this.time - 0.05);
    if (next === undefined) return;
    if (next < this.from || next > this.to) this.#move(next - 0.1 * this.#span());
    this.choose(row);
    this.onSeek(next);
  }
}
