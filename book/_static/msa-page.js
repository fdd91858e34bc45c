/* The theme's buttons that unfold a part of the contents have no name: give them one. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".bd-sidebar-primary summary").forEach((summary) => {
    const page = summary.closest("li")?.querySelector("a")?.textContent.trim();
    summary.setAttribute("aria-label", `Pages below ${page ?? "this one"}`);
  });
});
