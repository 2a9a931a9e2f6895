// Asks the Node example what a test asks: a JSON line in, a JSON line out. Arguments: the example, URL, token, ID=FILE.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [path, controller, token, secret] = process.argv.slice(2);
const { Taciturn, Refused } = await import(pathToFileURL(path).href);
const [id, file] = secret.split("=");
let now = 0;
const secrets = new Map([[id, readFileSync(file)]]);
const fleet = new Taciturn({ controller, token, secrets, clock: () => now });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  now = asked.now;
  let answer;
  try {
    answer = asked.user === undefined ? ((await fleet.poll()) ?? {}) : await fleet.iceServers(asked.user);
  } catch (why) {
    if (!(why instanceof Refused)) throw why;
    answer = { error: why.message };
  }
  console.log(JSON.stringify(answer));
}
