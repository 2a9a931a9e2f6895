// The sections of the page: figures, need, zones, drains, decisions, relays, freezes and alarms.
//
// Each takes the document (GET /v1/overview) and fills what is on the page; none asks for anything.

import { nameOf, ofIt } from "./chart.js";
import { byId, clock, countdown, figure, lasting, list, make, many, percent, replace, shape, text, time, utc } from "./parts.js";

const STATES = {
  ready: ["ready", "ready"], launching: ["launching", "launching"], draining: ["draining", "draining"], drained: ["drained, empty", "drained"],
  ending: ["ending", "ending"], unready: ["not ready", "trouble"], never_ready: ["never became ready", "trouble"],
  lost: ["not heard of", "trouble"], aside: ["set aside", "aside"], gone: ["gone", "gone"],
};
const REASONS = { load: "Load", forecast: "Forecast", zone_loss: "Loss of a zone", schedule: "Schedule", minimum: "Minimum" };
const SHOWN_DECISIONS = 6;

function chip(state, count = null) {
  const [words, form] = STATES[state] ?? [state, "gone"];
  return make("span", { class: "chip", "data-state": state }, shape(form), make("span", {}, count === null ? words : `${figure(count)} ${words}`));
}

/** The states of some relays, in the order of their lives. */
function chips(node, states) {
  const order = [...Object.keys(STATES), ...Object.keys(states)];
  const there = [...new Set(order)].filter((state) => states[state] > 0);
  replace(node, JSON.stringify(states), () => (there.length ? there.map((state) => chip(state, states[state])) : [make("span", { class: "quiet" }, "none")]));
}

export function figures(page) {
  const { need, totals } = page;
  text(byId("f-need"), figure(need.need));
  text(byId("f-have"), `${figure(need.have)} here or on their way`);
  text(byId("f-offered"), figure(totals.offered));
  text(byId("f-relays"), `of ${many(totals.relays, "relay", "relays")}`);
  text(byId("f-allocations"), totals.allocations === null ? "?" : figure(totals.allocations));
  const line = page.loads.find((each) => each.decides) ?? page.loads.reduce((most, each) => ((each.share ?? -1) > (most?.share ?? -1) ? each : most), null);
  text(byId("f-share"), line && line.share !== null ? percent(line.share) : "?");
  text(byId("f-by"), line && line.share !== null ? `of what may be filled, by ${nameOf(line.dimension).toLowerCase()}` : "not known yet");
  const minted = page.credentials ? ` Credentials since this controller started: ${figure(page.credentials.minted)} given, ${figure(page.credentials.refused)} refused.` : "";
  text(byId("summary"), `Latest plan: ${(page.summary || "none yet").replaceAll("_", " ")}.${minted}`);
}

export function need(page) {
  const { need: needed } = page;
  const most = Math.max(1, needed.max, ...needed.reasons.map((reason) => reason.relays));
  bars(byId("reasons"), needed.reasons.map((reason) => ({
    key: reason.reason, name: REASONS[reason.reason] ?? reason.reason, words: reason.words, value: figure(reason.relays), share: reason.relays / most, decides: reason.decides,
  })));
  text(byId("need-words"), `${many(needed.need, "relay", "relays")} needed; the policy allows ${figure(needed.min)} to ${figure(needed.max)}. Not fewer than ${figure(needed.held)} are left for now.`);
  bars(byId("loads"), page.loads.map((line) => ({
    key: line.dimension, name: nameOf(line.dimension), words: ofIt(line.dimension, line.demand, line.capacity),
    value: line.share === null ? "" : percent(line.share), share: line.share ?? 0, decides: line.decides,
  })));
  text(byId("fill-words"), `Capacity counts up to ${percent(needed.fill_target)} of what relays that serve can carry.`);
}

function bars(parent, rows) {
  const build = () => make("tr", {}, make("th", { scope: "row" }, make("span"), make("span", { class: "sub" }), make("span", { class: "bar", "aria-hidden": "true" }, make("i"))), make("td"));
  list(parent, rows, (row) => row.key, build, (node, row) => {
    const [name, words, bar] = node.firstChild.children;
    text(name, row.decides ? `${row.name} (decides)` : row.name);
    text(words, row.words);
    text(node.lastChild, row.value);
    bar.firstChild.style.width = `${Math.min(100, Math.max(0, row.share * 100)).toFixed(1)}%`;
    node.toggleAttribute("data-decides", row.decides);
  });
}

export function zones(page) {
  const build = () => make("tr", {}, make("th", { scope: "row" }, make("span"), make("span", { class: "warn sub" })), make("td", {}, make("span", { class: "chips" })), make("td", { class: "number" }), make("td", { class: "number" }));
  list(byId("zones"), page.zones, (zone) => zone.zone, build, (node, zone) => {
    const [name, states, offered, allocations] = node.children;
    text(name.firstChild, zone.zone);
    text(name.lastChild, zone.allowed ? "" : "not allowed: no relay may be here");
    chips(states.firstChild, zone.states);
    text(offered, figure(zone.offered));
    text(allocations, zone.allocations === null && zone.relays > 0 ? "not known" : figure(zone.allocations ?? 0));
  });
}

export function drains(page) {
  byId("no-drains").hidden = page.drains.length > 0;
  byId("drains-table").hidden = page.drains.length === 0;
  const build = () => make("tr", {}, make("th", { scope: "row" }, make("span"), make("span", { class: "sub" }), make("span", { class: "sub narrow" })), make("td", { class: "number" }, make("span"), make("span", { class: "sub" })), make("td", {}, make("span", { class: "left" }), make("span", { class: "sub" }, "at ", make("time"))), make("td", { class: "wide" }, make("time")), make("td", { class: "wide" }, make("span"), make("span", { class: "sub" })));
  list(byId("drains"), page.drains, (drain) => drain.relay, build, (node, drain) => {
    const [relay, left, deadline, since, why] = node.children;
    text(relay.firstChild, drain.relay);
    text(relay.children[1], drain.zone);
    text(relay.lastChild, drain.reason);
    text(left.firstChild, drain.allocations_remaining === 0 ? "none" : figure(drain.allocations_remaining));
    text(left.lastChild, drain.idle_allocations > 0 ? `${figure(drain.idle_allocations)} of them idle` : "");
    deadline.firstChild.dataset.left = drain.seconds_left;
    time(deadline.querySelector("time"), drain.deadline);
    time(since.firstChild, drain.started);
    text(why.firstChild, drain.reason || "no reason was given");
    text(why.lastChild, begun(drain));
  });
  text(byId("drains-left"), page.left_out.drains > 0 ? `${many(page.left_out.drains, "drain is", "drains are")} not shown.` : "");
}

function begun(drain) {
  const by = { operator: "ordered by a controller or an operator", signal: "by a signal to the relay", metadata: "by the machine's own notice" };
  const silent = drain.silent_seconds > 30 ? `; not heard of for ${lasting(drain.silent_seconds)}` : "";
  return `${by[drain.source] ?? drain.source}${silent}`;
}

/** What runs between two documents: countdowns. */
export function tick(passed) {
  for (const node of document.querySelectorAll("#drains .left")) {
    const left = Number(node.dataset.left) - passed;
    text(node, countdown(left));
    node.classList.toggle("warn", left < 0);
  }
}

export function decisions(page) {
  const newest = page.decisions.slice(0, SHOWN_DECISIONS), older = page.decisions.slice(SHOWN_DECISIONS);
  byId("older").hidden = older.length === 0;
  for (const [place, some] of [["decisions", newest], ["older-decisions", older]]) {
    list(byId(place), some, (decision) => decision.round, decided, () => {});
  }
  if (page.decisions.length === 0) replace(byId("decisions"), "none", () => [make("li", { class: "quiet" }, "None since this controller started.")]);
  else delete byId("decisions").dataset.shown;
}

function decided(decision) {
  const lines = decision.actions.map((act) => {
    const became = act.outcome === "done" || act.outcome === null ? "" : ` \u2013 ${act.outcome.replaceAll("_", " ")}${act.outcome_words ? `: ${act.outcome_words}` : ""}`;
    const line = make("li", {}, make("b", {}, `${act.act} ${act.target}`), ` (${act.reason.replaceAll("_", " ")}): ${act.words}`);
    if (act.outcome === "done" && act.outcome_words) line.append(make("span", { class: "quiet" }, ` \u2013 ${act.outcome_words}`));
    if (became) line.append(make("span", { class: act.outcome === "dry_run" || act.outcome === "nothing" ? "quiet" : "warn" }, became));
    return line;
  });
  if (decision.actions_left_out > 0) lines.push(make("li", { class: "quiet" }, `and ${many(decision.actions_left_out, "more action", "more actions")}`));
  const held = decision.brakes.map((words) => make("li", { class: "quiet" }, `held back: ${words}`));
  const when = make("time", { datetime: new Date(decision.time * 1000).toISOString(), title: utc(decision.time) }, clock(decision.time));
  return make("li", {}, when, make("p", {}, decision.summary.replaceAll("_", " ")), make("ul", { class: "acts" }, ...lines, ...held));
}

export function relays(page) {
  byId("no-relays").hidden = page.relays.length > 0;
  byId("relays-table").hidden = page.relays.length === 0;
  const number = () => make("td", { class: "number" });
  const build = () => make("tr", {}, make("th", { scope: "row" }, make("span"), make("span", { class: "sub" })), make("td", {}, make("span"), make("span", { class: "sub" })), make("td", { class: "wide" }), number(), number(), make("td", { class: "number wide" }), make("td", { class: "number wide" }), make("td", { class: "wide" }));
  list(byId("relays"), page.relays, (relay) => relay.id, build, (node, relay) => {
    const [id, state, zone, allocations, full, age, heard, version] = node.children;
    text(id.firstChild, relay.id);
    text(id.lastChild, relay.image);
    replace(state.firstChild, relay.state, () => [chip(relay.state)]);
    text(state.lastChild, remarks(relay));
    state.lastChild.classList.toggle("warn", relay.offshore);
    text(zone, relay.zone);
    text(allocations, relay.load.allocations === null ? "?" : figure(relay.load.allocations));
    text(full, relay.full === null ? "?" : percent(relay.full));
    text(age, lasting(relay.age_seconds));
    text(heard, relay.silent_seconds === null ? "never" : `${lasting(relay.silent_seconds)} ago`);
    text(version, relay.version);
  });
  text(byId("relays-left"), page.left_out.relays > 0 ? `${many(page.left_out.relays, "relay is", "relays are")} not shown; those in trouble come first.` : "");
}

function remarks(relay) {
  const said = [];
  if (relay.offshore) said.push("where none may be");
  const leaves = ["draining", "drained", "ending", "gone"].includes(relay.state);
  if (relay.not_ready_because.length && !leaves) said.push(`because of ${relay.not_ready_because.join(", ")}`);
  if (relay.state === "ready") said.push(relay.offered ? "" : "gets no new calls");
  if (relay.cordoned) said.push("an operator wants it gone");
  if (relay.keep) said.push("an operator keeps it");
  return said.filter(Boolean).join("; ");
}

/** Freezes and alarms, the gravest first; `more` are the page's own. */
export function notices(page, more) {
  const some = [...more];
  if (page) {
    if (page.dry_run) some.push({ kind: "Dry run", words: "Nothing is launched, drained or ended; decisions are what would be done.", form: "held" });
    if (page.condition === "standby") some.push({ kind: "Standby", words: page.leadership.words, form: "held" });
    for (const alarm of page.alarms) some.push({ kind: `Alarm: ${alarm.kind.replaceAll("_", " ")}`, words: alarm.relay ? `${alarm.relay}: ${alarm.words}` : alarm.words, form: "trouble", key: `${alarm.kind} ${alarm.relay}` });
    if (page.left_out.alarms > 0) some.push({ kind: "Alarms", words: `${figure(page.left_out.alarms)} more are not shown.`, form: "trouble" });
    for (const brake of page.brakes) {
      if (brake.kind === "not_leading" && page.condition === "standby") continue;
      const kind = brake.kind === "just_started" ? "Held back" : "Frozen";
      some.push({ kind, words: `Nothing is taken away: ${brake.words}.`, form: "held", key: brake.kind });
    }
  }
  const build = (notice) => make("div", { class: `notice ${notice.form === "trouble" ? "trouble" : ""}` }, shape(notice.form), make("p", {}, make("strong"), " ", make("span")));
  list(byId("notices"), some, (notice) => `${notice.kind} ${notice.key ?? ""}`, build, (node, notice) => {
    text(node.querySelector("strong"), `${notice.kind}.`);
    text(node.querySelector("span"), notice.words);
  });
  return some;
}
