// The dashboard: asks for the fleet every two seconds, and shows it.
//
// It orders nothing. What is shown is as old as it says: when the controller does not answer the page says since when, and
// that calls do not need it. A token that a person types is kept in this tab and sent to this host alone.

import { chart } from "./chart.js";
import { decisions, drains, figures, need, notices, relays, tick, zones } from "./fleet.js";
import { byId, figure, lasting, text, time } from "./parts.js";

const EVERY = 2000, LONGEST = 30000, PATIENCE = 8000, OLD_SECONDS = 6;
const KEPT = "taciturn-token";
const WORDS = {
  starting: ["Starting", "held", "launching"], stuck: ["Stuck", "bad", "trouble"], standby: ["Standby", "held", "held"], frozen: ["Frozen", "held", "held"],
  empty: ["Empty", "held", "drained"], growing: ["Growing", "coming", "launching"], shrinking: ["Shrinking", "leaving", "draining"], steady: ["Steady", "well", "ready"],
};

let page = null;      // the latest document
let heard = null;     // when it came, by this page's own clock (ms)
let failure = null;   // why the latest question had no answer
let failures = 0;
let timer = 0;
let asking = false;
let announced = "";

const kept = () => {
  try { return sessionStorage.getItem(KEPT); } catch { return null; }
};
const keep = (token) => {
  try { token ? sessionStorage.setItem(KEPT, token) : sessionStorage.removeItem(KEPT); } catch { /* then it is asked for again */ }
};
let token = kept();

/** Since what is shown was seen, in seconds. */
const age = () => page.age_seconds + passed();
const passed = () => (heard === null ? 0 : (performance.now() - heard) / 1000);

async function ask() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("/v1/overview", { headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) return refused();
    if (!answer.ok) throw new Error(await why(answer));
    const read = await answer.json();
    if (!String(read.format).startsWith("taciturn-overview/1")) throw new Error("what answers is no controller of this kind");
    page = read;
    heard = performance.now();
    failure = null;
    failures = 0;
    byId("token-form").hidden = true;
    show();
  } catch (error) {
    failures += 1;
    failure = error instanceof TypeError ? "no connection" : error.name === "TimeoutError" ? `no answer within ${PATIENCE / 1000} s` : error.message;
  } finally {
    asking = false;
    told();
  }
  again();
}

function again() {
  clearTimeout(timer);
  if (!byId("token-form").hidden || document.hidden) return;
  timer = setTimeout(ask, Math.min(LONGEST, EVERY * 2 ** Math.min(failures, 5)));
}

async function why(answer) {
  try { return String((await answer.json()).error).slice(0, 200); } catch { return `it answered ${answer.status}`; }
}

/** Without the right token nothing is shown, also not what was shown before. */
function refused() {
  const before = token;
  token = null;
  keep(null);
  page = null;
  failure = null;
  byId("main").hidden = true;
  document.body.dataset.connection = "token";
  if (before) text(byId("token-words"), "That token is not the one that this controller was given. Tokens are in token-file or reader-token-file of its configuration.");
  const form = byId("token-form");
  if (form.hidden) {
    form.hidden = false;
    byId("token").value = "";
  }
  byId("token").focus();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  if (!token) return;
  byId("token").value = "";
  keep(token);
  byId("token-form").hidden = true;
  ask();
});

function show() {
  byId("main").hidden = false;
  text(byId("fleet"), page.fleet ? `fleet ${page.fleet}` : "");
  figures(page);
  need(page);
  zones(page);
  drains(page);
  decisions(page);
  relays(page);
  chart(page);
  const oldest = page.chart.times[0];
  text(byId("foot"), `Read-only. Taciturn ${page.version}, round ${figure(page.rounds)}. Times are those of this device; each shows UTC when it is pointed at. The chart goes back ${oldest ? lasting(page.time - oldest) : "not at all yet"}, at most 6 h, and starts anew with the controller.`);
}

/** The state in words, the notices, the title; once a second, and after each answer. */
function told() {
  const lost = failure !== null && (page === null || passed() > OLD_SECONDS);
  document.body.dataset.connection = !byId("token-form").hidden ? "token" : lost ? "lost" : page ? "heard" : "asking";
  const more = [];
  let [word, tone, form] = ["Asking", "held", "drained"];
  let headline = "The controller is being asked for the fleet.";
  if (document.body.dataset.connection === "token") {
    [word, headline] = ["Locked", "This controller shows its fleet to those who have its token."];
  } else if (lost && page) {
    [word, tone, form] = ["Not heard", "bad", "trouble"];
    headline = `The controller does not answer: last heard ${lasting(passed())} ago.`;
    more.push({ kind: "What is shown is old", words: `The controller was last heard ${lasting(passed())} ago (${failure}). Calls are not affected: relays carry them without it. It is asked again and again.`, form: "trouble", key: "lost" });
  } else if (lost) {
    [word, tone, form] = ["Not heard", "bad", "trouble"];
    headline = "The controller does not answer.";
    more.push({ kind: "No answer", words: `The controller has not been heard (${failure}). Calls are not affected: relays carry them without it. It is asked again and again.`, form: "trouble", key: "lost" });
  } else if (page) {
    [word, tone, form] = WORDS[page.condition] ?? WORDS.steady;
    headline = `${page.headline}.`;
  }
  document.body.dataset.tone = page && !lost && page.alarms.length > 0 ? "bad" : tone;
  document.body.dataset.condition = page && !lost ? page.condition : "";
  text(byId("condition"), word);
  text(byId("headline"), headline);
  byId("condition-shape").setAttribute("href", `#s-${form}`);
  const some = notices(page, more);
  const alarms = page && page.alarms.length ? ` \u00b7 ${page.alarms.length} ${page.alarms.length === 1 ? "alarm" : "alarms"}` : "";
  const title = `${word}${lost ? "" : alarms}${page?.fleet ? ` \u00b7 ${page.fleet}` : ""} \u00b7 Taciturn`;
  if (document.title !== title) document.title = title;
  if (page) {
    if (byId("seen").children.length === 0) byId("seen").replaceChildren(document.createElement("span"), document.createElement("time"));
    const [words, at] = byId("seen").children;
    text(words, `seen ${lasting(age())} ago, at `);
    time(at, page.time);
    tick(passed());
  } else text(byId("seen"), "");
  announce(word, headline, some);
}

/** For those who listen: once for each change of what is the matter, not for each figure in it. */
function announce(word, headline, some) {
  const matter = JSON.stringify([word, some.map((notice) => [notice.kind, notice.key])]);
  if (matter === announced) return;
  const before = announced ? JSON.parse(announced) : [null, []];
  const known = new Set(before[1].map(String));
  const fresh = some.filter((notice) => !known.has(String([notice.kind, notice.key])));
  announced = matter;
  const state = before[0] === word ? [] : [`${word}. ${headline}`];
  const said = [...state, ...fresh.map((notice) => `${notice.kind}. ${notice.words}`)];
  text(byId("announce"), said.length ? said.join(" ") : `${word}. What was the matter is over.`);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
window.addEventListener("online", ask);
setInterval(() => { if (!document.hidden) told(); }, 1000);
ask();
