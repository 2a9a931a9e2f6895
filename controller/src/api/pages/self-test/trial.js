// One way to one relay, tried by itself: two connections in this page, neither of which may take any other way.
//
// Not responsible for what the outcome means to anybody (words.js). What a message needs from one connection to the other is
// the round trip from this browser to the relay and back, as both are here.

const GATHER_MILLISECONDS = 10000, CONNECT_MILLISECONDS = 12000;
const MESSAGES = 100, PAUSE_MILLISECONDS = 40, TAIL_MILLISECONDS = 2000;
// About what a packet of speech has.
const MESSAGE_CHARACTERS = 160;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// What the relay's answer means, by the code of icecandidateerror (RFC 8656 §18); 701 is "no answer".
function outcomeOf(codes) {
  const said = codes.filter((code) => code !== 701);
  if (said.some((code) => code === 401 || code === 438 || code === 441)) return "credentials";
  if (said.some((code) => code === 300 || code === 486 || code === 508)) return "busy";
  return said.length > 0 ? "refused" : "blocked";
}

// Resolves with {outcome, codes, seconds, silent, figures?}; never rejects. `tell` hears "measuring" once packets flow.
export async function tryRelay(url, username, credential, tell) {
  const began = performance.now();
  const codes = new Set();
  const parties = [];
  const result = (outcome, figures) => ({
    outcome, figures, codes: [...codes].sort((a, b) => a - b), seconds: (performance.now() - began) / 1000,
  });
  try {
    for (let count = 0; count < 2; count += 1) {
      const party = new RTCPeerConnection({ iceServers: [{ urls: [url], username, credential }], iceTransportPolicy: "relay" });
      party.addEventListener("icecandidateerror", ({ errorCode }) => codes.add(errorCode));
      parties.push(party);
    }
    const [sender, receiver] = parties;
    const channel = sender.createDataChannel("self-test", { ordered: false, maxRetransmits: 0 });
    const ended = outcomeOfSetup(sender, receiver, channel);
    exchange(sender, receiver);
    exchange(receiver, sender);
    await sender.setLocalDescription();
    await receiver.setRemoteDescription(sender.localDescription);
    await receiver.setLocalDescription();
    await sender.setRemoteDescription(receiver.localDescription);
    const { incoming, gathered } = await ended;
    if (!incoming) return result(gathered ? "through" : outcomeOf([...codes]));
    tell("measuring");
    const figures = await measure(channel, incoming);
    return result(figures.received > 0 ? "works" : "through", figures);
  } catch {
    return result("browser");
  } finally {
    for (const party of parties) party.close();
  }
}

function exchange(from, to) {
  from.addEventListener("icecandidate", ({ candidate }) => {
    if (candidate) to.addIceCandidate(candidate).catch(() => {});
  });
}

// Resolves with the receiving end once the channel is open, or without it as soon as that cannot happen any more.
function outcomeOfSetup(sender, receiver, channel) {
  return new Promise((resolve) => {
    const gathered = new Set();
    let incoming = null;
    const end = (answer) => resolve({ incoming: null, gathered: gathered.size === 2, ...answer });
    const opened = () => { if (incoming && channel.readyState === "open") end({ incoming }); };
    channel.addEventListener("open", opened);
    receiver.addEventListener("datachannel", ({ channel: theirs }) => {
      incoming = theirs;
      opened();
    });
    for (const party of [sender, receiver]) {
      party.addEventListener("icecandidate", ({ candidate }) => {
        if (candidate?.candidate) gathered.add(party);
      });
      party.addEventListener("icegatheringstatechange", () => {
        // The last icecandidateerror may come right after this event.
        if (party.iceGatheringState === "complete" && !gathered.has(party)) setTimeout(end, 100);
      });
      party.addEventListener("connectionstatechange", () => {
        if (party.connectionState === "failed") end();
      });
    }
    setTimeout(() => { if (gathered.size < 2) end(); }, GATHER_MILLISECONDS);
    setTimeout(end, GATHER_MILLISECONDS + CONNECT_MILLISECONDS);
  });
}

// Numbered messages, none sent twice: round trips in milliseconds, and how many never came.
async function measure(channel, incoming) {
  const sent = [], trips = new Map();
  incoming.addEventListener("message", ({ data }) => {
    const number = Number.parseInt(data, 10);
    if (number in sent && !trips.has(number)) trips.set(number, performance.now() - sent[number]);
  });
  for (let number = 0; number < MESSAGES && channel.readyState === "open"; number += 1) {
    sent.push(performance.now());
    channel.send(String(number).padEnd(MESSAGE_CHARACTERS));
    await pause(PAUSE_MILLISECONDS);
  }
  const deadline = performance.now() + TAIL_MILLISECONDS;
  while (trips.size < sent.length && performance.now() < deadline) await pause(50);
  const sorted = [...trips.values()].sort((a, b) => a - b);
  return {
    sent: sent.length, received: sorted.length,
    median: sorted[Math.floor(sorted.length / 2)], worst: sorted.at(-1),
  };
}
