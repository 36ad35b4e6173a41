// A chart that the server has drawn, and the values in it: by pointer, by keyboard, as a table.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
/** The pixels after which a press is a drag. */
const DRAG = 5;

const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** A number of the picture's data with its thousands separated, also one that is too large for a double. */
function grouped(text) {
  if (text === "-") return "–";
  const [whole, fraction] = text.split(".");
  if (!/^-?\d+$/.test(whole)) return text;
  const groups = BigInt(whole).toLocaleString("en");
  return fraction ? `${groups}.${fraction.slice(0, 4)}` : groups;
}

/**
 * Shows pictures in `place`, and the values that are pointed at in `readout`. It calls `onZoom(from, to)` with the times of a
 * span that was selected.
 */
export function picture(place, readout, onZoom) {
  let svg = null, columns = [], cells = [], names = [];
  /** The column that is pointed at, and the one at which a selection began. */
  let pointed = null, anchor = null, pressed = null;
  const mark = document.createElementNS(SVG, "rect");
  mark.setAttribute("class", "mark");

  /** Takes the picture apart. Nothing in it is a script, and the page's policy would not run one. */
  function draw(text) {
    const parsed = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    if (parsed.localName !== "svg") throw new Error("the server answered, but not with a picture");
    const at = columns[pointed]?.at;
    svg = document.importNode(parsed, true);
    const words = ["title", "desc"].map((name) => svg.querySelector(`:scope > ${name}`)?.textContent ?? "");
    svg.setAttribute("aria-label", words.join(". "));
    // What the readout says needs no second tip.
    for (const title of svg.querySelectorAll("title, desc")) title.remove();
    names = [...svg.querySelectorAll(".row")].map((row) => ({
      name: row.dataset.name,
      role: row.dataset.role,
      colour: row.getAttribute("fill") ?? row.querySelector("[stroke]")?.getAttribute("stroke"),
    }));
    const group = svg.querySelector(".columns");
    const rects = [...(group?.children ?? [])];
    columns = rects.map((rect, i) => ({
      at: rect.dataset.at,
      end: rects[i + 1]?.dataset.at ?? group.dataset.end,
      values: rect.dataset.values.split(" "),
      partial: rect.dataset.partial === "true",
      ...box(rect),
    }));
    cells = [...svg.querySelectorAll(".cells > rect")].map((rect) => ({ ...rect.dataset, ...box(rect) }));
    const again = columns.findIndex((column) => column.at === at);
    if (at !== undefined) pointed = again < 0 ? null : again;
    if (anchor !== null && !columns[anchor]) anchor = null;
    place.replaceChildren(svg);
    show();
  }

  const box = (rect) => Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, Number(rect.getAttribute(name))]));

  /** The column or cell at a place on the page. */
  function at({ clientX, clientY }) {
    const area = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / area.width;
    const [x, y] = [(clientX - area.left) * scale, (clientY - area.top) * scale];
    if (cells.length) {
      const found = cells.findIndex((cell) => x >= cell.x && x < cell.x + cell.width + 1 && y >= cell.y && y < cell.y + cell.height + 1);
      return found < 0 ? null : found;
    }
    const last = columns.at(-1);
    if (!last || x < columns[0].x - 8 || x > last.x + last.width + 8) return null;
    return Math.max(columns.findLastIndex((column) => column.x <= x), 0);
  }

  function show() {
    mark.remove();
    const area = cells[pointed] ?? columns[pointed];
    if (!area) return say([hint()]);
    const first = anchor === null ? area : columns[Math.min(anchor, pointed)];
    const last = anchor === null ? area : columns[Math.max(anchor, pointed)];
    const place = { x: first.x, y: area.y, width: Math.max(last.x + last.width - first.x, 1), height: area.height };
    for (const [name, value] of Object.entries(place)) mark.setAttribute(name, value);
    svg.append(mark);
    say(cells.length ? ofCell(area) : ofColumns(first, last));
  }

  /** Shows values. A picture that is read again must not make a screen reader repeat them. */
  function say(parts) {
    const words = parts.map((part) => part.textContent ?? part).join("");
    if (readout.dataset.words === words) return;
    readout.dataset.words = words;
    readout.replaceChildren(...parts);
  }

  const hint = () => element("span", { class: "note" }, cells.length
    ? "Point at an hour, or press an arrow key."
    : "Point at the chart or press an arrow key for values; drag, or hold Shift, to zoom in.");

  function ofCell({ weekday, hour, sum, seconds }) {
    const name = element("b", {}, `${DAYS[weekday - 1]} ${hour.padStart(2, "0")}:00`);
    if (sum === undefined) return [name, " not counted"];
    const average = Math.round((Number(sum) / Number(seconds)) * 3600 * 100) / 100;
    return [name, ` ${grouped(String(average))} per hour, ${grouped(sum)} in ${grouped(String(Math.round(seconds / 36) / 100))} h`];
  }

  function ofColumns(first, last) {
    const spanned = element("b", {}, span(first.at, last.end));
    if (first !== last) return [spanned, element("span", { class: "note" }, " Enter zooms in, Escape does not")];
    const values = names.map(({ name, role, colour }, i) => {
      const swatch = element("i", { class: `key ${role}` });
      if (colour) swatch.style.background = colour;
      return element("span", { class: "value" }, swatch, element("bdi", {}, name), " ", element("b", {}, grouped(first.values[i])));
    });
    return [spanned, ...values, ...(first.partial ? [element("span", { class: "note" }, "counted in part")] : [])];
  }

  function span(from, to) {
    const [start, end] = [new Date(from), new Date(to)];
    const format = end - start < 60000 ? exact : time;
    return format.formatRange(start, end);
  }

  /** Zooms to the selection. */
  function zoom() {
    if (anchor === null || pointed === null || cells.length) return;
    const [first, last] = [columns[Math.min(anchor, pointed)], columns[Math.max(anchor, pointed)]];
    anchor = pointed = pressed = null;
    onZoom(first.at, last.end);
  }

  place.addEventListener("pointermove", (event) => {
    if (!svg) return;
    const found = at(event);
    if (pressed !== null && Math.abs(event.clientX - pressed.x) > DRAG && found !== null && !cells.length) {
      anchor ??= pressed.column;
      // The drag goes on outside of the chart.
      place.setPointerCapture(event.pointerId);
    }
    if (anchor !== null && found === null) return;
    pointed = found;
    show();
  });
  place.addEventListener("pointerdown", (event) => {
    if (!svg || event.button !== 0) return;
    const column = at(event);
    anchor = null;
    pressed = column === null ? null : { x: event.clientX, column };
    pointed = column;
    show();
  });
  place.addEventListener("pointerup", () => {
    if (anchor !== null) zoom();
    pressed = null;
  });
  for (const name of ["pointercancel", "pointerleave", "blur"]) {
    place.addEventListener(name, () => {
      if (name === "pointerleave" && (pressed !== null || document.activeElement === place)) return;
      anchor = pointed = pressed = null;
      show();
    });
  }
  place.addEventListener("keydown", (event) => {
    const all = cells.length || columns.length;
    if (!all) return;
    // The first key goes to the newest value, or to the first hour.
    const now = pointed ?? (cells.length ? -1 : all);
    const places = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: all - 1 };
    if (cells.length) Object.assign(places, { ArrowUp: now - 24, ArrowDown: now + 24 });
    const next = places[event.key];
    if (event.key === "Enter") zoom();
    else if (event.key === "Escape") anchor = pointed = null;
    else if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    else {
      anchor = event.shiftKey && !cells.length ? anchor ?? pointed : null;
      pointed = Math.min(Math.max(next, 0), all - 1);
    }
    event.preventDefault();
    show();
  });

  /** The columns of the main rows. */
  const mains = () => names.flatMap(({ role }, i) => (role === "main" ? [i] : []));

  return {
    draw,
    isSelecting: () => pressed !== null || anchor !== null,
    /** The sum of all that is drawn. */
    sum: () => cells.length
      ? cells.reduce((sum, cell) => sum + Number(cell.sum ?? 0), 0)
      : columns.reduce((sum, { values }) => sum + mains().reduce((sum, i) => sum + (Number(values[i]) || 0), 0), 0),
    /** The time from the first column to the last one. */
    span: () => (columns.length ? `from ${span(columns[0].at, columns.at(-1).end)}` : "by the hour of the week"),
    /** The values as rows of texts, the first with the names. */
    rows: () => cells.length
      ? [["weekday", "hour", "sum", "counted_seconds"], ...cells.map(({ weekday, hour, sum, seconds }) => [weekday, hour, sum ?? "", seconds ?? "0"])]
      : [["time", ...names.map(({ name }) => name)], ...columns.map(({ at, values }) => [at, ...values.map((value) => (value === "-" ? "" : value))])],
  };
}
