// Dialogs that ask, and the help.

import { all, find } from "./dom.js";

/** Show a dialog and return the value of the button that closed it; "" for Escape. */
export function ask(dialog) {
  return new Promise((answer) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => answer(dialog.returnValue), { once: true });
    dialog.showModal();
  });
}

export async function refused(problem) {
  const dialog = find("#refused");
  find("#refused-title").textContent = problem.forcible ? "This contradicts what was said or seen" : "That cannot be done";
  find("[data-reason]", dialog).textContent = sentence(problem.message);
  for (const part of all("[data-forcible]", dialog)) part.hidden = !problem.forcible;
  return (await ask(dialog)) === "force";
}

export async function sure(title, why, yes) {
  const dialog = find("#sure");
  find("#sure-title").textContent = title;
  find("[data-reason]", dialog).textContent = why;
  find("button[value=yes]", dialog).textContent = yes;
  return (await ask(dialog)) === "yes";
}

export function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}

/** Menus close when something else is clicked, or by Escape; dialogs by a click beside them. */
export function manage() {
  document.addEventListener("click", (event) => {
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target) && !event.target.closest(".picker")) menu.open = false;
    if (event.target instanceof HTMLDialogElement && outside(event.target, event)) event.target.close();
    const opener = event.target.closest("[data-open]");
    if (opener) find(`#${opener.dataset.open}`).showModal();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of all("details.menu[open]")) { menu.open = false; find("summary", menu).focus(); }
  });
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.("details.menu[open]")) return;
    (find("input:checked", event.target) ?? find("input:not([type=hidden])", event.target))?.focus();
  }, true);
}

function outside(dialog, event) {
  const box = dialog.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}
