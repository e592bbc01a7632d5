// Updates one canary's page every second from the event stream, or by polling while there is no stream.
"use strict";

(() => {
  const live = document.getElementById("live");
  const announcer = document.getElementById("announcer");
  const connection = document.getElementById("connection");
  const POLL_MS = 5000, ASK_AGAIN_MS = 30000;
  let stream = null, polling = null, asking = null, key = live.dataset.key, stale = false, opener = null;

  // Updates

  function look(event) {
    const seen = JSON.parse(event.data);
    stopPolling();
    connection.textContent = "Live, updated every second.";
    htmx.swap({ text: seen.html, target: live, swap: "innerMorph" });
    changed(seen.key, seen.announcement);
  }

  function changed(now, words) {
    if (now !== key) {
      key = now;
      announcer.textContent = words;
      stale = true;
    }
    if (stale && !document.querySelector("dialog[open]")) {
      stale = false;
      htmx.trigger("#actions", "changed");
    }
  }

  document.addEventListener("close", (event) => {
    opener = event.target.id;
    stale = true;
    changed(key, "");
  }, true);

  // Do not replace the buttons while an order's dialog is open. After a replacement, restore the keyboard focus
  // to the same button, or to the first.
  document.addEventListener("htmx:before:swap", (event) => {
    if (event.target.id !== "actions") return;
    stale ||= document.querySelector("dialog[open]") !== null;
    if (stale) return event.preventDefault();
    opener = document.activeElement?.closest("#actions button")?.getAttribute("commandfor") ?? opener;
  });
  document.addEventListener("htmx:after:swap", (event) => {
    if (event.target.closest?.("dialog")) event.target.querySelector("button[command=close]")?.focus();
    if (event.target.id !== "actions" || opener === null) return;
    const same = document.querySelector(`#actions button[commandfor="${opener}"][command="show-modal"]`);
    if (document.activeElement === document.body) (same ?? document.querySelector("#actions button"))?.focus();
    opener = null;
  });

  // The connection

  function poll() {
    if (polling !== null) return;
    connection.textContent = "Not live: updated every five seconds.";
    polling = setInterval(() => htmx.trigger(live, "poll"), POLL_MS);
    htmx.trigger(live, "poll");
  }

  function stopPolling() {
    clearInterval(polling);
    polling = null;
  }

  function watch() {
    clearTimeout(asking);
    stream?.close();
    stream = new EventSource(live.dataset.events);
    stream.addEventListener("look", look);
    stream.onerror = () => {
      poll();
      if (stream.readyState === EventSource.CLOSED) asking = setTimeout(watch, ASK_AGAIN_MS);
    };
  }

  // A hidden page closes its stream, because a browser allows only a few connections to one host.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return watch();
    clearTimeout(asking);
    stopPolling();
    stream?.close();
  });
  watch();
})();
