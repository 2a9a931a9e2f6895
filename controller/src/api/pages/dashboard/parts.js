// What the page is made of: elements that change only where their text does, times, durations, figures, shapes.
//
// Text is only ever set as text: what a relay or a provider calls itself is shown and never read as markup. Nothing here knows
// what a fleet is.

export const byId = (id) => document.getElementById(id);

/** Sets a text where it is another one, so that a selection, a reader and a focus stay where they are. */
export function text(node, value) {
  const words = String(value ?? "");
  if (node.textContent !== words) node.textContent = words;
  return node;
}

/** An element with these attributes (a fixed set of names, no handlers) and these children, each a node or a text. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for a picture. */
export function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A shape of the page's own, which only goes with its word. */
export const shape = (name) => draw("svg", { class: "shape", "aria-hidden": "true" }, draw("use", { href: `#s-${name}` }));

/** Shows a list of things, each by its key: those that were there stay, and are only filled again. */
export function list(parent, things, keyOf, build, fill) {
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const thing of things) {
    const key = String(keyOf(thing));
    let node = there.get(key);
    if (node) there.delete(key);
    else {
      node = build(thing);
      node.dataset.key = key;
    }
    fill(node, thing);
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== node) parent.insertBefore(node, place);
    before = node;
  }
  for (const gone of there.values()) gone.remove();
}

/** Puts children in the place of others, unless they read the same. */
export function replace(parent, mark, build) {
  if (parent.dataset.shown === mark) return;
  parent.dataset.shown = mark;
  parent.replaceChildren(...build());
}

/** A number with few digits. */
export function figure(value) {
  if (value === null || value === undefined) return "not known";
  const digits = Math.abs(value) < 10 && !Number.isInteger(value) ? 2 : Math.abs(value) < 100 && !Number.isInteger(value) ? 1 : 0;
  return value.toLocaleString(undefined, { maximumFractionDigits: digits });
}

export const percent = (share) => (share === null || share === undefined ? "not known" : `${figure(Math.round(share * 100))}\u00a0%`);
export const many = (count, one, more) => `${figure(count)}\u00a0${count === 1 ? one : more}`;

/** "42 s", "9 min 40 s", "3 h 5 min", "2 d 4 h". */
export function lasting(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0\u00a0s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count}\u00a0${unit}`).join(" ");
}

/** A deadline as a countdown in words. */
export function countdown(left) {
  return left >= 0 ? `${lasting(left)} left` : `${lasting(-left)} past its deadline`;
}

/** A time of day in this device's zone, with the day where it is not today; UTC when pointed at. */
export function clock(seconds, short = false) {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  const form = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (!short) form.second = "2-digit";
  if (!today) Object.assign(form, { day: "numeric", month: "short" });
  return at.toLocaleString(undefined, form);
}

export const utc = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** Sets a time element. */
export function time(node, seconds) {
  if (node.dataset.time === String(seconds)) return node;
  node.dataset.time = String(seconds);
  node.setAttribute("datetime", new Date(seconds * 1000).toISOString());
  node.title = utc(seconds);
  return text(node, clock(seconds));
}
