// Jobs as they go on, and what people say meanwhile.

import { all, find, frames } from "./dom.js";
import { refresh } from "./refresh.js";

export function start() {
  const events = new EventSource("/api/v1/events");
  events.addEventListener("job", ({ data }) => {
    const job = JSON.parse(data), row = find(`[data-job="${job.id}"]`);
    if (!row || row.dataset.state !== job.state) return later();
    const bar = find("progress", row), text = find("[data-job-text]", row);
    if (bar && job.frames_total) { bar.max = job.frames_total; bar.value = job.frames_done; }
    if (job.state === "running") text.textContent = frames(job);
  });
  events.addEventListener("people", later);
  addEventListener("pagehide", () => events.close());
}

let timer = 0;

/** Many changes at once are shown once. */
function later() {
  clearTimeout(timer);
  timer = setTimeout(() => { if (!all("dialog[open]").length) refresh(); }, 250);
}
