// Helpers for all parts of the page: elements, and numbers as text. Text from outside becomes text nodes only.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element; strings among the children become text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Sets the text of the element with this id. */
export function setText(id, text) {
  const found = byId(id);
  if (found.textContent !== text) found.textContent = text;
}

/** Saves a text as a file of the reader. */
export function save(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href: url, download: name }).click();
  // The browser has read it by then.
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** A count in full: 12,345. */
export const count = (n) => whole.format(n);
/** A number in a short form: 12.3K. */
export const compact = (n) => (Math.abs(n) < 1000 ? fine.format(n) : short.format(n));
/** A number with at most one decimal. */
export const decimal = (n) => fine.format(n);

const UNITS = [["y", 31536000], ["d", 86400], ["h", 3600], ["min", 60]];

/** Seconds with their unit: 2.5 s, 3 min, 4.1 h. */
export function span(seconds) {
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return `${decimal(seconds / length)} ${unit}`;
  }
  return `${decimal(seconds)} s`;
}
