// One key for each element with `data-key`: fields are focused, all others clicked. Not while text is typed.
"use strict";

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("textarea, input:not([type=checkbox])");
  if (typing && event.key === "Escape") typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const meant = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!meant) return;
  event.preventDefault();
  if (meant.matches("textarea, input:not([type=checkbox])")) meant.focus();
  else meant.click();
});
