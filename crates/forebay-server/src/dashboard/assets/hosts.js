// The hosts of a store with several hosts.

import { byId, count, element } from "./dom.js";

const STATES = { up: "good", down: "bad" };

/** Takes a line of the live stream. */
export function update({ hosts = [] }) {
  byId("hosts").hidden = hosts.length === 0;
  byId("host-list").replaceChildren(...hosts.map(({ name, health, slots, reason }) =>
    element("tr", { "data-host": name },
      element("td", {}, name),
      element("td", {}, element("span", { class: "state", "data-state": STATES[health] ?? "wait" }, health)),
      element("td", {}, slots === null ? "–" : count(slots)),
      element("td", {}, reason ?? ""))));
}
