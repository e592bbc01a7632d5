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

  // The charted time: { start, end, labels }. The last ten minutes in minutes before now, or the whole run in
  // UTC seconds.
  let span = { start: -10, end: 0 };

  const clock = (seconds, days) => new Date(seconds * 1000).toISOString().slice(...(days ? [0, 10] : [11, 16]));

  function spanOf({ start, slice_s, first_at, last_at }) {
    if (start === null) return { start: -10, end: 0, whole: false };
    const begin = Math.min(first_at, last_at - slice_s);
    return { start: begin, end: last_at, whole: true, days: last_at - begin > 2 * 86400 };
  }

  // When each slice begins and ends, in seconds. The newest one has not ended; a run begins and ends within one.
  function edges({ start, slice_s, newest_s, first_at, last_at, arms }) {
    const slices = arms.baseline.requests, newest = slices.length - 1;
    return slices.map((_, i) => start === null
      ? [(i - newest) * slice_s - newest_s, i < newest ? (i + 1 - newest) * slice_s - newest_s : 0]
      : [Math.max(first_at, start + i * slice_s), Math.min(last_at, start + (i + 1) * slice_s)]);
  }

  function label(at) {
    if (span.whole) return clock(at, span.days);
    return at ? `${-at} min ago` : "now";
  }

  function splits(narrow) {
    if (!span.whole) return narrow ? [-10, -5, 0] : [-10, -8, -6, -4, -2, 0];
    const parts = narrow || span.days ? 2 : 4;
    return Array.from({ length: parts + 1 }, (_, i) => span.start + (span.end - span.start) * i / parts);
  }

  // Say which time is charted, if it is not the last ten minutes.
  function tell() {
    document.getElementById("charted").textContent = span.whole ? "The whole run" : "The last ten minutes";
    const note = document.getElementById("span"), text = (at) => `${clock(at, true)} ${clock(at)}`;
    note.hidden = !span.whole;
    note.textContent = span.whole
      ? `The candidate answered no request in the last ten minutes. The charts show this run instead, from ${text(span.start)} to ${text(span.end)} UTC.` : "";
  }

  function chart(place, size) {
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
    return new uPlot({
      ...size, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, range: () => [span.start, span.end] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, size: 26, splits: (self) => splits(self.width < 420), values: (_, at) => at.map(label), space: 80 },
        { ...axis, size: 44, space: 30 },
      ],
      series: [{},
        { stroke: () => colour("--other"), width: 2, dash: [6, 4], points: { size: 5, filter: alone } },
        { stroke: () => colour("--mark"), width: 2.5, points: { size: 5, filter: alone } },
      ],
    }, [[], [], []], place);
  }

  // Requests per minute of the time that a slice covers, once that is a few seconds.
  function values(kind, arm, ends) {
    if (kind === "requests") {
      return arm.requests.map((count, i) => ends[i][1] - ends[i][0] < 5 ? null : count * 60 / (ends[i][1] - ends[i][0]));
    }
    if (kind === "errors") return arm.requests.map((count, i) => count ? 100 * arm.errors[i] / count : null);
    return arm[kind];
  }

  function draw(recent) {
    if (!recent) return;
    const { arms, slice_s } = recent, ends = edges(recent), slices = ends.length;
    span = spanOf(recent);
    tell();
    const times = ends.map(([begin, end], i) => span.whole ? (begin + end) / 2 : (i + 1 - slices) * slice_s / 60);
    for (const place of document.querySelectorAll("[data-chart]")) {
      const kind = place.dataset.chart, size = { width: place.clientWidth, height: place.clientHeight };
      if (!charts.has(kind)) charts.set(kind, chart(place, size));
      const drawn = charts.get(kind);
      if (drawn.width !== size.width) drawn.setSize(size);
      drawn.setData([times, values(kind, arms.baseline, ends), values(kind, arms.candidate, ends)]);
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
    if (event.target.closest?.("dialog")) event.target.querySelector("button[command=close]")?.focus();
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
