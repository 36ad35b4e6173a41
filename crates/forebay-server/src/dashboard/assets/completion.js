// Suggests keys of a series while one is typed.

import { ask } from "./api.js";
import { element } from "./dom.js";

/** The pause after the last letter before the server is asked, in milliseconds. */
const PAUSE = 120;
const SHOWN = 20;

/** Fills `list`, the options of `field`, with the keys of `series()` that begin with its text. */
export function complete(field, list, series, onChoice) {
  let asking = new AbortController(), timer = 0;
  field.addEventListener("input", (event) => {
    clearTimeout(timer);
    // A choice from the list comes as a whole, typed letters come one by one.
    const isChoice = event.inputType === "insertReplacementText" || event.inputType === undefined;
    if (isChoice && [...list.children].some(({ value }) => value === field.value)) return onChoice(field.value);
    timer = setTimeout(suggest, PAUSE);
  });
  field.addEventListener("focus", () => {
    if (!field.value) suggest();
  });

  async function suggest() {
    asking.abort();
    asking = new AbortController();
    const name = series();
    if (!name) return;
    try {
      const { keys } = await ask(`/v1/series/${encodeURIComponent(name)}/keys`, { prefix: field.value, limit: SHOWN }, asking.signal);
      list.replaceChildren(...keys.map((value) => element("option", { value })));
    } catch {
      // Without suggestions, a key is typed whole. The chart says what the server has against it.
      list.replaceChildren();
    }
  }
}
