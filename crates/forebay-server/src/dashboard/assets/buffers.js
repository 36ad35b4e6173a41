// Buffers: what waits for the database, since when, and what went wrong.

import { byId, count, element, span } from "./dom.js";

const FIGURES = [
  ["pending_rows", "Pending", "rows", "not in the database yet"],
  ["oldest_age", "Oldest", "", "waiting for its flush"],
  ["frozen_batches", "Frozen", "batches", "on their way"],
  ["flushed_rows", "Flushed", "rows", "by this process since its start"],
  ["dead_rows", "Dead letters", "rows", "that the database refused"],
];

/** What is shown of each buffer, by name. */
let shown = {};

/** Learns which buffers there are. */
export function setUp(declared) {
  shown = {};
  const cards = Object.entries(declared.buffers).map(([name, buffer]) => {
    const values = {};
    const figures = FIGURES.map(([key, title, unit, note]) => {
      values[key] = element("b", { "data-figure": key }, "–");
      return element("div", {},
        element("dt", {}, title),
        element("dd", {}, values[key], unit && ` ${unit}`),
        element("dd", { class: "note" }, note));
    });
    const error = element("p", { class: "error", hidden: "" });
    shown[name] = { values, error };
    const title = element("h3", {}, element("span", { class: "name" }, name),
      element("span", { class: "note" }, ` to table ${buffer.table}, every ${span(buffer.flush_every)}`));
    return element("div", { class: "buffer", "data-buffer": name }, title, element("dl", { class: "figures" }, ...figures), error);
  });
  byId("buffer-list").replaceChildren(...cards);
  byId("buffers-empty").hidden = cards.length > 0;
}

/** Takes a line of the live stream. */
export function update(line) {
  for (const [name, { values, error }] of Object.entries(shown)) {
    const stats = line.buffers[name];
    for (const [key, node] of Object.entries(values)) {
      const value = stats?.[key];
      node.textContent = value === undefined ? "–" : key === "oldest_age" ? span(value) : count(value);
    }
    values.dead_rows.classList.toggle("error", stats?.dead_rows > 0);
    const failure = stats ? stats.last_error && `Last flush failed: ${stats.last_error}` : "The store, or one of its hosts, does not answer.";
    error.hidden = !failure;
    error.textContent = failure ?? "";
  }
}
