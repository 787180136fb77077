// What every page starts with; what only one page needs is loaded by it.

import * as changes from "./changes.js";
import * as corrections from "./corrections.js";
import * as dialogs from "./dialogs.js";
import { find } from "./dom.js";
import * as keys from "./keys.js";
import * as picker from "./picker.js";
import * as settings from "./settings.js";
import * as theme from "./theme.js";
import * as uploads from "./uploads.js";

const PAGES = {
  people: () => import("./grid.js"),
  person: () => import("./person.js"),
  video: () => import("./video.js"),
  review: () => import("./review.js"),
  search: () => import("./search.js"),
  jobs: () => import("./jobs.js"),
};

document.body.classList.add("scripting");
// The list of a field comes first: its Escape closes nothing else.
for (const part of [picker, theme, dialogs, keys, corrections, settings, uploads, changes]) part.manage();

// A poster whose video is no longer where it was leaves its place dark.
document.addEventListener("error", ({ target }) => target.matches?.("img[data-fallback]") && target.classList.add("missing"), true);

document.addEventListener("change", ({ target }) => {
  if (target.form?.matches("[data-auto]") && target.type !== "search") target.form.requestSubmit();
});

await PAGES[document.body.dataset.page]?.().then((page) => page.start());
find("main").dataset.ready = "true";
