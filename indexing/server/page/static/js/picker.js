// A field that takes a person, with a list of those whose name fits, and their faces.

import { api } from "./api.js";
import { faceOf, find, make } from "./dom.js";

const WAIT = 120;
let list = null, field = null, timer = 0, newest = 0;

export function manage() {
  document.addEventListener("focusin", ({ target }) => target.matches?.("[data-picker]") ? open(target) : close());
  document.addEventListener("input", ({ target }) => target === field && ask());
  document.addEventListener("keydown", (event) => event.target === field && list && steer(event));
  document.addEventListener("pointerdown", (event) => { if (list && !list.contains(event.target) && event.target !== field) close(); });
  addEventListener("resize", close);
}

function open(target) {
  close();
  field = target;
  list = make("ul", { class: "picker", role: "listbox", id: "picker-list", "aria-label": "People" });
  for (const [name, value] of Object.entries({ role: "combobox", "aria-expanded": "true", "aria-controls": "picker-list", "aria-autocomplete": "list" })) field.setAttribute(name, value);
  (field.closest("dialog") ?? document.body).append(list);
  ask(0);
}

function close() {
  if (!list) return;
  list.remove();
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
  list = field = null;
}

function ask(wait = WAIT) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const turn = ++newest, asked = field;
    if (!asked) return;
    const { items } = await api(`/people?limit=12&q=${encodeURIComponent(asked.value.trim())}`).catch(() => ({ items: [] }));
    if (turn === newest && asked === field) show(items);
  }, wait);
}

function show(people) {
  list.replaceChildren(...people.map((person, place) => {
    const row = make("li", { role: "option", id: `picker-${place}`, "aria-selected": "false" },
      make("img", { class: "face-image", alt: "", src: faceOf(person.best_track) }),
      make("span", {}, person.label));
    row.addEventListener("pointerdown", (event) => { event.preventDefault(); choose(person); });
    row.person = person;
    return row;
  }));
  if (!people.length) list.append(make("li", { class: "none" }, "Nobody of this name."));
  const box = field.getBoundingClientRect(), frame = list.offsetParent?.getBoundingClientRect() ?? { left: 0, top: 0 };
  const page = list.offsetParent && list.offsetParent !== document.body ? 0 : 1;
  const above = innerHeight - box.bottom < list.offsetHeight + 10 && box.top > list.offsetHeight;
  const top = above ? box.top - list.offsetHeight - 4 : box.bottom + 4;
  list.style.setProperty("left", `${box.left - frame.left * (1 - page) + scrollX * page}px`);
  list.style.setProperty("top", `${top - frame.top * (1 - page) + scrollY * page}px`);
  list.style.setProperty("width", `${Math.max(box.width, 240)}px`);
}

function steer(event) {
  const rows = [...list.querySelectorAll("[role=option]")], at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = (at + (event.key === "ArrowDown" ? 1 : at < 0 ? 0 : -1) + rows.length) % Math.max(rows.length, 1);
    rows.forEach((row, place) => row.setAttribute("aria-selected", String(place === next)));
    rows[next]?.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", rows[next]?.id ?? "");
  } else if (event.key === "Enter" && at >= 0) {
    event.preventDefault();
    choose(rows[at].person);
  } else if (event.key === "Escape") {
    event.preventDefault();
    event.stopImmediatePropagation();
    close();
  }
}

function choose(person) {
  const target = field;
  target.value = person.label;
  close();
  const button = find("button:not([type=button])", target.parentElement);
  button?.focus();
}
