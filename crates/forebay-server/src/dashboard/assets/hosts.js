// The hosts of a store with several hosts.

import { byId, count, decimal, element, span } from "./dom.js";

const STATES = { up: "good", down: "bad" };

/** Takes a line of the live stream. */
export function update({ hosts = [] }) {
  byId("hosts").hidden = hosts.length === 0;
  byId("host-list").replaceChildren(...hosts.flatMap(rows));
}

/** The row of a host, and one below it that says what is wrong. */
function rows(host) {
  const { name, health, since, lasted, slots, calls, latency, memory, skew } = host;
  const state = element("span", { class: "state", "data-state": STATES[health] ?? "wait" }, health);
  const cells = [
    name,
    state,
    lasted === null ? "–" : element("span", { title: `since ${since}` }, span(Math.floor(lasted))),
    slots === null ? "–" : count(slots),
    calls === null ? "–" : count(calls.in_flight),
    element("span", { title: histogram(latency) }, `${milliseconds(latency.p50)} / ${milliseconds(latency.p99)}`),
    memory === null ? "–" : mebibytes(memory.used) + (memory.max === null ? "" : ` of ${mebibytes(memory.max)}`),
    factor(skew?.calls ?? null),
  ];
  const row = element("tr", { "data-host": name }, ...cells.map((cell) => element("td", {}, cell)));
  const why = notes(host);
  if (!why) return [row];
  return [row, element("tr", { class: "why" }, element("td", { colspan: cells.length, class: "note" }, why))];
}

function notes({ reason, breaker_open, redirects: { moved, ask, try_again }, skew }) {
  const parts = reason ? [reason] : [];
  if (breaker_open) parts.push("circuit breaker open: most takes are not sent");
  if (moved + ask + try_again) parts.push(`redirects: ${count(moved)} MOVED, ${count(ask)} ASK, ${count(try_again)} TRYAGAIN`);
  if (skew?.calls > 1.5) parts.push(`${factor(skew.calls)} times the mean of the calls`);
  return parts.join(" · ");
}

const histogram = ({ buckets }) =>
  buckets.map(({ up_to, count: n }) => `${up_to === null ? "more" : `≤ ${milliseconds(up_to)}`}: ${count(n)}`).join("\n");
const milliseconds = (seconds) => (seconds === null ? "–" : `${decimal(seconds * 1000)} ms`);
const mebibytes = (bytes) => `${decimal(bytes / 2 ** 20)} MiB`;
const factor = (times) => (times === null ? "–" : times.toFixed(2));
