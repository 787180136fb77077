// One pair at a time, answered by y, n and s; each answer can be taken back.

import { send, takeBack } from "./corrections.js";
import { sentence } from "./dialogs.js";
import { all, find, typing } from "./dom.js";
import { toast } from "./toasts.js";

let pairs = [], at = 0, pending = Promise.resolve();
const answered = { same: 0, different: 0, skipped: 0 };

export function start() {
  pairs = all("[data-pair]");
  if (!pairs.length) return;
  document.addEventListener("keydown", press);
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.correct !== "answer") return;
    event.preventDefault();
    answer(event.submitter.value);
  });
  document.addEventListener("click", ({ target }) => target.closest("[data-skip]") && skip());
  show();
}

function press(event) {
  if (typing(event) || at >= pairs.length) return;
  const button = { y: "[value=same]", n: "[value=different]", s: "[data-skip]" }[event.key];
  if (button) { event.preventDefault(); find(button, pairs[at]).click(); }
}

function show() {
  pairs.forEach((pair, place) => pair.classList.toggle("current", place === at));
  const left = pairs.length - at;
  find("[data-progress]").textContent = left ? `${at + 1} of ${pairs.length}` : "";
  find("[data-done]").hidden = left > 0;
  const told = [[answered.same, "the same"], [answered.different, "two people"], [answered.skipped, "skipped"]].filter(([number]) => number);
  find("[data-summary]").textContent = told.map(([number, text]) => `${number} ${text}`).join(", ");
}

/** Go on at once; the answers follow each other in the background. */
function answer(value) {
  const place = at, form = find("form", pairs[at]), fields = new FormData(form);
  fields.set("answer", value);
  next();
  pending = pending.then(async () => {
    const done = await send(form.getAttribute("action"), fields);
    if (!done) { at = place; return show(); }
    answered[value]++;
    show();
    toast(sentence(done.told), { label: "Undo", action: () => takeBack(done, () => { answered[value]--; at = place; show(); }) });
  });
}

function skip() {
  answered.skipped++;
  next();
}

function next() {
  at++;
  show();
}
