// The declarations of the configuration.

import { byId, count, element, span } from "./dom.js";

const how = (kind) => (kind === "concurrency" ? "at a time" : kind.replace("-", " "));

/** Shows the configuration. */
export function setUp(declared) {
  const { events, limits, series, store, database } = declared;
  const list = (values) => values.join(", ") || "–";
  const limit = ({ name, key }) => (key === undefined ? name : `${name} (key ${key})`);
  byId("setup-list").replaceChildren(
    table("Events", ["Event", "Limits", "Series", "Buffers"], Object.entries(events).map(([name, event]) =>
      [name, list(event.limits.map(limit)), list(event.series), list(event.buffers)])),
    table("Limits", ["Limit", "Admits, per key", "How"], Object.entries(limits).map(([name, { quota, per, unit, kind, burst }]) =>
      per === null ? [name, quota === null ? "everything" : "nothing", "–"]
        : [name, `${count(quota)} per ${unit ?? span(per)}`, `${how(kind)}${burst ? `, burst ${count(burst)}` : ""}`])),
    table("Series", ["Series", "Bucket, kept for"], Object.entries(series).map(([name, resolutions]) =>
      [name, list(resolutions.map(({ step, retention }) => `${span(step)} for ${span(retention)}`))])),
    table("Where", ["", ""], [["Store", store], ["Database", database]]),
  );
}

function table(title, heads, rows) {
  const body = rows.length
    ? element("table", {},
        ...(heads.some(Boolean) ? [element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head))))] : []),
        element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))))
    : element("p", { class: "empty" }, `None. A section [${title.toLowerCase()}.NAME] adds one.`);
  return element("div", {}, element("h3", {}, title), body);
}
