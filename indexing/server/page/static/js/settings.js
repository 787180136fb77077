// How closely files are looked at that are added: chosen once, kept in the browser, sent with each of them.

import { find } from "./dom.js";
import { onRefresh } from "./refresh.js";

const KEY = "facetrack-settings";
const form = () => find("[data-settings]");

export function manage() {
  show();
  onRefresh(show);
  document.addEventListener("change", ({ target }) => target.form?.matches("[data-settings]") && keep());
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-settings]")) return;
    event.preventDefault();
    event.target.closest("details").open = false;
    find("summary", event.target.closest("details")).focus();
  });
}

/** Return the settings of a job, as the service takes them; what is left out is its default. */
export function chosen() {
  const { preset, emotions, detect_every, emotion_fps } = kept(), job = {};
  if (preset) job.preset = preset;
  if (detect_every) job.detect_every = Number(detect_every);
  if (emotions === false) job.emotion = "none";
  else if (emotion_fps) job.emotion_fps = Number(emotion_fps);
  return job;
}

// A browser may forbid a page to keep anything, and somebody may have kept something else there.
function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function keep() {
  if (!form().reportValidity()) return;
  const { preset, emotions, detect_every, emotion_fps } = form().elements;
  const settings = { preset: preset.value, emotions: emotions.checked, detect_every: detect_every.value, emotion_fps: emotion_fps.value };
  try { localStorage.setItem(KEY, JSON.stringify(settings)); } catch { return; }
  show();
}

function show() {
  if (!form()) return;
  const { elements } = form(), settings = kept();
  if (settings.preset) elements.preset.value = settings.preset;
  elements.emotions.checked = settings.emotions !== false;
  elements.detect_every.value = settings.detect_every ?? "";
  elements.emotion_fps.value = settings.emotion_fps ?? "";
  elements.emotion_fps.disabled = !elements.emotions.checked;
  const preset = elements.preset.value;
  find("[data-settings-told]").textContent = `${preset.charAt(0).toUpperCase()}${preset.slice(1)}${elements.emotions.checked ? "" : ", no emotions"}`;
}
