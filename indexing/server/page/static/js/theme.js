// Dark or light: what the system says, or what was chosen. A cookie keeps it, so that the server sends the page in it.

import { find } from "./dom.js";

export function manage() {
  find("[data-theme-toggle]")?.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `facetrack_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  });
}
