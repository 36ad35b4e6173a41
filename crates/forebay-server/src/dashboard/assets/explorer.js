// The series explorer: keys of a series over a range, as the chart that the server draws. Its state is in the address.

import { text } from "./api.js";
import { complete } from "./completion.js";
import { byId, count, element, save, setText } from "./dom.js";
import { picture } from "./picture.js";

const RANGES = { "1h": "in the last hour", "24h": "in the last 24 hours", "7d": "in the last 7 days", "30d": "in the last 30 days" };
const KINDS = ["auto", "bars", "stacked", "line", "heatmap"];
const STEPS = ["auto", "10s", "1m", "15m", "1h", "day", "week", "month"];
/** The interval at which the shown range is read again, in milliseconds. */
const REFRESH = 10000;
/** The most keys, as of a query. */
const MOST_KEYS = 1000;

const form = byId("explore");
const place = byId("explorer-chart");
const dark = matchMedia("(prefers-color-scheme: dark)");
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const shown = picture(place, byId("explorer-readout"), zoom);
let asking = new AbortController();
let names = [];
let refused = () => {};
/** What is shown: {series, keys, range, from, to, step, kind, previous}. `from` and `to` take the place of a range. */
let state = read();
let width = 0;

/** Starts the explorer. It passes answers that ask for another token to `onRefusal`. */
export function start(onRefusal) {
  refused = onRefusal;
  for (const [id, choices] of [["step", STEPS], ["kind", KINDS]]) {
    byId(id).replaceChildren(...choices.map((value) => element("option", { value }, value)));
  }
  complete(byId("key"), byId("key-options"), () => byId("series").value, add);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    add(byId("key").value);
  });
  form.addEventListener("change", (event) => {
    if (event.target.id === "key") return;
    const kind = byId("kind").value;
    const range = new FormData(form).get("range");
    // A heat map of an hour says nothing.
    const isShort = kind === "heatmap" && event.target.id === "kind" && ["1h", "24h"].includes(range);
    const custom = range ? { range: isShort ? "7d" : range, from: "", to: "" } : {};
    go({ series: byId("series").value, step: byId("step").value, kind, previous: byId("previous").checked, ...custom });
  });
  byId("explorer-whole").addEventListener("click", () => go({ range: "24h", from: "", to: "" }));
  byId("explorer-svg").addEventListener("click", () => download("svg"));
  byId("explorer-csv").addEventListener("click", () => download("csv"));
  byId("explorer-table").addEventListener("toggle", table);
  addEventListener("popstate", () => {
    state = read();
    load();
  });
  dark.addEventListener("change", load);
  new ResizeObserver(() => {
    // A phone that is turned, not a scroll bar that comes and goes, nor a chart that is hidden because it was refused.
    if (place.clientWidth && Math.abs(place.clientWidth - width) > 24) load();
  }).observe(place);
  setInterval(() => {
    if (!document.hidden && !state.from && !shown.isSelecting()) load();
  }, REFRESH);
}

/** Shows the series of the configuration. Each has a second series with the hits that limits denied. */
export function setUp(declared) {
  names = Object.keys(declared.series).flatMap((name) => [name, `${name}.limited`]);
  byId("series").replaceChildren(...names.map((value) => element("option", { value }, value)));
  for (const control of form.elements) control.disabled = names.length === 0;
  if (!names.length) setText("explorer-empty", "No series is configured. A section [series.NAME] adds one.");
  load();
}

/** The state in the address. It is behind the #, which browsers send to nobody. */
function read() {
  const found = new URLSearchParams(location.hash.slice(1));
  const choice = (name, choices) => (choices.includes(found.get(name)) ? found.get(name) : choices[0]);
  return {
    series: found.get("series") ?? "",
    keys: [...new Set(found.getAll("key"))].filter(Boolean).slice(0, MOST_KEYS),
    range: choice("range", Object.keys(RANGES)),
    from: found.get("from") ?? "",
    to: found.get("to") ?? "",
    step: choice("step", STEPS),
    kind: choice("kind", KINDS),
    previous: found.get("previous") === "span",
  };
}

function address({ series, keys, range, from, to, step, kind, previous }) {
  const made = new URLSearchParams({ series });
  for (const key of keys) made.append("key", key);
  if (from) for (const [name, value] of [["from", from], ["to", to]]) made.set(name, value);
  else made.set("range", range);
  for (const [name, value] of [["step", step], ["kind", kind]]) if (value !== "auto") made.set(name, value);
  if (previous) made.set("previous", "span");
  return `#${made}`;
}

/** Changes the state, and remembers the one before for the browser's Back. */
function go(change) {
  const before = address(state);
  state = { ...state, ...change };
  if (!state.series) state.series = byId("series").value;
  if (address(state) !== before) history.pushState(null, "", address(state));
  load();
}

function add(key) {
  byId("key").value = "";
  if (key && !state.keys.includes(key)) go({ series: byId("series").value, keys: [...state.keys, key].slice(0, MOST_KEYS) });
}

function remove(key) {
  go({ keys: state.keys.filter((other) => other !== key) });
  byId("key").focus();
}

/** Zooms to a span that was selected in the chart. */
function zoom(from, to) {
  go({ from, to, step: "auto" });
}

/** The form as the state says. */
function fill() {
  byId("series").value = names.includes(state.series) ? state.series : byId("series").value;
  byId("step").value = state.step;
  byId("kind").value = state.kind;
  byId("previous").checked = state.previous;
  // A heat map has hours, and no earlier period.
  for (const id of ["step", "previous"]) byId(id).disabled = state.kind === "heatmap" || !names.length;
  for (const choice of form.elements.range) choice.checked = !state.from && choice.value === state.range;
  byId("keys").replaceChildren(...state.keys.map((key) => {
    const button = element("button", { type: "button", "aria-label": `Remove ${key}` }, "×");
    button.addEventListener("click", () => remove(key));
    return element("li", {}, element("bdi", {}, key), button);
  }));
  byId("keys").hidden = !state.keys.length;
  byId("explorer-whole").hidden = !state.from;
}

/** The query of the chart. */
function query(options) {
  const { keys, range, from, to, step, kind, previous } = state;
  const pairs = keys.map((key) => ["key", key]);
  pairs.push(["from", from || `-${range}`], ["to", to || "now"], ["tz", zone]);
  if (kind !== "auto") pairs.push(["kind", kind]);
  if (kind !== "heatmap") {
    if (step !== "auto") pairs.push(["step", step]);
    if (previous) pairs.push(["previous", "span"]);
  }
  return [...pairs, ...Object.entries(options)];
}

const path = () => `/v1/series/${encodeURIComponent(state.series)}/chart.svg`;

async function load() {
  fill();
  byId("explorer-empty").hidden = state.keys.length > 0;
  if (!state.keys.length || !state.series) {
    byId("explorer-drawn").hidden = true;
    byId("explorer-error").hidden = true;
    return;
  }
  asking.abort();
  asking = new AbortController();
  byId("explorer-drawn").hidden = false;
  width = place.clientWidth;
  const size = { width: Math.min(Math.max(width, 320), 4096), height: width < 500 ? 280 : 340, theme: dark.matches ? "dark" : "light" };
  try {
    const svg = await text(path(), query(size), asking.signal);
    shown.draw(svg);
    byId("explorer-error").hidden = true;
    tell();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.asksForToken) refused(error);
    byId("explorer-drawn").hidden = true;
    byId("explorer-error").hidden = false;
    setText("explorer-error", error.status ? error.message : "The server does not answer; this is tried again.");
  }
}

function tell() {
  const { keys, series, range, from } = state;
  const sum = shown.sum();
  setText("explorer-sum", count(sum));
  setText("explorer-unit", `${sum === 1 ? "hit" : "hits"}${series.endsWith(".limited") ? " limited" : ""}`);
  setText("explorer-key", keys.length > 3 ? `${keys.length} keys` : keys.join(", "));
  setText("explorer-span", from ? shown.span() : RANGES[range]);
  byId("explorer-none").hidden = sum > 0;
  table();
}

/** The values as a table, while it is open. */
function table() {
  if (!byId("explorer-table").open) return;
  const [heads, ...rows] = shown.rows();
  const cells = (tag, row, attributes = {}) => row.map((cell) => element(tag, attributes, cell));
  byId("explorer-rows").replaceChildren(
    element("thead", {}, element("tr", {}, ...cells("th", heads, { scope: "col" }))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row)))),
  );
}

async function download(form) {
  const name = `${state.series}.${form}`;
  if (form === "csv") {
    const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    save(name, "text/csv", shown.rows().map((row) => row.map(cell).join(",") + "\n").join(""));
    return;
  }
  save(name, "image/svg+xml", await text(path(), query({ theme: "auto" })));
}
