// The series explorer: the counts of one key over a range.

import { ask } from "./api.js";
import { chart } from "./chart.js";
import { byId, count, element, setText } from "./dom.js";

/** The largest number of bars. Finer steps are added up, because a bar of a pixel cannot be seen. */
const BARS = 150;
/** The steps to which points are added up, in seconds. */
const STEPS = [1, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400];
const RANGES = {
  "1h": { words: "in the last hour", tick: 600 },
  "24h": { words: "in the last 24 hours", tick: 4 * 3600 },
  "7d": { words: "in the last 7 days", tick: 86400 },
  "30d": { words: "in the last 30 days", tick: 5 * 86400 },
};
/** The interval at which the shown range is read again, in milliseconds. */
const REFRESH = 10000;

const picture = chart(byId("explorer-chart"));
const form = byId("explore");
let asking = new AbortController();
let shown = null;
let refused = () => {};

/** Starts the explorer. It passes answers that ask for another token to `onRefusal`. */
export function start(onRefusal) {
  refused = onRefusal;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    explore();
  });
  form.addEventListener("change", (event) => {
    if (event.target.id !== "key" && byId("key").value) explore();
  });
  setInterval(() => {
    if (shown && !document.hidden) load(shown);
  }, REFRESH);
}

/** Shows the series of the configuration. Each has a second series with the hits that limits denied. */
export function setUp(declared) {
  const choice = byId("series");
  const chosen = choice.value;
  const options = Object.keys(declared.series).flatMap((name) => [
    element("option", { value: name }, name),
    element("option", { value: `${name}.limited` }, `${name}.limited`),
  ]);
  choice.replaceChildren(...options);
  if (options.some(({ value }) => value === chosen)) choice.value = chosen;
  for (const control of form.elements) control.disabled = options.length === 0;
  if (!options.length) setText("explorer-empty", "No series is configured. A section [series.NAME] adds one.");
}

function explore() {
  const range = new FormData(form).get("range");
  shown = { series: byId("series").value, key: byId("key").value, range };
  load(shown);
}

async function load({ series, key, range }) {
  asking.abort();
  asking = new AbortController();
  const path = `/v1/series/${encodeURIComponent(series)}`;
  try {
    const points = await ask(path, { key, from: `-${range}`, to: "now" }, asking.signal);
    show({ series, key, range, points, sum: points.sum });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.asksForToken) refused(error);
    byId("explorer-drawn").hidden = true;
    byId("explorer-empty").hidden = true;
    byId("explorer-error").hidden = false;
    setText("explorer-error", error.status ? error.message : "The server does not answer; this is tried again.");
  }
}

function show({ series, key, range, points, sum }) {
  byId("explorer-error").hidden = true;
  byId("explorer-empty").hidden = sum > 0;
  if (!sum) setText("explorer-empty", `Nothing was counted in ${series} for the key ${key} ${RANGES[range].words}. Check the key, or take a longer range.`);
  // The element is shown before it is drawn, because a hidden element has no size.
  byId("explorer-drawn").hidden = sum === 0;
  const isLimited = series.endsWith(".limited");
  setText("explorer-sum", count(sum));
  setText("explorer-unit", `${sum === 1 ? "hit" : "hits"}${isLimited ? " limited" : ""}`);
  setText("explorer-key", key);
  setText("explorer-span", RANGES[range].words);

  const { start, step, values } = coarser(points);
  setText("explorer-caption", `Hits per ${words(step)}, ${Intl.DateTimeFormat().resolvedOptions().timeZone} time`);
  const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: step % 60 ? "medium" : "short", hourCycle: "h23" });
  picture.draw({
    stacks: [{ name: isLimited ? "limited" : "accepted", values }],
    ticks: ticks(start, step, values.length, RANGES[range].tick),
    tip: (i) => `${time.format((start + i * step) * 1000)}\n${count(values[i])} hits in ${words(step)}`,
    label: `${count(sum)} hits of ${key} ${RANGES[range].words}`,
  });
}

/** Adds up points to bars that begin at multiples of their length. */
function coarser(points) {
  const from = Date.parse(points.start) / 1000;
  const length = points.step * points.values.length;
  const step = STEPS.find((step) => step % points.step === 0 && length <= step * BARS) ?? points.step;
  const start = Math.floor(from / step) * step;
  const values = new Array(Math.ceil((from + length - start) / step)).fill(0);
  points.values.forEach((value, i) => {
    values[Math.floor((from + i * points.step - start) / step)] += value;
  });
  return { start, step, values };
}

/** A step as exact text: 90 s, 12 min, 6 h. */
function words(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds % length === 0) return `${seconds / length} ${unit}`;
  }
  return `${seconds} s`;
}

/** Labels at round local times. */
function ticks(start, step, bars, every) {
  const made = [];
  const days = every / 86400;
  const format = new Intl.DateTimeFormat(undefined, days >= 1 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const time = new Date(start * 1000);
  time.setHours(0, 0, 0, 0);
  for (;;) {
    const at = (time.getTime() / 1000 - start) / step;
    if (at >= bars) return made;
    if (at >= 0) made.push({ at, text: format.format(time) });
    if (days >= 1) time.setDate(time.getDate() + days);
    else time.setTime(time.getTime() + every * 1000);
  }
}
