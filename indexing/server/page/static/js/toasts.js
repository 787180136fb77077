// Short messages at the lower edge, with a button that takes back what they tell.

import { find, make } from "./dom.js";

const STAY = 9000;

export function toast(text, { label, action, stay = STAY } = {}) {
  const place = find("#toasts"), note = make("div", { class: "toast" }, make("span", {}, text));
  const close = () => note.remove();
  let timer = setTimeout(close, stay);
  // Who reads slowly, or has the pointer on it, is not hurried.
  for (const name of ["pointerenter", "focusin"]) note.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) note.addEventListener(name, () => { clearTimeout(timer); timer = setTimeout(close, stay); });
  if (label) {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => { close(); action(); });
    note.append(button);
  }
  while (place.children.length > 2) place.firstElementChild.remove();
  place.append(note);
  return close;
}
