// Files that are chosen or dropped on any page, sent with progress, then followed until they are worked through.

import { read } from "./api.js";
import { all, find, frames, make } from "./dom.js";
import { refresh } from "./refresh.js";
import { chosen } from "./settings.js";
import { toast } from "./toasts.js";

const AT_ONCE = 2;
const waiting = [];
let sending = 0;

export function manage() {
  document.addEventListener("change", ({ target }) => {
    if (!target.closest("[data-upload]")) return;
    add(target.files);
    target.value = "";
  });
  let depth = 0;
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files") && document.body.dataset.page !== "search";
  const leave = () => { depth = 0; document.body.classList.remove("dragging-files"); };
  addEventListener("dragenter", (event) => { if (files(event)) { depth++; document.body.classList.add("dragging-files"); } });
  addEventListener("dragleave", (event) => { if (files(event) && --depth <= 0) leave(); });
  addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    leave();
    add(event.dataTransfer.files);
  });
  addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
}

function add(files) {
  waiting.push(...[...files].map((file) => ({ file, ...card(file.name) })));
  next();
}

function card(name) {
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
  const state = make("span", { class: "soft n" }, "waiting");
  const close = make("button", { class: "round", type: "button", "aria-label": `Close ${name}` }, "×");
  const box = make("div", { class: "upload", dataset: { upload: name } }, make("div", { class: "upload-head" }, make("strong", { title: name }, name), close), bar, state);
  find("#uploads").append(box);
  return { bar, state, box, close };
}

function next() {
  while (sending < AT_ONCE && waiting.length) post(waiting.shift());
}

function post(item) {
  const { file, bar, state, box, close } = item, call = new XMLHttpRequest(), body = new FormData();
  body.append("settings", JSON.stringify(chosen()));
  body.append("file", file, file.name);
  sending++;
  call.open("POST", "/api/v1/uploads");
  call.setRequestHeader("Accept", "application/json");
  call.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
    state.textContent = loaded < total ? `sent ${Math.floor((100 * loaded) / total)} %` : "sent; being looked at";
  });
  call.addEventListener("loadend", () => {
    sending--;
    next();
    try {
      if (!call.status) throw new Error("the connection broke off");
      follow(item, read(call.status, call.getResponseHeader("Content-Type") ?? "", call.responseText), call.status);
    } catch (problem) {
      fail(item, problem.message);
    }
  });
  close.addEventListener("click", () => { call.abort(); box.remove(); });
  call.send(body);
}

function fail({ box, bar, state }, text) {
  box.classList.add("failed");
  bar.remove();
  state.className = "bad";
  state.textContent = text;
}

function follow(item, job, status) {
  const { bar, state, box } = item;
  if (status === 200 && job.video) return done(item, job, "is in the library already");
  if (document.body.dataset.page === "jobs") { box.remove(); return refresh(); }
  const events = new EventSource(`/api/v1/jobs/${job.id}/events`);
  item.close.addEventListener("click", () => events.close());
  events.addEventListener("job", ({ data }) => {
    const now = JSON.parse(data);
    bar.max = now.frames_total || 1;
    if (now.frames_total) bar.value = now.frames_done; else bar.removeAttribute("value");
    state.textContent = now.state === "running" ? frames(now) : now.state;
    if (!["queued", "running"].includes(now.state)) {
      events.close();
      if (now.state === "done") done(item, now, "is in the library"); else fail(item, now.message || now.state);
    }
  });
}

function done({ file, box }, job, text) {
  box.remove();
  toast(`${file.name} ${text}`, job.video ? { label: "Open", action: () => location.assign(`/videos/${job.video}`), stay: 20000 } : {});
  if (["library", "people", "jobs"].includes(document.body.dataset.page) && !all("[data-upload] progress").length) refresh();
}
