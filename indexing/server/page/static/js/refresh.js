// The page as the server fills it now, put in place part by part: what the server draws is drawn in one place only.

import { all, find } from "./dom.js";

const listeners = new Set();

/** Call `listener` after parts were put in place. */
export const onRefresh = (listener) => listeners.add(listener);

export async function refresh() {
  const answer = await fetch(location.href, { credentials: "same-origin", headers: { Accept: "text/html" } });
  if (!answer.ok) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const focus = remembered();
  const old = all("[data-part]"), fresh = all("[data-part]", page);
  const key = (parts) => parts.map((part) => part.dataset.part).join();
  if (!answer.redirected && key(old) === key(fresh)) old.forEach((part, place) => part.replaceWith(keepOpen(part, fresh[place])));
  else replaceAll(page);
  // Who was merged is somebody else now.
  if (answer.redirected) history.replaceState(null, "", answer.url);
  document.title = page.title;
  document.body.dataset.revision = page.body.dataset.revision ?? "";
  for (const listener of listeners) listener();
  focus();
}

function replaceAll(page) {
  const main = document.adoptNode(find("main", page));
  main.dataset.ready = "true";
  find("main").replaceWith(main);
}

function keepOpen(old, fresh) {
  if (old instanceof HTMLDetailsElement) fresh.open = old.open;
  return document.adoptNode(fresh);
}

/** Return a function that gives the focus back to where it was, by what the element is called. */
function remembered() {
  const active = document.activeElement;
  const owner = active?.closest?.("[data-person], [data-lane], [data-part]");
  if (!owner) return () => {};
  const name = owner.dataset.person ? `[data-person="${owner.dataset.person}"]` : owner.dataset.lane ? `[data-lane="${owner.dataset.lane}"]` : `[data-part="${owner.dataset.part}"]`;
  const kind = ["[data-cell]", ".name-field", "[data-track]", "button"].find((selector) => active.matches(selector));
  return () => kind && find(`${name} ${kind}`)?.focus({ preventScroll: true });
}
