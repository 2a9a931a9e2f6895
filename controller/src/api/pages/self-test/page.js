// The self-test page: asks the controller for paths and credentials, has each path tried, shows what came of it.
//
// Not responsible for trying (trial.js) nor for what is said (words.js). Nothing is stored, and nothing leaves but the one
// request for credentials and the test itself.

import { tryRelay } from "./trial.js";
import { advice, isPoor, milliseconds, percent, report, short, verdict, whyNot, withCertificates } from "./words.js";

// Relays answer so many strangers a second from one address; paths that all begin at once would be too many in a clinic.
const STAGGER_MILLISECONDS = 600;
const element = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
let running = false;

// What to try, or a reason why there is nothing.
async function ask() {
  if (typeof RTCPeerConnection !== "function") return { reason: "webrtc" };
  const headers = { "Content-Type": "application/json" };
  // Read anew each time: a corrected link may have been pasted over this one.
  const ticket = new URLSearchParams(location.hash.slice(1)).get("t");
  if (ticket) headers.Authorization = `Bearer ${ticket.replace(/[^\w-]/g, "")}`;
  let response;
  try {
    response = await fetch("v1/self-test/ice-servers", {
      method: "POST", headers, body: "{}", cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    });
  } catch {
    return { reason: "unreachable" };
  }
  try {
    const answer = await response.json();
    return response.ok && answer.paths.length > 0 ? { test: answer } : { reason: answer.reason ?? "answer" };
  } catch {
    return { reason: response.status >= 500 ? "unreachable" : "answer" };
  }
}

// One path: the next of its relays where one does not answer, so that a relay that is gone is not taken for a firewall.
async function tryPath(path, test, tell) {
  const tries = [];
  for (const { relay, host, url } of path.relays) {
    const tried = await tryRelay(url, test.username, test.credential, tell);
    tries.push({ relay, host, ...tried });
    if (tried.outcome === "works") break;
    tell("trying");
  }
  // What a relay said tells more than that another was silent.
  const best = tries.find(({ outcome }) => outcome === "works") ?? tries.find(({ outcome }) => outcome !== "blocked") ?? tries.at(-1);
  return { path, outcome: best.outcome, figures: best.figures, tries };
}

// --- What is shown --------------------------------------------------------------------------------------------------

function say({ tone, headline, meaning }) {
  element("verdict").dataset.tone = tone;
  element("headline").textContent = headline;
  element("meaning").textContent = meaning;
}

// A figure and its unit stay on one line.
const together = (text) => text.replace(/ (?=\S)/g, "\u00a0");

function row(path) {
  const line = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row", textContent: path.name });
  const [outcome, trip, lost] = ["td", "td", "td"].map((tag) => document.createElement(tag));
  line.append(name, outcome, trip, lost);
  const show = (word, figures, tone = "") => {
    line.dataset.outcome = word;
    outcome.className = tone;
    outcome.textContent = short(word);
    trip.textContent = figures ? together(`${milliseconds(figures.median)} `) + together(`(${milliseconds(figures.worst)})`) : "–";
    lost.textContent = figures ? together(percent(figures)) : "–";
  };
  show("waiting");
  return { line, show };
}

function showRow({ show }, result) {
  const figures = result.figures?.received > 0 ? result.figures : null;
  const tone = result.outcome !== "works" ? "fails" : isPoor(result) ? "poor" : "works";
  show(result.outcome, figures, tone);
}

function showProgress(done, all) {
  Object.assign(element("progress"), { max: all, value: done });
  element("progress-words").textContent = `${done} of ${all} ways tried…`;
}

function begin() {
  running = true;
  document.body.dataset.state = "running";
  element("run").setAttribute("aria-disabled", "true");
  element("run").textContent = "Testing…";
  for (const id of ["results", "advice", "for-it"]) element(id).hidden = true;
  element("running").hidden = false;
  element("progress-words").textContent = "Starting…";
  element("progress").removeAttribute("value");
  element("copied").textContent = "";
  say({ tone: "none", headline: "", meaning: "" });
}

function end(state) {
  running = false;
  element("run").removeAttribute("aria-disabled");
  element("run").textContent = "Run the test again";
  element("running").hidden = true;
  document.body.dataset.state = state;
}

async function run() {
  if (running) return;
  begin();
  const { test, reason } = await ask();
  if (!test) {
    document.body.dataset.reason = reason;
    say(whyNot(reason));
    end("failed");
    return;
  }
  const rows = test.paths.map(row);
  element("rows").replaceChildren(...rows.map(({ line }) => line));
  element("results").hidden = false;
  let done = 0;
  showProgress(done, rows.length);
  const results = await Promise.all(test.paths.map(async (path, index) => {
    await pause(index * STAGGER_MILLISECONDS);
    rows[index].show("trying");
    const result = await tryPath(path, test, (word) => rows[index].show(word));
    showRow(rows[index], result);
    showProgress(done += 1, rows.length);
    return result;
  }));
  showResults(rows, withCertificates(results));
  end("done");
}

function showResults(rows, results) {
  results.forEach((result, index) => showRow(rows[index], result));
  const judged = verdict(results), todo = advice(results);
  element("advice").hidden = todo.length === 0;
  element("advice-list").replaceChildren(...todo.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  element("report").value = report(results, judged, new Date(), navigator.userAgent);
  element("for-it").hidden = false;
  say(judged);
}

async function copy() {
  const text = element("report");
  try {
    await navigator.clipboard.writeText(text.value);
    element("copied").textContent = "Copied.";
  } catch {
    // Not every browser lets a page copy; what is selected can be copied by hand in all of them.
    text.focus();
    text.select();
    element("copied").textContent = "The report is selected: press Ctrl+C (on a Mac ⌘C) to copy it.";
  }
}

element("run").addEventListener("click", run);
element("copy").addEventListener("click", copy);
