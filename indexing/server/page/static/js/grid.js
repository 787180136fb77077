// A grid of faces: arrow keys, selecting, and merging by dropping one onto another.

import { correct } from "./corrections.js";
import { all, find, typing } from "./dom.js";
import { onRefresh } from "./refresh.js";

export function start() {
  document.addEventListener("change", count);
  document.addEventListener("reset", () => setTimeout(count));
  document.addEventListener("keydown", press);
  for (const name of ["dragstart", "dragend", "dragover", "dragleave", "drop"]) document.addEventListener(name, drag);
  onRefresh(count);
  count();
}

const picked = () => all(".pick :checked");

function count() {
  const number = picked().length, place = find("#selected [data-count]");
  if (place) place.textContent = number;
  for (const button of all("#selected [data-needs]")) button.disabled = number < Number(button.dataset.needs);
}

function press(event) {
  if (typing(event)) return;
  if (event.key === "m") return merge();
  if (event.key === "Escape") return find("#selected")?.reset();
  const card = event.target.closest?.(".card"), cells = all("[data-cell]");
  if (event.key.startsWith("Arrow") && cells.length) {
    if (!card && event.target !== document.body && !event.target.matches("main")) return;
    event.preventDefault();
    cells[card ? neighbour(cells, cells.indexOf(find("[data-cell]", card)), event.key) : 0].focus();
  } else if (event.key === "x" && card) {
    find(".pick input", card).click();
  } else if (event.key === "n") {
    const field = card ? find(".name-field", card) : find(".person-head .name-field");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  }
}

function neighbour(cells, at, key) {
  if (key === "ArrowRight") return Math.min(at + 1, cells.length - 1);
  if (key === "ArrowLeft") return Math.max(at - 1, 0);
  const top = cells[at].getBoundingClientRect().top;
  const across = cells.filter((cell) => Math.abs(cell.getBoundingClientRect().top - top) < 2).length;
  const next = at + (key === "ArrowDown" ? across : -across);
  return next < 0 || next >= cells.length ? at : next;
}

function merge() {
  const button = find("#selected [data-needs]");
  if (button && !button.disabled) find("#selected").requestSubmit(button);
}

let dragged = null;

function drag(event) {
  const card = event.target.closest?.("[data-person]");
  const target = dragged && card && card !== dragged ? card : null;
  if (event.type === "dragstart" && card?.draggable) {
    dragged = card;
    event.dataTransfer.effectAllowed = "link";
    event.dataTransfer.setData("text/plain", card.dataset.label);
    setTimeout(() => card.classList.add("dragged"));
  } else if (event.type === "dragover" && target) {
    event.preventDefault();
    event.dataTransfer.dropEffect = "link";
    target.classList.add("target");
  } else if (event.type === "dragleave" && card && !card.contains(event.relatedTarget)) {
    card.classList.remove("target");
  } else if (event.type === "drop" && target) {
    event.preventDefault();
    correct("/people/merge", { people: [target.dataset.person, dragged.dataset.person] });
    end();
  } else if (event.type === "dragend") end();
}

function end() {
  for (const card of all(".dragged, .target")) card.classList.remove("dragged", "target");
  dragged = null;
}
