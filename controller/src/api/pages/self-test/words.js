// What results mean, in words: for the person in front of the page, and for the people who open firewalls.
//
// Pure: from results to text. A result is {path, outcome, tries, figures?}; each try is of one relay.

const SHORT = {
  waiting: "Waiting", trying: "Trying…", measuring: "Measuring…",
  works: "Works", blocked: "Blocked", certificate: "Certificate not trusted", credentials: "Password refused",
  busy: "Relay busy", refused: "Refused", through: "Nothing came through", browser: "Not possible here",
};
export const short = (outcome) => SHORT[outcome];

// Beyond these a conversation suffers.
const MOST_LOSS = .05, MOST_MEDIAN = 400, MOST_WORST = 1500;

// Sooner than this nobody has waited for an answer: somebody has said no.
const AT_ONCE_SECONDS = 4;

const isFast = ({ path }) => path.transport === "udp";
const works = ({ outcome }) => outcome === "works";
const lossOf = ({ sent, received }) => sent > 0 ? (sent - received) / sent : 0;
export const isPoor = ({ figures }) => Boolean(figures)
  && (lossOf(figures) > MOST_LOSS || figures.median > MOST_MEDIAN || figures.worst > MOST_WORST);
const hostsOf = (results) => [...new Set(results.flatMap(({ path }) => path.relays.map(({ host }) => host)))].sort().join(", ");
const list = (items) => items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
const endedAtOnce = ({ codes, seconds }) => codes.includes(701) && seconds < AT_ONCE_SECONDS;
const names = (results) => list(results.map(({ path }) => path.name));

export const milliseconds = (value) => value < 1 ? "< 1 ms" : `${Math.round(value)} ms`;
export const percent = (figures) => {
  const loss = lossOf(figures) * 100;
  return loss > 0 && loss < 1 ? "< 1 %" : `${Math.round(loss)} %`;
};

// A browser says the same of a port that is shut and of a certificate that it does not trust. Where something answers at the
// same port without TLS, and TLS ended at once and not in silence, it was not the port.
export function withCertificates(results) {
  const open = results.filter(({ path, outcome }) => path.transport === "tcp" && outcome !== "blocked").map(({ path }) => path.port);
  const untrusted = "certificate";
  return results.map((result) => {
    const { path, outcome, tries } = result;
    return path.transport === "tls" && outcome === "blocked" && open.includes(path.port) && tries.every(endedAtOnce)
      ? { ...result, outcome: untrusted, tries: tries.map((one) => ({ ...one, outcome: untrusted })) } : result;
  });
}

// {tone, headline, meaning}
export function verdict(results) {
  const open = results.filter(works), fast = open.filter(isFast), closed = results.filter((result) => !works(result));
  if (fast.length > 0) {
    if (fast.every(isPoor)) {
      return { tone: "slow", headline: "Calls will work, but picture and sound may falter.",
        meaning: "Packets are lost or late on their way. Close downloads and other video on this network, use a cable instead of "
          + "Wi-Fi, and run the test again." };
    }
    return { tone: "good", headline: "Calls from this room will work.",
      meaning: closed.length === 0 ? "Every way to the relay is open." : `${names(closed)} ${closed.length > 1 ? "are" : "is"} `
        + "not open. That is a spare way for when the others fail: worth mending, but calls do not need it today." };
  }
  const udp = results.filter(isFast);
  if (open.length > 0) {
    return { tone: "slow", headline: "Calls will work, but only over the slower way.",
      meaning: udp.length > 0 ? askForUdp(udp) : "The relays offer no fast way (UDP). Tell whoever runs the calls." };
  }
  const refused = results.filter(({ outcome }) => outcome !== "blocked" && outcome !== "certificate");
  if (refused.length > 0) {
    return { tone: "bad", headline: "The test could not be finished.",
      meaning: refused.some(({ outcome }) => outcome === "browser") ? "This browser would not try it."
        : `This room's network is not the reason: ${names(refused)} reached the relay, but the relay did not carry the test.` };
  }
  return { tone: "bad", headline: "Calls from this room will not work yet.",
    meaning: "No way to the relay is open from here. Send the report below to your IT people: it says what to open." };
}

function askForUdp(udp) {
  const first = udp.find(({ outcome }) => outcome === "blocked");
  return first ? `Ask IT to open ${first.path.name} to ${hostsOf([first])}.`
    : `${names(udp)} reached the relay, but the relay did not carry the test.`;
}

const ADVICE = {
  blocked: ({ path, tries }, hosts) => `${path.name}: ${tries.every(endedAtOnce) ? "this network turns it away" : "nothing came back"}. Ask IT to allow ${path.transport === "udp" ? "UDP" : "TCP"} `
    + `from this network to port ${path.port} of ${hosts}.`
    + (path.transport === "tls" ? " A firewall that looks inside encrypted connections has to leave these alone." : ""),
  certificate: ({ path }, hosts) => `${path.name}: this browser does not trust the certificate that it was shown. If a firewall looks `
    + `inside encrypted connections, ask IT to leave ${hosts} alone. If none does, tell whoever runs the calls that the relay's `
    + "certificate is not in order.",
  credentials: ({ path }) => `${path.name}: the relay refused the password that this page was given a moment ago. Your network is not `
    + "the reason. Tell whoever runs the calls: a secret or a clock of the relay is not that of the controller.",
  busy: ({ path }) => `${path.name}: the relay takes no new calls just now, as it is being emptied or full. Your network is not the `
    + "reason. Run the test again in a minute.",
  refused: ({ path }) => `${path.name}: the relay answered, and refused. Your network is not the reason. Send the report to whoever runs the calls.`,
  through: ({ path }) => `${path.name}: the relay answered, but nothing came through it. Send the report to whoever runs the calls.`,
  browser: ({ path }) => `${path.name}: this browser would not try it. Use a current Chrome, Edge, Firefox or Safari, without add-ons that block WebRTC.`,
};

// One sentence or two for each way that needs somebody.
export function advice(results) {
  return results.flatMap((result) => {
    if (!works(result)) return [ADVICE[result.outcome](result, hostsOf([result]))];
    const silent = result.tries.filter((one) => one.outcome === "blocked").map(({ host }) => host);
    return silent.length > 0
      ? [`${result.path.name}: open to one relay and not to another. Ask IT to allow it to ${list(silent)} as well.`] : [];
  });
}

const came = (one) => one.outcome !== "blocked" ? short(one.outcome).toLowerCase() : endedAtOnce(one) ? "turned away" : "no answer";
const stamp = (time) => `${time.toISOString().slice(0, 16).replace("T", " ")} UTC`;

// Plain text. Neither addresses of this network nor names of people are known here, and none are asked for.
export function report(results, { headline, meaning }, time, browser) {
  const lines = ["Taciturn self-test: what this network lets through", "",
    `Verdict   ${headline} ${meaning}`, `Time      ${stamp(time)}`, `Browser   ${browser}`, ""];
  for (const result of results) {
    const { path, outcome, figures, tries } = result;
    const measured = figures?.received > 0
      ? `; round trip ${milliseconds(figures.median)}, worst ${milliseconds(figures.worst)}; `
        + `${figures.sent - figures.received} of ${figures.sent} messages lost` : "";
    lines.push(`${path.name.padEnd(9)} ${short(outcome).toLowerCase()}${measured}`);
    for (const one of tries) {
      const codes = one.codes.length > 0 ? `, ICE error ${one.codes.join(", ")}` : "";
      lines.push(`          relay ${one.relay} at ${one.host}: ${came(one)}${works(one) ? "" : ` after ${one.seconds.toFixed(1)} s`}${codes}`);
    }
  }
  const shut = results.filter(({ outcome }) => outcome === "blocked" || outcome === "certificate");
  if (shut.length > 0) {
    lines.push("", "To be allowed from this network, with the answers:");
    for (const result of shut) {
      const { transport, port } = result.path;
      const carried = transport === "udp" ? "UDP" : "TCP";
      const also = transport === "tls" ? ", TLS not opened by a firewall in between" : "";
      lines.push(`          ${carried} port ${port} of ${hostsOf([result])}${also}`);
    }
    lines.push("          Relays come and go: whoever runs the calls knows the whole range of their addresses.");
  }
  lines.push("", "ICE error 701 is no answer, 401 a refused password, 300, 486 and 508 a relay that takes no new calls.");
  return `${lines.join("\n")}\n`;
}

// Why there was nothing to try, by the controller's word for it.
const REASONS = {
  ticket: ["This link is not valid.", "Open the whole link that you were given, or ask whoever gave it to you for a new one."],
  "no-ticket": ["This link is not complete.", "Open the whole link that you were given, to its very end, or ask for a new one."],
  expired: ["This link has expired.", "Ask whoever gave it to you for a new one."],
  "used-up": ["This link has been used as often as it may be.", "Ask whoever gave it to you for a new one."],
  "too-often": ["Too many tests at once.", "Wait a minute and run the test again."],
  "no-relay": ["No relay is ready.", "Your network is not the reason: calls would not work from anywhere just now. Tell whoever runs the calls, "
    + "and run the test again later."],
  unreachable: ["This page cannot reach its own server.", "Check that this computer is on the network, and run the test again. If other "
    + "web pages open and this goes on, tell whoever gave you the link."],
  answer: ["This page did not understand its own server.", "Load it again. If that does not help, tell whoever gave you the link."],
  webrtc: ["This browser cannot make video calls.", "Use a current Chrome, Edge, Firefox or Safari. If this is one, ask IT whether WebRTC "
    + "has been switched off."],
};

export function whyNot(reason) {
  const [headline, meaning] = REASONS[reason] ?? REASONS.answer;
  return { tone: "bad", headline, meaning };
}
