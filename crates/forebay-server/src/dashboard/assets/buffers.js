// Buffers: the pending rows, their age, and the last error.

import { byId, count, element, span } from "./dom.js";

const FIGURES = [
  ["pending_rows", "Pending", ["row", "rows"], "not in the database yet"],
  ["oldest_age", "Oldest", null, "waiting for its flush"],
  ["frozen_batches", "Frozen", ["batch", "batches"], "on the way"],
  ["flushed_rows", "Flushed", ["row", "rows"], "by this process since its start"],
  ["dead_rows", "Dead letters", ["row", "rows"], "that the database refused"],
];

/** The elements of each buffer, by name. */
let shown = {};

/** Shows the buffers of the configuration. */
export function setUp(declared) {
  shown = {};
  const cards = Object.entries(declared.buffers).map(([name, buffer]) => {
    const [values, units] = [{}, {}];
    const figures = FIGURES.map(([key, title, unit, note]) => {
      values[key] = element("b", { "data-figure": key }, "–");
      units[key] = element("span", {}, unit ? ` ${unit[1]}` : "");
      return element("div", {},
        element("dt", {}, title),
        element("dd", {}, values[key], units[key]),
        element("dd", { class: "note" }, note));
    });
    const error = element("p", { class: "error", hidden: "" });
    shown[name] = { values, units, error };
    const title = element("h3", {}, element("span", { class: "name" }, name),
      element("span", { class: "note" }, ` to table ${buffer.table}, every ${span(buffer.flush_every)}`));
    return element("div", { class: "buffer", "data-buffer": name }, title, element("dl", { class: "figures" }, ...figures), error);
  });
  byId("buffer-list").replaceChildren(...cards);
  byId("buffers-empty").hidden = cards.length > 0;
}

/** Takes a line of the live stream. */
export function update(line) {
  for (const [name, { values, units, error }] of Object.entries(shown)) {
    const stats = line.buffers[name];
    for (const [key, , unit] of FIGURES) {
      const [value, node] = [stats?.[key], values[key]];
      if (unit) units[key].textContent = ` ${unit[value === 1 ? 0 : 1]}`;
      node.textContent = value === undefined ? "–" : key === "oldest_age" ? span(value) : count(value);
    }
    values.dead_rows.classList.toggle("error", stats?.dead_rows > 0);
    const failure = stats ? stats.last_error && `Last flush failed: ${stats.last_error}` : "The store, or one of its hosts, does not answer.";
    error.hidden = !failure;
    error.textContent = failure ?? "";
  }
}
