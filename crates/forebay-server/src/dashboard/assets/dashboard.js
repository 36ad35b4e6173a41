// The page: connects to the live stream, asks for a token where the server requires one, and passes each line to its
// parts.

import * as buffers from "./buffers.js";
import * as explorer from "./explorer.js";
import * as hosts from "./hosts.js";
import * as hits from "./hits.js";
import * as keys from "./keys.js";
import * as setup from "./setup.js";
import { health, live, token } from "./api.js";
import { byId, setText } from "./dom.js";

/** The growing pauses between attempts to connect, in milliseconds. */
const PAUSES = [1000, 2000, 5000, 10000];
/** The interval of the checks of store and database, in milliseconds. */
const HEALTH = 5000;

let connection = new AbortController();
/** Ends the pause of the loop. */
let wake = () => {};

function status(id, state, text, why = "") {
  setText(id, text);
  byId(id).dataset.state = state;
  byId(id).title = why;
}

function take(line) {
  if (line.declared) {
    setText("version", line.declared.version);
    for (const part of [hits, keys, buffers, explorer, setup]) part.setUp(line.declared);
  }
  hits.update(line);
  buffers.update(line);
  hosts.update(line);
  status("status-live", "good", "live");
}

const pause = (milliseconds) => new Promise((resolve) => {
  wake = resolve;
  if (milliseconds !== undefined) setTimeout(resolve, milliseconds);
});

async function stayConnected() {
  let failures = 0;
  for (;;) {
    if (document.hidden) await pause();
    connection = new AbortController();
    let why = "the stream ended";
    try {
      await live((line) => { failures = 0; take(line); }, connection.signal);
    } catch (error) {
      if (error.asksForToken) {
        askForToken(error);
        await pause();
        continue;
      }
      why = error.message;
    }
    // A hidden page has disconnected on purpose. Browsers bound the connections to a host, and other tabs need them.
    if (document.hidden) continue;
    status("status-live", "bad", "reconnecting", why);
    await pause(PAUSES[Math.min(failures++, PAUSES.length - 1)]);
  }
}

function askForToken(refusal) {
  status("status-live", "wait", "token needed");
  setText("ask-why", token.get() ? `Refused: ${refusal.message}.` : "Without one it shows only whether it is healthy.");
  byId("ask").hidden = false;
  byId("forget").hidden = true;
  byId("token").focus();
}

function reconnect() {
  connection.abort();
  wake();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  byId("ask").hidden = true;
  byId("forget").hidden = false;
  reconnect();
});
byId("forget").addEventListener("click", () => {
  token.forget();
  location.reload();
});
byId("forget").hidden = !token.get();
document.addEventListener("visibilitychange", reconnect);

async function checkHealth() {
  try {
    const { store, database, warnings } = await health();
    for (const [name, answer] of Object.entries({ store, database })) {
      const isWell = answer === "ok";
      status(`status-${name}`, isWell ? "good" : "bad", isWell ? `${name} ok` : `${name} does not answer`, isWell ? "" : answer);
    }
    const troubles = [
      ...(store === "ok" ? [] : [`The store does not answer: ${store}`]),
      ...(database === "ok" ? [] : [`The database does not answer: ${database}`]),
      ...(warnings ?? []),
    ];
    setText("warnings", troubles.join(" · "));
    byId("warnings").hidden = !troubles.length;
  } catch {
    for (const name of ["store", "database"]) status(`status-${name}`, "wait", `${name} unknown`, "the server does not answer");
  }
}

explorer.start(askForToken);
setInterval(() => { if (!document.hidden) checkHealth(); }, HEALTH);
checkHealth();
stayConnected();
