// Scripts of every page and of a report in a file: times in the reader's own zone, and copies of whole ids.
"use strict";

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
    time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
    time.textContent = text;
  }
}
new MutationObserver(tellTimes).observe(document.body, { childList: true, characterData: true, subtree: true });
tellTimes();
for (const button of document.querySelectorAll("button[data-copy][hidden]")) button.hidden = false;
