// Keys that work on every page.

import { takeBack } from "./corrections.js";
import { find, typing } from "./dom.js";

const PLACES = { l: "/", p: "/people", r: "/review", s: "/search", a: "/jobs" };
let going = -Infinity; // when "g" was pressed; times count from the start of the page

export function manage() {
  document.addEventListener("keydown", (event) => {
    if (typing(event)) return;
    if (event.timeStamp - going < 1200 && PLACES[event.key]) {
      event.preventDefault();
      event.stopImmediatePropagation();
      location.assign(PLACES[event.key]);
    } else if (event.key === "g") { going = event.timeStamp; event.stopImmediatePropagation(); }
    else if (event.key === "/") { event.preventDefault(); find("[data-find]").focus(); }
    else if (event.key === "?") find("#help").showModal();
    else if (event.key === "u") takeBack();
  });
}
