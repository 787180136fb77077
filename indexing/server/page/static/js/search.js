// Pictures that are dropped, chosen or pasted, and who was found in them.

import { api } from "./api.js";
import { clock, find, make } from "./dom.js";
import { sentence } from "./dialogs.js";

const SHOWN = 6;
let files = [], turn = 0;
const videos = new Map();

export function start() {
  const zone = find("[data-dropzone]");
  find("[data-files]").addEventListener("change", ({ target }) => take(target.files));
  find("[data-search]").addEventListener("submit", (event) => event.preventDefault());
  find("[data-search]").addEventListener("change", ({ target }) => target.type !== "file" && again());
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
  addEventListener("paste", (event) => event.clipboardData?.files.length && take(event.clipboardData.files));
  again();
}

function take(list) {
  const pictures = [...list].filter(({ type }) => type.startsWith("image/"));
  if (!pictures.length) return say("problem", "These are no pictures; drop a JPEG, PNG or WebP.");
  files = pictures;
  history.replaceState(null, "", "/search");
  again();
}

function again() {
  const asked = new URLSearchParams(location.search);
  if (!files.length && ![...asked.keys()].length) return;
  find("[data-idle]").hidden = true;
  run(files.length ? posted() : looked(asked));
}

function options() {
  const form = new FormData(find("[data-search]"));
  return { far: form.get("far"), together: form.get("together") };
}

function posted() {
  const body = new FormData(), { far, together } = options();
  for (const file of files) body.append("file", file, file.name);
  return api(`/search?far=${far}${together ? "&together=true" : ""}`, { method: "POST", body });
}

function looked(asked) {
  asked.set("far", options().far);
  return api(`/search?${asked}`);
}

async function run(asked) {
  const mine = ++turn;
  say("busy", files.length ? "Looking for the faces…" : "Looking for who is alike…");
  try {
    const { items, errors } = { errors: [], ...(await asked) };
    await names(items);
    if (mine !== turn) return;
    const place = find("[data-results]");
    place.replaceChildren(...errors.map((text) => make("p", { class: "problem" }, sentence(text))), ...items.map(block));
    if (!items.length && !errors.length) say("problem", "No face was found in the picture. Take one that shows it larger, and from the front.");
  } catch (problem) {
    if (mine === turn) say("problem", sentence(problem.message));
  }
}

function say(kind, text) {
  find("[data-results]").replaceChildren(make("p", { class: kind }, text));
}

/** Learn what the videos are called that will be shown. */
async function names(answers) {
  const shown = answers.flatMap(({ matches }) => matches.flatMap(({ appearances }) => appearances.slice(0, SHOWN)));
  const unknown = [...new Set(shown.map(({ video }) => video))].filter((id) => !videos.has(id));
  await Promise.all(unknown.map(async (id) => videos.set(id, await api(`/videos/${id}`).catch(() => null))));
}

function block(answer) {
  const part = find("#answer-template").content.cloneNode(true), count = answer.matches.length;
  probe(find("[data-probe]", part), answer);
  find("[data-probe-name]", part).textContent = answer.image;
  find("[data-title]", part).textContent = count ? `${count} ${count === 1 ? "match" : "matches"}` : "Nobody here looks like this";
  find("[data-matches]", part).append(...answer.matches.map(match));
  if (!count) find("[data-matches]", part).append(make("li", { class: "soft small" }, "A less strict search may find more."));
  for (const out of answer.left_out) find("[data-matches]", part).append(make("li", { class: "soft small" }, `${out.image} shows somebody else and was left out.`));
  return part;
}

/** Draw the face that was searched for: cut from the picture that was dropped, or that of a person or track. */
async function probe(canvas, answer) {
  const asked = new URLSearchParams(location.search), file = files.find(({ name }) => name === answer.image) ?? (files.length === 1 ? files[0] : null);
  canvas.setAttribute("aria-label", `The face from ${answer.image}`);
  const pen = canvas.getContext("2d"), side = canvas.width;
  if (file) {
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" }), [x, y, w, h] = answer.box, edge = Math.max(w, h) * 1.7;
    pen.drawImage(picture, x + w / 2 - edge / 2, y + h / 2 - edge / 2, edge, edge, 0, 0, side, side);
    return;
  }
  const address = asked.has("person") ? `/api/v1/people/${asked.get("person")}/thumbnail.jpg` : `/api/v1/tracks/${asked.get("track")}/thumbnail.jpg`;
  const picture = new Image();
  picture.src = address;
  await picture.decode().then(() => pen.drawImage(picture, 0, 0, side, side), () => {});
}

function match(found) {
  const part = find("#match-template").content.cloneNode(true);
  const first = found.appearances[0], home = found.identity ? `/people/${found.identity}` : first ? moment(first) : "#";
  for (const link of part.querySelectorAll("[data-link]")) link.href = home;
  const face = find("[data-face]", part);
  face.src = found.thumbnail;
  face.alt = found.label;
  find("[data-name]", part).textContent = found.label;
  find("[data-meter]", part).value = found.probability;
  find("[data-percent]", part).textContent = found.probability > 0.995 ? "over 99 %" : `${Math.round(100 * found.probability)} %`;
  find("[data-far]", part).textContent = `· one stranger in ${Math.round(1 / Math.max(found.far, 1e-6)).toLocaleString("en")} is this alike`;
  const seen = found.appearances.slice(0, SHOWN).map((one) => make("a", { class: "n", href: moment(one) }, where(one)));
  find("[data-moments]", part).append(...seen, found.appearances.length > SHOWN ? `and ${found.appearances.length - SHOWN} more` : "");
  return part;
}

const moment = ({ video, start }) => `/videos/${video}?t=${start.toFixed(2)}`;

function where({ video, start, end }) {
  const known = videos.get(video), name = known?.name ?? `video ${video}`;
  return known?.is_image ? name : `${name} ${clock(start)}–${clock(end)}`;
}
