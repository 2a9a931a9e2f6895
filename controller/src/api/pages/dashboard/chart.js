// The picture of the last hours: demand under capacity, relays needed and here below it, and what was done when.
//
// Drawn by hand into one SVG. Its name is a sentence about it; the same figures stand in tables beside it.

import { byId, clock, draw, figure, lasting, list, make, many, text, time, utc } from "./parts.js";

// Name, unit, and how many of it one in the document is.
const UNITS = {
  packets: ["Packets", "packets/s", 1],
  bits: ["Traffic", "Mbit/s", 1e-6],
  core: ["Busiest cores", "cores", 1],
  allocations: ["Allocations", "allocations", 1],
  ports: ["Relayed ports", "ports", 1],
};
const DONE = { launched: "launched", drained: "drain begun", undrained: "drain taken back", ended: "ended" };
const LEFT = 46, RIGHT = 8, TOP = 8, UPPER = 170, GAP = 24, LOWER = 74, MARKS = 27, AXIS = 20;
const ROWS_IN_TABLE = 60;

let shown = null;

export const nameOf = (dimension) => (UNITS[dimension] ?? [dimension])[0];
const unitOf = (dimension) => (UNITS[dimension] ?? [dimension, dimension, 1]).slice(1);

/** "12 of 18 allocations". */
export function ofIt(dimension, demand, capacity) {
  const [unit, factor] = unitOf(dimension);
  const scaled = (value) => (value === null ? "not known" : figure(value * factor));
  return capacity === null ? `${scaled(demand)} ${unit}, capacity not known` : `${scaled(demand)} of ${scaled(capacity)} ${unit}`;
}

/** The dimension that a person chose, else the one that decides, else one of which both are known. */
function dimensionOf(page) {
  const { demand, capacity } = page.chart;
  const chosen = byId("dimension").value;
  const known = Object.keys(demand).filter((name) => capacity[name]);
  const decides = page.loads.find((line) => line.decides)?.dimension;
  const choices = [...new Set([...Object.keys(demand), ...Object.keys(capacity)])];
  list(byId("dimension"), ["", ...choices], (name) => `d-${name}`, () => make("option"), (option, name) => {
    option.value = name;
    text(option, name === "" ? "what decides" : nameOf(name).toLowerCase());
  });
  if (chosen && choices.includes(chosen)) return chosen;
  return [decides, "allocations", ...known].find((name) => name && known.includes(name)) ?? choices[0] ?? "packets";
}

/** A round number at or above the greatest. */
function top(most, whole) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [1, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= most);
  return whole ? Math.max(1, Math.ceil(step * power)) : step * power;
}

/** A path through what is known; what is not leaves a gap. */
function line(times, values, x, y, steps) {
  let path = "", before = null;
  values.forEach((value, at) => {
    if (value === null || value === undefined) {
      before = null;
      return;
    }
    const here = [x(times[at]), y(value)];
    if (before === null) path += `M${here[0].toFixed(1)} ${here[1].toFixed(1)}`;
    else if (steps) path += `H${here[0].toFixed(1)}V${here[1].toFixed(1)}`;
    else path += `L${here[0].toFixed(1)} ${here[1].toFixed(1)}`;
    before = here;
  });
  return path;
}

function area(times, values, x, y) {
  const known = times.map((at, index) => [at, values[index]]).filter(([, value]) => value !== null && value !== undefined);
  if (known.length === 0) return "";
  const through = known.map(([at, value]) => `L${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  return `M${x(known[0][0]).toFixed(1)} ${y(0)}${through}L${x(known.at(-1)[0]).toFixed(1)} ${y(0)}Z`;
}

/** Times of day that are round, few enough to stand side by side. */
function ticks(from, to, most) {
  const steps = [5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const step = steps.find((each) => (to - from) / each <= most) ?? 7200;
  const offset = new Date(to * 1000).getTimezoneOffset() * 60;
  const first = Math.ceil((from - offset) / step) * step + offset;
  const found = [];
  for (let at = first; at <= to && found.length < 40; at += step) found.push(at);
  return [found, step < 60];
}

const greatest = (values) => values.reduce((most, value) => (value > most ? value : most), 0);

/** Draws the picture and fills the tables. */
export function chart(page) {
  const { times, need, have, marks } = page.chart;
  const dimension = dimensionOf(page);
  const [unit, factor] = unitOf(dimension);
  const empty = times.map(() => null);
  const scaled = (column) => (column ?? empty).map((value) => (value === null ? null : value * factor));
  const demand = scaled(page.chart.demand[dimension]), capacity = scaled(page.chart.capacity[dimension]);
  const width = Math.max(280, Math.round(byId("chart").clientWidth || 700));
  const height = TOP + UPPER + GAP + LOWER + MARKS + AXIS;
  const to = times.at(-1) ?? page.time, from = Math.min(times[0] ?? to, to - 20);
  const x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT);
  const most = top(Math.max(greatest(demand), greatest(capacity)), false);
  const mostRelays = top(Math.max(greatest(need), greatest(have)), true);
  const upper = (value) => TOP + UPPER * (1 - value / most);
  const base = TOP + UPPER + GAP + LOWER;
  const lower = (value) => base - LOWER * (value / mostRelays);

  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": sentence(page, dimension, demand, capacity) });
  const label = (words, at, y, anchor) => {
    const node = draw("text", { x: at, y, "text-anchor": anchor });
    node.textContent = words;
    picture.append(node);
  };
  const level = (y, words, kind) => {
    picture.append(draw("line", { class: kind, x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
    label(words, LEFT - 6, y + 4, "end");
  };
  for (const part of [0, 0.5, 1]) level(upper(most * part), compact(most * part), part ? "grid" : "axis");
  const half = mostRelays % 2 === 0 ? [0, mostRelays / 2, mostRelays] : [0, mostRelays];
  for (const relays of half) level(lower(relays), compact(relays), relays ? "grid" : "axis");
  label(unit, LEFT + 4, TOP + 12, "start");
  label("relays", LEFT + 4, TOP + UPPER + GAP + 2, "start");
  const seen = marks.filter((mark) => mark.time >= from);
  for (const mark of seen) picture.append(draw("line", { class: "at", x1: x(mark.time), x2: x(mark.time), y1: TOP, y2: base + 2 }));
  picture.append(
    draw("path", { class: "demand-area", d: area(times, demand, x, upper) }),
    draw("path", { class: "capacity", d: line(times, capacity, x, upper, true) }),
    draw("path", { class: "demand", d: line(times, demand, x, upper, false) }),
    draw("path", { class: "need", d: line(times, need, x, lower, true) }),
    draw("path", { class: "have", d: line(times, have, x, lower, true) }),
  );
  for (const mark of seen) {
    const tip = draw("title");
    tip.textContent = `${clock(mark.time)}: ${DONE[mark.done] ?? mark.done}, ${many(mark.relays, "relay", "relays")}`;
    const symbol = DONE[mark.done] ? mark.done : "ended";
    picture.append(draw("g", { class: `m-${symbol}` }, tip, draw("use", { href: `#m-${symbol}`, x: x(mark.time) - 5, y: base + (symbol === "ended" ? 15 : 4), width: 10, height: 10 })));
  }
  const [at, fine] = ticks(from, to, Math.floor(width / 110));
  for (const tick of at) {
    const place = x(tick);
    if (place < LEFT + 14 || place > width - RIGHT - 28) continue;
    label(clock(tick, !fine), place, height - 5, "middle");
  }
  const cursor = draw("line", { class: "cursor", y1: TOP, y2: base, x1: -9, x2: -9 });
  picture.append(cursor);
  shown = { page, dimension, demand, capacity, from, to, width, x, cursor };
  byId("chart").replaceChildren(picture);
  picture.addEventListener("pointermove", point);
  picture.addEventListener("pointerleave", () => readout(null));
  readout(null);
  tables(page, dimension, unit, demand, capacity);
}

const compact = (value) => (value >= 10000 ? `${figure(value / 1000)}k` : figure(value));

function sentence(page, dimension, demand, capacity) {
  const [unit] = unitOf(dimension);
  const { times, need, have, marks } = page.chart;
  const span = times.length > 1 ? lasting(times.at(-1) - times[0]) : "moment";
  const of = (column) => figure(column.at(-1));
  const count = (done) => marks.filter((mark) => mark.done === done).reduce((sum, mark) => sum + mark.relays, 0);
  return `Demand and capacity in ${unit} over the last ${span}. Now: demand ${of(demand)}, at most ${figure(greatest(demand))}; capacity ${of(capacity)}; `
    + `relays needed ${of(need)}, here or on their way ${of(have)}. Launched ${count("launched")}, drains begun ${count("drained")}, ended ${count("ended")}.`;
}

function point(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const { from, to, width, page } = shown;
  const share = ((event.clientX - box.left) * (width / box.width) - LEFT) / (width - LEFT - RIGHT);
  const at = from + share * (to - from);
  let best = 0;
  page.chart.times.forEach((time, index) => {
    if (Math.abs(time - at) < Math.abs(page.chart.times[best] - at)) best = index;
  });
  readout(page.chart.times.length > 0 ? best : null);
}

/** The figures at one time; without one, those of now. */
function readout(index) {
  const { page, dimension, demand, capacity, x, cursor } = shown;
  const last = page.chart.times.length - 1;
  const at = index ?? last;
  if (last < 0 || (demand[at] === null && capacity[at] === null)) return text(byId("readout"), index === null ? "Nothing has been measured yet." : "Nothing was measured then.");
  const place = index === null ? -9 : x(page.chart.times[at]);
  cursor.setAttribute("x1", place);
  cursor.setAttribute("x2", place);
  const [unit] = unitOf(dimension);
  const when = index === null ? "Now" : clock(page.chart.times[at]);
  return text(byId("readout"), `${when}: ${figure(demand[at])} of ${figure(capacity[at])} ${unit}; ${page.chart.need[at]} needed, ${page.chart.have[at]} here`);
}

function tables(page, dimension, unit, demand, capacity) {
  const { times, need, have, marks } = page.chart;
  text(byId("t-demand"), `Demand (${unit})`);
  text(byId("t-capacity"), `Capacity (${unit})`);
  // Every so many of them: nobody reads hundreds of rows.
  const each = Math.max(1, Math.ceil(times.length / ROWS_IN_TABLE));
  const rows = times.map((_, index) => index).filter((index) => (times.length - 1 - index) % each === 0).reverse();
  list(byId("points"), rows, (index) => times[index], () => row(5), (node, index) => {
    time(node.firstChild.firstChild, times[index]);
    [figure(demand[index]), figure(capacity[index]), need[index], have[index]].forEach((value, at) => text(node.children[at + 1], value));
  });
  const latest = marks.map((mark, index) => ({ ...mark, index })).reverse();
  list(byId("marks"), latest, (mark) => `${mark.time} ${mark.done} ${mark.index}`, () => row(3), (node, mark) => {
    time(node.firstChild.firstChild, mark.time);
    text(node.children[1], DONE[mark.done] ?? mark.done);
    text(node.children[2], mark.relays);
  });
}

function row(cells) {
  const rest = Array.from({ length: cells - 1 }, () => make("td"));
  return make("tr", {}, make("th", { scope: "row" }, make("time")), ...rest);
}

byId("dimension").addEventListener("change", () => shown && chart(shown.page));
let resizing = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => {
    if (shown && Math.round(byId("chart").clientWidth) !== shown.width) chart(shown.page);
  });
}).observe(byId("chart"));
