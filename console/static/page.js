// Scripts of every page: dialogs in browsers without `commandfor`, and the operator's name.
"use strict";

if (!("commandForElement" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[commandfor]");
    if (!button) return;
    const dialog = document.getElementById(button.getAttribute("commandfor"));
    if (button.getAttribute("command") === "show-modal") dialog.showModal();
    else dialog.close();
  });
}

// Remember the operator's name in this browser.
document.addEventListener("submit", (event) => {
  const who = event.target.querySelector("input[name=who]");
  if (who) localStorage.setItem("who", who.value);
});
document.addEventListener("focusin", (event) => {
  const who = event.target.closest("dialog")?.querySelector("input[name=who]");
  if (who && !who.value) who.value = localStorage.getItem("who") ?? "";
});
for (const who of document.querySelectorAll("main form:not(dialog form) input[name=who]"))
  who.value ||= localStorage.getItem("who") ?? "";
// Clear an order's result when its dialog closes.
document.addEventListener("close", (event) => {
  event.target.querySelector(".outcome")?.replaceChildren();
}, true);
// Keep the address of what the overview shows, so that the page loads the same again.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-address]");
  if (link && window.htmx) history.replaceState(null, "", link.href);
});
// A link may ask for an order: its dialog comes open, and is made modal here.
for (const dialog of document.querySelectorAll("dialog[open]")) {
  dialog.removeAttribute("open");
  dialog.showModal();
}
