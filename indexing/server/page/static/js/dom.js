// Small helpers that all modules share.

export const find = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Make an element: make("a", { href, class: "x", dataset: {...} }, child, "text"). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const faceOf = (track) => `/api/v1/tracks/${track}/thumbnail.jpg`;

/** How far a job is, in words. */
export const frames = ({ frames_done, frames_total }) => `${frames_done}${frames_total ? ` of ${frames_total}` : ""} frames`;

export function clock(seconds, digits = 1) {
  const scale = 10 ** digits, total = Math.floor(Math.max(seconds, 0) * scale + 1e-6);
  const minutes = Math.floor(total / (60 * scale)), rest = (total - minutes * 60 * scale) / scale;
  const tail = rest.toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return minutes < 60 ? `${minutes}:${tail}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${tail}`;
}

/** Whether a key press belongs to a field, a menu or a dialog and not to the page. */
export function typing(event) {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return true;
  if (document.querySelector("dialog[open]")) return true;
  return target.matches?.("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=range], [type=file])") ?? false;
}

/** Index of the last of rising `times` that is not after `time`; -1 where there is none. */
export function lastBefore(times, time) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time + 1e-6) low = middle + 1; else high = middle;
  }
  return low - 1;
}
