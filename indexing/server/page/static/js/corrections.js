// Every correction is a form; here it is sent without leaving the page, told, and offered to be taken back.

import { request } from "./api.js";
import { find } from "./dom.js";
import { refused, sentence, sure } from "./dialogs.js";
import { refresh } from "./refresh.js";
import { toast } from "./toasts.js";

/** Send fields to an address of a form; return what the service says, null where it was refused and left. */
export async function send(address, fields) {
  const body = fields instanceof FormData ? fields : formData(fields);
  for (;;) {
    try {
      return await request(address, { method: "POST", body: new URLSearchParams(body) });
    } catch (problem) {
      if ([404, 409, 422].includes(problem.status)) {
        if (!(await refused(problem))) return null;
        body.set("force", "true");
        continue;
      }
      toast(problem.message);
      return null;
    }
  }
}

function formData(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) for (const one of [value].flat()) body.append(name, one);
  return body;
}

/** Tell what was done, with a button that takes it back. */
export function tell(done, after = refresh) {
  const undo = done.undo ? { label: "Undo", action: () => takeBack(done, after) } : {};
  toast(sentence(done.told), undo);
}

export async function takeBack({ undo = 1, entry } = {}, after = refresh) {
  const done = await send("/undo", entry ? { count: undo, entry } : { count: undo });
  if (!done) return;
  toast(sentence(done.told));
  await after();
}

export async function correct(address, fields) {
  const done = await send(address, fields);
  if (!done) return false;
  if (done.next) location.assign(done.next);
  else { tell(done); await refresh(); }
  return true;
}

export function manage() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.correct || form.dataset.correct === "answer") return;
    event.preventDefault();
    submit(form, event.submitter);
  });
  document.addEventListener("focusout", ({ target }) => {
    if (target.matches(".name-field") && changed(target)) target.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.matches?.(".name-field")) {
      event.target.value = event.target.defaultValue;
      event.target.blur();
    }
  });
}

const changed = (field) => field.value.trim() !== field.defaultValue;

/** A name that was given is left for its face, from where the arrow keys go on. */
function leave(field, value) {
  field.defaultValue = value;
  if (document.activeElement !== field) return;
  field.blur();
  find("[data-cell]", field.closest(".card") ?? field)?.focus({ preventScroll: true });
}

async function submit(form, submitter) {
  const field = find(".name-field", form);
  if (field && !changed(field)) return field.blur();
  if (form.dataset.sure && !(await sure(form.dataset.sure, form.dataset.why, form.dataset.yes))) return;
  const body = new FormData(form, submitter?.form === form ? submitter : null);
  if (form.dataset.correct === "select" && !body.has("people") && !body.has("tracks")) return;
  const was = field?.value;
  if (field) leave(field, was.trim());
  form.closest("details.menu")?.removeAttribute("open");
  form.closest("dialog")?.close();
  const done = await correct(submitter?.getAttribute("formaction") || form.getAttribute("action"), body);
  if (!done && field) await refresh();
}
