// The keys that limits deny most, and the keys nearest to their limit.

import { ask } from "./api.js";
import { byId, count, element } from "./dom.js";

/** The interval of the requests, in milliseconds. */
const PAUSE = 5000;
/** The rows of a table. */
const SHOWN = 10;

let limits = [];

/** Takes the limits of the configuration. */
export function setUp(declared) {
  limits = Object.keys(declared.limits);
  refresh();
}

/** Asks every limit and collects the answers. A limit without an answer adds nothing; the live stream shows why. */
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
