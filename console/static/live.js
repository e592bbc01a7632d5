// Updates one canary's page every second from the event stream, or by polling while there is no stream.
"use strict";

(() => {
  const live = document.getElementById("live");
  const announcer = document.getElementById("announcer");
  const connection = document.getElementById("connection");
  const POLL_MS = 5000, ASK_AGAIN_MS = 30000;
  let stream = null, polling = null, asking = null, key = live.dataset.key, stale = false, opener = null;

  // Charts

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const charts = new Map();

  // Draw a dot for a value without neighbours, which has no line.
  const alone = (drawn, series) => drawn.data[series].flatMap((value, i, all) =>
    value != null && all[i - 1] == null && all[i + 1] == null ? [i] : []);

  function chart(place, size) {
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
    return new uPlot({
      ...size, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, range: () => [-10, 0] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, size: 26, splits: (self) => self.width < 420 ? [-10, -5, 0] : [-10, -8, -6, -4, -2, 0], values: (_, at) => at.map((each) => each ? `${-each} min ago` : "now"), space: 80 },
        { ...axis, size: 44, space: 30 },
      ],
      series: [{},
        { stroke: () => colour("--other"), width: 2, dash: [6, 4], points: { size: 5, filter: alone } },
        { stroke: () => colour("--mark"), width: 2.5, points: { size: 5, filter: alone } },
      ],
    }, [[], [], []], place);
  }

  // The newest slice is incomplete: scale by its elapsed time, once that is a few seconds.
  function values(kind, arm, { slice_s, newest_s }) {
    if (kind === "requests") {
      const newest = arm.requests.length - 1;
      return arm.requests.map((count, i) => i < newest ? count * 60 / slice_s : newest_s < 5 ? null : count * 60 / newest_s);
    }
    if (kind === "errors") return arm.requests.map((count, i) => count ? 100 * arm.errors[i] / count : null);
    return arm[kind];
  }

  function draw(recent) {
    if (!recent) return;
    const { arms, slice_s } = recent, slices = arms.baseline.requests.length;
    const minutes = arms.baseline.requests.map((_, i) => (i + 1 - slices) * slice_s / 60);
    for (const place of document.querySelectorAll("[data-chart]")) {
      const kind = place.dataset.chart, size = { width: place.clientWidth, height: place.clientHeight };
      if (!charts.has(kind)) charts.set(kind, chart(place, size));
      const drawn = charts.get(kind);
      if (drawn.width !== size.width) drawn.setSize(size);
      drawn.setData([minutes, values(kind, arms.baseline, recent), values(kind, arms.candidate, recent)]);
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((each) => each.redraw()));

  // Updates

  function look(event) {
    const seen = JSON.parse(event.data);
    stopPolling();
    connection.textContent = "Live, updated every second.";
    htmx.swap({ text: seen.html, target: live, swap: "innerMorph" });
    draw(seen.recent);
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
    if (event.target.closest?.("dialog")) event.target.querySelector("button[command=close]").focus();
    if (event.target.id !== "actions" || opener === null) return;
    const same = document.querySelector(`#actions button[commandfor="${opener}"][command="show-modal"]`);
    if (document.activeElement === document.body) (same ?? document.querySelector("#actions button"))?.focus();
    opener = null;
  });

  // The connection

  function poll() {
    if (polling !== null) return;
    connection.textContent = "Not live: updated every five seconds. The charts are not updated.";
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
