// The keys that limits deny most, and the keys nearest to their limit.

import { ask } from "./api.js";
import { byId, count, element } from "./dom.js";

/** How often it is asked, in milliseconds. */
const PAUSE = 5000;
/** Rows of a table in all. */
const SHOWN = 10;

let limits = [];

/** Learns which limits there are. */
export function setUp(declared) {
  limits = Object.keys(declared.limits);
  refresh();
}

/** What every limit says to a question. One that is gone, or does not answer, says nothing; the live stream says why. */
async function each(question) {
  const rows = async (limit) => {
    const answer = await ask(`/v1/limits/${encodeURIComponent(limit)}/${question}`, { limit: SHOWN }).catch(() => []);
    return answer.map((row) => ({ ...row, of: row.limit, name: limit }));
  };
  return (await Promise.all(limits.map(rows))).flat();
}

function show(id, rows, tell) {
  byId(id).hidden = rows.length === 0;
  byId(`${id}-list`).replaceChildren(...rows.slice(0, SHOWN).map((row) =>
    element("tr", {}, element("td", {}, row.name), element("td", {}, row.key), element("td", {}, tell(row)))));
}

async function refresh() {
  const [near, denied] = await Promise.all([each("near"), each("top")]);
  show("near", near.sort((a, b) => b.share - a.share), ({ used, of, share }) =>
    `${count(used)} of ${count(of)} (${Math.round(share * 100)} %)`);
  show("denied", denied.sort((a, b) => b.denied - a.denied), ({ denied, error }) =>
    `${count(denied)}${error ? ` (at most ${count(error)} less)` : ""}`);
}

setInterval(() => { if (!document.hidden && limits.length) refresh(); }, PAUSE);
