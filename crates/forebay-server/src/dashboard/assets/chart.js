// Draws stacked bars as SVG, in the size that the page has for them.

import { compact, element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const TOP = 10, BOTTOM = 24, LEFT = 46, RIGHT = 10;
/** The pixels that a label below the chart needs. */
const LABEL = 64;

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The smallest of 1, 2, 5, 10, 20, 50, … of which five reach `most`. It is a whole number, because hits are. */
function tickStep(most) {
  const rough = Math.max(most / 5, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
}

/**
 * Makes a chart in `place`. `draw({stacks, ticks, tip, label})` shows it:
 * `stacks` [{name, values}] from the bottom up, `name` a class; a null value is unknown and leaves a gap;
 * `ticks` [{at, text}] with `at` in bars; `tip(i)` the text for bar i; `label` the description of the picture.
 */
export function chart(place) {
  const picture = svg("svg", { role: "img" });
  const tip = element("div", { class: "tip", hidden: "" });
  place.append(picture, tip);
  let drawn = null, pointed = null;

  const geometry = () => {
    const { width, height } = place.getBoundingClientRect();
    return { width, height, bar: (width - LEFT - RIGHT) / drawn.stacks[0].values.length };
  };

  function paint() {
    if (!drawn || !place.clientWidth) return;
    const { width, height, bar } = geometry();
    const { stacks, ticks } = drawn;
    const bars = stacks[0].values.length;
    const sums = Array.from({ length: bars }, (_, i) => stacks.reduce((sum, { values }) => sum + (values[i] ?? 0), 0));
    const step = tickStep(Math.max(...sums));
    const top = Math.max(1, Math.ceil(Math.max(...sums) / step)) * step;
    const floor = height - BOTTOM;
    const y = (value) => floor - ((floor - TOP) * value) / top;
    const parts = [];
    for (let value = 0; value <= top; value += step) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      parts.push(svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, compact(value)));
    }
    const below = new Array(bars).fill(0);
    // A narrow gap separates the bars where there is room for it.
    const body = Math.max(bar - (bar > 3 ? 1 : 0), 0.5);
    for (const { name, values } of stacks) {
      let path = "";
      values.forEach((value, i) => {
        if (!value) return;
        const from = y(below[i]);
        below[i] += value;
        const tall = Math.max(from - y(below[i]), 1);
        path += `M${(LEFT + i * bar).toFixed(2)} ${from.toFixed(2)}h${body.toFixed(2)}v${(-tall).toFixed(2)}h${(-body).toFixed(2)}z`;
      });
      parts.push(svg("path", { class: name, d: path }));
    }
    const every = Math.ceil((ticks.length * LABEL) / (width - LEFT - RIGHT)) || 1;
    // Labels are counted from the end, so that the newest label is always among them.
    ticks.filter((_, i) => (ticks.length - 1 - i) % every === 0).forEach(({ at, text }) => {
      const x = LEFT + at * bar;
      const anchor = x > width - LABEL / 2 ? "end" : x < LEFT + LABEL / 2 - 16 ? "start" : "middle";
      parts.push(svg("text", { x, y: height - 6, "text-anchor": anchor }, text));
    });
    if (pointed !== null) parts.push(svg("rect", { class: "mark", x: LEFT + pointed * bar, y: TOP, width: Math.max(bar, 2), height: floor - TOP }));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("aria-label", drawn.label);
    picture.replaceChildren(...parts);
    showTip(width, bar);
  }

  function showTip(width, bar) {
    tip.hidden = pointed === null;
    if (tip.hidden) return;
    tip.textContent = drawn.tip(pointed);
    const x = LEFT + pointed * bar;
    tip.style.left = x > width / 2 ? "auto" : `${x + bar + 8}px`;
    tip.style.right = x > width / 2 ? `${width - x + 8}px` : "auto";
  }

  place.addEventListener("pointermove", (event) => {
    if (!drawn) return;
    const { bar } = geometry();
    const i = Math.floor((event.clientX - place.getBoundingClientRect().left - LEFT) / bar);
    pointed = i >= 0 && i < drawn.stacks[0].values.length ? i : null;
    paint();
  });
  place.addEventListener("pointerleave", () => {
    pointed = null;
    paint();
  });
  new ResizeObserver(paint).observe(place);
  return {
    draw(what) {
      drawn = what;
      if (pointed !== null && pointed >= what.stacks[0].values.length) pointed = null;
      paint();
    },
  };
}
