// Draws one canary's charts, keeps them up to date, and reads their values where the pointer is.
"use strict";

(() => {
  const section = document.getElementById("charts");
  const places = [...section.querySelectorAll("[data-chart]")];
  const reading = document.getElementById("reading"), still = reading.textContent;
  const FAST_MS = 2000, SLOW_MS = 30000, NEAR_PX = 6, NARROW = 420;
  const TONES = { rollback: "--bad", page: "--bad", share: "--soft", look: "--mark", model: "--warn" };
  const charts = new Map();
  let course = null, waiting = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Each chart's value of one arm in slot i, and how it reads.
  const share = (name) => ({ of: (arm, i) => arm.requests[i] ? 100 * arm[name][i] / arm.requests[i] : null, unit: " %" });
  const KINDS = {
    requests: { of: (arm, i) => arm.requests[i] * 60 / course.slice_s, unit: " a minute", whole: true },
    errors: share("errors"),
    faults: share("faults"),
    p95_s: { of: (arm, i) => arm.p95_s[i], unit: " s" },
    cost_usd: { of: (arm, i) => arm.cost_usd[i], unit: " $" },
    users: { of: (arm, i) => arm.users[i], unit: "", whole: true },
  };

  const two = (number) => String(number).padStart(2, "0");
  const isLong = () => course.arms.baseline.requests.length * course.slice_s > 2 * 86400;

  function clock(at) {
    const then = new Date(at * 1000), hour = `${two(then.getHours())}:${two(then.getMinutes())}`;
    return isLong() ? `${then.getDate()} ${then.toLocaleString("en", { month: "short" })}` : hour;
  }

  function moment(at) {
    const then = new Date(at * 1000);
    return `${then.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" })} (${then.toISOString().slice(11, 19)} UTC)`;
  }

  const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
  const figure = (value, { unit }) => value == null ? "–" : `${Number(value.toPrecision(3))}${unit}`;

  // A dot for a value without neighbours, which has no line.
  const alone = (drawn, series) => drawn.data[series].flatMap((value, i, all) =>
    value != null && all[i - 1] == null && all[i + 1] == null ? [i] : []);

  function drawMarks({ ctx, bbox, valToPos }) {
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const mark of course.marks) {
      const x = valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = colour(TONES[mark.kind]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  // The list of the marks, as the page has it at first.
  function listMarks() {
    const list = section.querySelector(".marks");
    list.replaceChildren(...course.marks.map(({ at, kind, words }) => {
      const line = document.createElement("li"), time = document.createElement("time"), word = document.createElement("span");
      time.dateTime = new Date(at * 1000).toISOString().replace(/\.\d+/, "");
      word.className = `word ${({ rollback: "bad", page: "bad", model: "warn" })[kind] ?? "calm"}`;
      word.append(time);
      line.append(word, ` ${words}`);
      return line;
    }));
    list.hidden = !course.marks.length;
  }

  // The values under the pointer stand at each chart, the time and the marks beside it once for all.
  function read({ cursor, data, valToPos }) {
    const i = cursor.idx ?? null;
    for (const place of places) {
      const values = charts.get(place.dataset.chart)?.data ?? [], kind = KINDS[place.dataset.chart];
      place.parentElement.querySelector(".value").textContent = i === null ? ""
        : `${figure(values[1][i], kind)} · ${figure(values[2][i], kind)}`;
    }
    const near = i === null ? [] : course.marks.filter(({ at }) => Math.abs(valToPos(at, "x") - cursor.left) <= NEAR_PX);
    reading.textContent = i === null ? still : [moment(data[0][i]), ...near.map(({ words }) => words)].join(" · ");
  }

  function chart(place, size) {
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
    return new uPlot({
      ...size,
      legend: { show: false },
      cursor: { sync: { key: "canary" }, drag: { x: false, y: false }, y: false },
      scales: { x: { range: (_, low, high) => [low, high > low ? high : low + course.slice_s] },
        y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, size: 26, values: (_, at) => at.map(clock), space: (self) => self.width < NARROW ? 80 : 60 },
        { ...axis, size: 48, space: 30, values: (_, at) => at.map(digits) },
      ],
      series: [{},
        { stroke: () => colour("--other"), width: 2, dash: [6, 4], points: { size: 4, filter: alone } },
        { stroke: () => colour("--mark"), width: 2, points: { size: 4, filter: alone } },
      ],
      hooks: { draw: [drawMarks], setCursor: [read] },
    }, [[], [], []], place);
  }

  function draw() {
    const { start, slice_s, arms } = course, slots = arms.baseline.requests.length;
    const times = Array.from({ length: slots }, (_, i) => start + i * slice_s);
    for (const place of places) {
      const name = place.dataset.chart, { of, whole } = KINDS[name];
      // The newest slot has not ended: what adds up in it is not known yet.
      const values = (arm) => times.map((_, i) => whole && slots > 1 && i === slots - 1 ? null : of(arm, i));
      const size = { width: place.clientWidth, height: place.clientHeight };
      if (!charts.has(name)) charts.set(name, chart(place, size));
      const drawn = charts.get(name);
      if (drawn.width !== size.width) drawn.setSize(size);
      drawn.setData([times, values(arms.baseline), values(arms.candidate)]);
    }
  }

  // Put newer slots in the place of those from their start on, and forget as many as time has passed.
  function join(newer) {
    const place = Math.round((newer.start - course.start) / course.slice_s);
    if (newer.slice_s !== course.slice_s || place < 0 || place > course.arms.baseline.requests.length) return false;
    const gone = Math.max(0, place + newer.arms.baseline.requests.length - course.keeps);
    for (const arm of ["baseline", "candidate"]) {
      for (const [name, values] of Object.entries(newer.arms[arm])) {
        course.arms[arm][name] = [...course.arms[arm][name].slice(0, place), ...values].slice(gone);
      }
    }
    course.start += gone * course.slice_s;
    return true;
  }

  async function refresh() {
    clearTimeout(waiting);
    if (document.hidden) return;
    let next = SLOW_MS;
    try {
      const last = course && course.start + (course.arms.baseline.requests.length - 1) * course.slice_s;
      const answer = await fetch(section.querySelector("[data-course]").dataset.course + (course ? `&since=${last - 5 * course.slice_s}&marks=${course.start}` : ""));
      if (!answer.ok || answer.redirected) return;
      const found = await answer.json();
      if (!course) course = found;
      else if (join(found)) course.marks = found.marks;
      else course = null;
      if (course) {
        draw();
        listMarks();
      }
      next = course && course.slice_s > 1 ? SLOW_MS : FAST_MS;
    } catch (problem) {
      if (!(problem instanceof TypeError)) throw problem;  // a network that does not answer is asked again
    }
    waiting = setTimeout(refresh, next);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((each) => each.redraw()));
  document.addEventListener("visibilitychange", refresh);
  addEventListener("resize", () => course && draw());
  refresh();
})();
