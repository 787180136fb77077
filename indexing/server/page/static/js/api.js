// Requests to the service. A problem is an Error with what the service said.

export class Problem extends Error {
  constructor(status, detail, forcible = false) {
    super(detail);
    this.status = status;
    this.forcible = forcible;
  }
}

export async function request(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service does not answer; is it still running?");
  }
  return read(answer.status, answer.headers.get("Content-Type") ?? "", await answer.text());
}

/** Return the JSON of an answer, or throw what it complains of. */
export function read(status, type, text) {
  const body = type.includes("json") && text ? JSON.parse(text) : {};
  if (status === 401 || status === 403 && !body.detail) throw new Problem(status, "You are signed out; sign in again.");
  if (status >= 400) {
    const detail = typeof body.detail === "string" ? body.detail : body.title;
    throw new Problem(status, detail || `The service answered with ${status}.`, Boolean(body.forcible));
  }
  return body;
}

export const api = (path, options) => request(`/api/v1${path}`, options);
