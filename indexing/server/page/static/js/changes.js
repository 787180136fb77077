// Whether somebody else has changed what the page shows: asked now and then, while somebody looks at it.

import { api } from "./api.js";
import { find, make } from "./dom.js";
import { onRefresh, refresh } from "./refresh.js";

const EVERY = 5000;
let suspected = false;

export function manage() {
  if (!document.body.dataset.revision) return;
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
  onRefresh(() => tell(false));
}

async function look() {
  const shown = document.body.dataset.revision;
  if (document.hidden) return;
  const { revision } = await api("/revision").catch(() => ({}));
  if (!revision || shown !== document.body.dataset.revision) return;
  // What was said on this page is put in place a moment after it is stored: only what stays different is of others.
  if (revision !== shown && suspected) return tell(true);
  suspected = revision !== shown;
}

function tell(changed) {
  suspected = false;
  const place = find("#changed");
  if (changed === place.hasChildNodes()) return;
  const button = make("button", { class: "button small", type: "button" }, "Show");
  button.addEventListener("click", refresh);
  place.replaceChildren(...(changed ? [make("span", {}, "Changed elsewhere"), button] : []));
}
