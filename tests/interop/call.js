// A relay-only call between two peer connections of one page, as the tests measure it.
// Run inside a page by browser.py; the functions return plain objects.

const CONNECT_MILLISECONDS = 20000;
const GATHER_MILLISECONDS = 15000;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function within(milliseconds, promise, what) {
  return Promise.race([promise, pause(milliseconds).then(() => { throw new Error(`${what} took too long`); })]);
}

function party(iceServer, report) {
  const connection = new RTCPeerConnection({ iceServers: [iceServer], iceTransportPolicy: "relay" });
  connection.addEventListener("icecandidateerror", ({ url, errorCode, errorText }) =>
    report.errors.push({ url, errorCode, errorText }));
  connection.addEventListener("icecandidate", ({ candidate }) => {
    if (candidate?.candidate) {
      const { type, relayProtocol, address } = candidate;
      report.candidates.push({ type, relayProtocol, address });
    }
  });
  return connection;
}

// Gathers only: {candidates, errors}. Complete or out of time, it answers.
async function gather(iceServer) {
  const report = { candidates: [], errors: [] };
  const connection = party(iceServer, report);
  connection.createDataChannel("unused");
  const complete = new Promise((resolve) => connection.addEventListener("icegatheringstatechange", () => {
    if (connection.iceGatheringState === "complete") resolve();
  }));
  await connection.setLocalDescription();
  await Promise.race([complete, pause(GATHER_MILLISECONDS)]);
  report.gathering = connection.iceGatheringState;
  connection.close();
  return report;
}

// Calls: canvas video one way, a data channel that echoes. Measures twice, `seconds` apart.
async function call(iceServer, seconds) {
  const report = { candidates: [], errors: [] };
  const caller = party(iceServer, report);
  const callee = party(iceServer, report);
  for (const [one, other] of [[caller, callee], [callee, caller]]) {
    one.addEventListener("icecandidate", ({ candidate }) => candidate && other.addIceCandidate(candidate));
  }
  const painting = paint();
  caller.addTrack(painting.track, painting.stream);
  const channel = caller.createDataChannel("echo");
  callee.addEventListener("datachannel", ({ channel: theirs }) =>
    theirs.addEventListener("message", ({ data }) => theirs.send(data)));
  const video = document.createElement("video");
  video.muted = true;
  callee.addEventListener("track", ({ track }) => {
    video.srcObject = new MediaStream([track]);
    video.play();
  });
  try {
    await caller.setLocalDescription();
    await callee.setRemoteDescription(caller.localDescription);
    await callee.setLocalDescription();
    await caller.setRemoteDescription(callee.localDescription);
    await within(CONNECT_MILLISECONDS, new Promise((resolve) => {
      channel.addEventListener("open", resolve);
    }), "opening the data channel");
    report.echoed = await within(CONNECT_MILLISECONDS, echo(channel), "the echo");
    await within(CONNECT_MILLISECONDS, (async () => {
      while (!(await measure(caller, callee)).framesDecoded) await pause(100);
    })(), "the first frame");
    report.before = await measure(caller, callee);
    await pause(seconds * 1000);
    report.after = await measure(caller, callee);
    report.videoWidth = video.videoWidth;
    report.connectionState = caller.connectionState;
  } finally {
    painting.stop();
    caller.close();
    callee.close();
  }
  return report;
}

// Messages of many lengths, text and binary; resolves with the number that came back unchanged.
function echo(channel) {
  const sent = [1, 2, 3, 4, 5, 999, 1200, 16000].map((length) => "x".repeat(length));
  let matched = 0;
  return new Promise((resolve) => {
    channel.addEventListener("message", ({ data }) => {
      if (data === sent[matched]) matched += 1;
      if (matched === sent.length) resolve(matched);
    });
    sent.forEach((text) => channel.send(text));
  });
}

async function measure(caller, callee) {
  const [ours, theirs] = [await caller.getStats(), await callee.getStats()];
  const transport = [...ours.values()].find(({ type }) => type === "transport");
  const pair = ours.get(transport?.selectedCandidatePairId);
  const local = ours.get(pair?.localCandidateId), remote = ours.get(pair?.remoteCandidateId);
  const inbound = [...theirs.values()].find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
  return {
    localType: local?.candidateType, localRelayProtocol: local?.relayProtocol, remoteType: remote?.candidateType,
    bytesSent: pair?.bytesSent ?? 0, roundTripTime: pair?.currentRoundTripTime,
    framesDecoded: inbound?.framesDecoded ?? 0, bytesReceived: inbound?.bytesReceived ?? 0,
    packetsLost: inbound?.packetsLost ?? 0,
  };
}

// A canvas that never shows the same picture twice, so that every frame has to be sent.
function paint() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const pen = canvas.getContext("2d");
  let count = 0;
  const timer = setInterval(() => {
    count += 1;
    pen.fillStyle = `hsl(${count % 360} 60% 50%)`;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "white";
    pen.fillRect((count * 7) % canvas.width, 100, 80, 80);
  }, 33);
  const stream = canvas.captureStream(30);
  return { stream, track: stream.getVideoTracks()[0], stop: () => clearInterval(timer) };
}
