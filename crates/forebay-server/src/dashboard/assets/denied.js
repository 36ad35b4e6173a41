// The keys that limits deny most.

import { ask } from "./api.js";
import { byId, count, element } from "./dom.js";

/** How often it is asked, in milliseconds. */
const PAUSE = 5000;
/** Rows in all. */
const SHOWN = 10;

let limits = [];

/** Learns which limits there are. */
export function setUp(declared) {
  limits = Object.keys(declared.limits);
  refresh();
}

async function refresh() {
  let answers;
  try {
    const top = async (limit) => (await ask(`/v1/limits/${encodeURIComponent(limit)}/top`, { limit: SHOWN })).map((row) => ({ limit, ...row }));
    answers = await Promise.all(limits.map(top));
  } catch {
    // The live stream says what is wrong.
    return;
  }
  const rows = answers.flat().sort((a, b) => b.denied - a.denied).slice(0, SHOWN);
  byId("denied").hidden = rows.length === 0;
  byId("denied-list").replaceChildren(...rows.map(({ limit, key, denied, error }) =>
    element("tr", {},
      element("td", {}, limit),
      element("td", {}, key),
      element("td", {}, `${count(denied)}${error ? ` (at most ${count(error)} less)` : ""}`))));
}

setInterval(() => { if (!document.hidden && limits.length) refresh(); }, PAUSE);
