// A signalling server's way to TURN credentials, in Node alone (18 or newer, no packages).
//
// It asks the fleet's controller (POST /v1/ice-servers). When no controller answers, it mints by itself, from the last
// snapshot of the fleet that it has verified (GET /v1/snapshot), until that expires. Calls never depend on the controller.
//
// As a server for trying out, which answers GET /ice-servers?user=ID:
//
//     node taciturn.mjs --controller http://127.0.0.1:9640 --token-file signalling.token --secret 2026-11=turn.key
//
// Import `Taciturn` into your own server: `poll()` every few seconds, `iceServers(user)` for each client that has logged
// in. `user` is an opaque id of yours: never a name or an address of a person, as it travels to the relays.
//
// Nothing here logs a token, a secret, a password or a user.

import { createHmac, randomInt, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

// A controller that does not answer within this time is one that is away.
const PATIENCE = 1500;

/** There are no credentials for this user, and why; the controller said so, or nobody can know better. */
export class Refused extends Error {}

/**
 * One fleet. `secrets` are the relays' shared secrets: a Map from ids to Buffers, the newest first; `clock` gives the unix
 * time in seconds. `algorithm` is the `hash` of those secrets: sha256, or sha1 for relays that are told so.
 */
export class Taciturn {
  #snapshot = null; // the payload of the last one that was verified
  #tag = null; // its ETag

  constructor({ controller, token, secrets, clock = () => Date.now() / 1000, algorithm = "sha256" }) {
    Object.assign(this, { controller: controller.replace(/\/+$/, ""), token, secrets, clock, algorithm });
  }

  /** What a browser's RTCPeerConnection takes: {iceServers: [...], ...}. Throws Refused. */
  async iceServers(user, ttl = 3600) {
    // These are names for the controller and the relays alike, whatever they are in other languages.
    if (!/^[!-~]{1,128}$/.test(user)) {
      throw new Refused("a user is 1 to 128 printable ASCII characters without blanks");
    }
    let answer, text;
    try {
      answer = await this.#ask("POST", "/v1/ice-servers", { "Content-Type": "application/json" }, JSON.stringify({ user, ttl }));
      text = await answer.text();
    } catch {
      return this.#mint(user, ttl);
    }
    if (answer.status === 200) return JSON.parse(text);
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) {
      // It knows this user, or us, and says no. Minting all the same would go behind its back.
      throw new Refused(`the controller refuses: HTTP status ${answer.status}`);
    }
    return this.#mint(user, ttl);
  }

  /** Fetches the snapshot if there is a new one. Call it every few seconds; an error leaves the old one in place. */
  async poll() {
    let answer, text;
    try {
      answer = await this.#ask("GET", "/v1/snapshot", this.#tag ? { "If-None-Match": this.#tag } : {});
      text = await answer.text();
    } catch {
      return;
    }
    if (answer.status !== 200) return;
    const payload = this.verified(text);
    // One from before the one that we have may be somebody's who kept it.
    if (this.#snapshot === null || payload.iat >= this.#snapshot.iat) {
      this.#snapshot = payload;
      this.#tag = answer.headers.get("etag");
    }
  }

  /** The payload of a snapshot that one of our secrets has signed and that has not expired. Throws Refused. */
  verified(text) {
    const [head, body, code, more] = text.split(".");
    let header;
    try {
      header = JSON.parse(Buffer.from(head, "base64url"));
    } catch {
      header = null;
    }
    if (!header || code === undefined || more !== undefined) throw new Refused("the snapshot is no signed text (JWS)");
    const secret = this.secrets.get(header.kid);
    // The algorithm is ours to say, never the text's.
    if (header.alg !== "HS256" || !secret) {
      throw new Refused("the snapshot is signed in another way, or with another secret than ours");
    }
    const key = createHmac("sha256", secret).update("taciturn snapshot 1").digest();
    const right = createHmac("sha256", key).update(`${head}.${body}`).digest();
    const given = Buffer.from(code, "base64url");
    if (given.length !== right.length || !timingSafeEqual(given, right)) {
      throw new Refused("the snapshot was changed, or is not from our controller");
    }
    const payload = JSON.parse(Buffer.from(body, "base64url"));
    if (payload.format !== "taciturn-snapshot/1") {
      throw new Refused("the snapshot is of another format; this program is too old for it");
    }
    if (this.clock() >= payload.exp) throw new Refused("the snapshot has expired");
    // It would pass for good long after the fleet has changed.
    if (payload.iat > this.clock() + 600) throw new Refused("the snapshot is from the future: one of two clocks is wrong");
    return payload;
  }

  /** Credentials from the snapshot: what the controller would have answered, as of a few minutes ago. */
  #mint(user, ttl) {
    const now = Math.floor(this.clock());
    if (this.#snapshot === null) {
      throw new Refused("no controller answers, and there is no snapshot of the fleet yet");
    }
    if (now >= this.#snapshot.exp) {
      const ago = now - this.#snapshot.exp;
      throw new Refused(`no controller answers, and the snapshot of the fleet expired ${ago} s ago`);
    }
    const [secret] = this.secrets.values();
    const username = `${now + ttl}:${user}`;
    const credential = createHmac(this.algorithm, secret).update(username).digest("base64");
    const iceServers = twoOf(this.#snapshot.relays).map(({ urls }) => ({ urls, username, credential }));
    return { iceServers, ttl, expires: now + ttl };
  }

  /** Throws when nobody answers in time; the time is for the body as well. */
  #ask(method, path, headers, body) {
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const signal = AbortSignal.timeout(PATIENCE);
    return fetch(this.controller + path, { method, headers, body, signal, redirect: "error" });
  }
}

/** Two relays by chance and weight, in different zones where there are any. */
function twoOf(relays) {
  const first = byWeight(relays);
  const others = relays.filter((relay) => relay !== first);
  const elsewhere = others.filter((relay) => relay.zone !== first.zone);
  const second = byWeight(elsewhere.length ? elsewhere : others);
  return second ? [first, second] : [first];
}

function byWeight(relays) {
  const total = relays.reduce((sum, relay) => sum + relay.weight, 0);
  let left = total > 0 ? randomInt(total) : 0;
  return relays.find((relay) => (left -= relay.weight) < 0);
}

function main() {
  const { values } = parseArgs({
    options: {
      controller: { type: "string" },
      "token-file": { type: "string" },
      secret: { type: "string", multiple: true },
      listen: { type: "string", default: "127.0.0.1:8085" },
    },
  });
  if (!values.controller || !values.secret) {
    console.error("usage: node taciturn.mjs --controller http://HOST:PORT --secret ID=FILE [--token-file FILE] [--listen HOST:PORT]");
    process.exit(2);
  }
  // Blanks around what is in a file are none of the secret.
  const read = (path) => Buffer.from(readFileSync(path, "latin1").trim(), "latin1");
  const secrets = new Map(
    values.secret.map((written) => {
      const [id, ...path] = written.split("=");
      return [id, read(path.join("="))];
    }),
  );
  const token = values["token-file"] && read(values["token-file"]).toString();
  const fleet = new Taciturn({ controller: values.controller, token, secrets });
  const poll = () => fleet.poll().catch((why) => console.log(`snapshot refused: ${why.message}`));
  poll();
  setInterval(poll, 5000);

  const server = createServer(async (request, response) => {
    const asked = new URL(request.url, "http://localhost");
    const answer = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store" });
      response.end(JSON.stringify(body));
    };
    if (asked.pathname !== "/ice-servers") return answer(404, { error: "there is /ice-servers?user=ID" });
    try {
      // In your server: the user who has logged in, and never one whom the client names.
      answer(200, await fleet.iceServers(asked.searchParams.get("user") ?? ""));
    } catch (why) {
      // What is no refusal is a fault of this program, whose words may say too much.
      answer(503, { error: why instanceof Refused ? why.message : "no credentials" });
    }
  });
  const [, host, port] = values.listen.match(/^(.*):(\d+)$/);
  server.listen(Number(port), host, () => {
    console.log(`listening on http://${host}:${server.address().port}/ice-servers?user=ID`);
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main();
