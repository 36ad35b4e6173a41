// Hits accepted and limited: figures, and the last two minutes as a chart.

import { chart } from "./chart.js";
import { byId, count, decimal, element, setText, span } from "./dom.js";

/** The seconds in the chart. */
const SECONDS = 120;
const ALL = "";
const COUNTS = ["accepted", "limited", "failed", "invalid"];

const picture = chart(byId("hits-chart"));
const choice = byId("event");
/** The hits per second, oldest first; null where no line arrived. */
let seconds = new Array(SECONDS).fill(null);
let last = null;

/** Shows the events of the configuration. */
export function setUp(declared) {
  const names = Object.keys(declared.events);
  const chosen = choice.value;
  choice.replaceChildren(element("option", { value: ALL }, "all"), ...names.map((name) => element("option", { value: name }, name)));
  choice.value = names.includes(chosen) ? chosen : ALL;
  byId("event-choice").hidden = names.length < 2;
  const [first] = names;
  setText("hits-empty-text", first
    ? "No hit in the last 2 minutes. Send one:"
    : "No event is configured. A section [events.NAME] adds one; this writes an example:");
  const bearer = declared.tokens ? '-H "Authorization: Bearer $FOREBAY_TOKEN" ' : "";
  setText("hits-try", first ? `curl ${bearer}-d '{"key":"42"}' ${location.origin}/v1/events/${first}` : "forebay init");
}

/** Takes a line of the live stream. The first line contains the history. */
export function update(line) {
  if (line.history) {
    // The server has seen everything that this page has, unless it was restarted since.
    if (line.started === last?.started) seconds.fill(null);
    last = null;
    for (const past of line.history) take({ started: line.started, ...past });
  }
  take(line);
  show();
}

function take(line) {
  // The server was restarted: its totals begin at zero.
  if (last && (line.elapsed < last.elapsed || line.started !== last.started)) last = null;
  if (last && line.elapsed === last.elapsed) return;
  if (last) {
    const passed = line.elapsed - last.elapsed;
    const rates = {};
    for (const name of Object.keys(line.events)) {
      rates[name] = {};
      for (const key of COUNTS) rates[name][key] = (line.events[name][key] - (last.events[name]?.[key] ?? 0)) / passed;
    }
    // After a pause, each of its seconds shows the average of the pause.
    const times = Math.min(Math.max(Math.round(passed), 1), SECONDS);
    for (let i = 0; i < times; i++) seconds.push(rates);
    seconds = seconds.slice(-SECONDS);
  }
  last = line;
}

function total(events, key) {
  const chosen = choice.value === ALL ? Object.keys(events) : [choice.value];
  return chosen.reduce((sum, name) => sum + (events[name]?.[key] ?? 0), 0);
}

function show() {
  if (!last) return;
  const of = (key) => seconds.map((rates) => (rates ? total(rates, key) : null));
  const accepted = of("accepted"), limited = of("limited");
  const sum = (values) => values.reduce((all, value) => all + (value ?? 0), 0);
  const taken = sum(accepted) + sum(limited);
  const known = seconds.some((rates) => rates);
  setText("accepted-rate", known ? decimal(accepted.at(-1)) : "–");
  setText("limited-rate", known ? decimal(limited.at(-1)) : "–");
  setText("limited-share", taken ? decimal((100 * sum(limited)) / taken) : "–");
  for (const key of COUNTS) setText(`${key}-total`, count(total(last.events, key)));
  byId("failed-total").classList.toggle("error", total(last.events, "failed") > 0);
  setText("hits-since", last.elapsed < SECONDS ? `; the server started ${span(last.elapsed)} ago` : "");
  byId("hits-empty").hidden = !known || taken > 0;
  draw(accepted, limited);
}

function draw(accepted, limited) {
  const ago = (i) => (i === SECONDS - 1 ? "now" : `${SECONDS - 1 - i} s ago`);
  const ticks = [0, 30, 60, 90].map((at) => ({ at, text: `−${SECONDS - at} s` }));
  picture.draw({
    stacks: [{ name: "accepted", values: accepted }, { name: "limited", values: limited }],
    ticks: [...ticks, { at: SECONDS, text: "now" }],
    tip: (i) => (accepted[i] === null
      ? `${ago(i)}: not known`
      : `${ago(i)}\naccepted ${decimal(accepted[i])} hits/s\nlimited ${decimal(limited[i])} hits/s`),
    label: `Hits per second over the last 2 minutes: now ${decimal(accepted.at(-1) ?? 0)} accepted, ${decimal(limited.at(-1) ?? 0)} limited`,
  });
}

choice.addEventListener("change", show);
