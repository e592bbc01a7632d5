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
// Copy the whole of what is shown shortened; where the browser forbids that, show and select it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    const shown = button.parentElement.querySelector("code");
    shown.textContent = text;
    getSelection().selectAllChildren(shown);
    button.textContent = "selected";
  }
});
// Show every time in the reader's own zone, and in UTC on hover; also of what an update brings.
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
function tellTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const text = Number.isNaN(at.valueOf()) ? time.textContent : LOCAL.format(at);
    if (time.textContent === text) continue;
    time.title = `${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
    time.textContent = text;
  }
}
new MutationObserver(tellTimes).observe(document.body, { childList: true, characterData: true, subtree: true });
tellTimes();
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
