// One key for each element with `data-key`: fields are focused, all others clicked. Not while text is typed,
// and once for each press. A form is sent once, until its page is shown anew or Escape stops its sending.
"use strict";

let sent = false;

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("textarea, input:not([type=checkbox])");
  if (event.key === "Escape") sent = false;
  if (typing && event.key === "Escape") typing.blur();
  if (typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const meant = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!meant) return;
  event.preventDefault();
  if (meant.matches("textarea, input:not([type=checkbox])")) meant.focus();
  else meant.click();
});
document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
});
window.addEventListener("pageshow", () => { sent = false; });
