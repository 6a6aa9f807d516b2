/** What the tests share: batches as the sidecar signs them, and a callback page. */

import { createHash, createHmac, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, gzipSync } from "node:zlib";

import { ACCOUNT, JOBS, RESULTS, TOKEN } from "../rig/rig.js";

export const SITE = "5f0c9a3e7b";
export const KEY = { name: "company-1", secret: "callback-secret-of-company-1" };

export function vectors(name) {
  const file = new URL(`../../contract/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8"));
}

export function unpacked(payload) {
  return JSON.parse(gunzipSync(Buffer.from(payload.emails, "base64")));
}

let number = 0;

export function makeMail(changes = {}) {
  number += 1;
  return {
    id: number,
    mail_key: createHash("sha256").update(`mail ${number} ${process.pid}`).digest("hex"),
    generation: 0,
    to: `user${number}@example.test`,
    subject: "Your new account",
    html: "<p>Dear Björn,</p>\n<p>welcome.</p>",
    text: "Dear Björn,\nwelcome.",
    headers: [["Message-ID", `<${number}@moodle.example.test>`]],
    attachments: [],
    ...changes,
  };
}

export function makeBatch(mails, changes = {}) {
  const chosen = typeof mails === "number" ? Array.from({ length: mails }, () => makeMail()) : mails;
  const batchKey = randomBytes(16).toString("hex");
  number += 1;
  return {
    site_uid: SITE,
    batch_key: batchKey,
    job_id: 31,
    batch_id: number,
    batch_num: 1,
    attempt: 1,
    type: "user_create",
    company_id: 7,
    first_issued_at: Math.floor(Date.now() / 1000),
    from: { email: "noreply@moodle.example.test", name: "Moodle of Björn" },
    reply_to: "",
    ...changes,
    mails: chosen.map((mail) => ({ root_batch: changes.batch_key ?? batchKey, ...mail })),
  };
}

export function signature(kind, timestamp, payload, secret) {
  return createHmac("sha256", secret).update(`${kind}.${timestamp}.${payload}`).digest("hex");
}

export function seal(kind, payload, key = KEY, timestamp = Math.floor(Date.now() / 1000)) {
  const signed = signature(kind, timestamp, payload, key.secret);
  return JSON.stringify({ v: 1, key: key.name, kind, timestamp, payload, signature: signed });
}

export function encode({ mails, ...batch }, key = KEY) {
  const emails = gzipSync(JSON.stringify(mails)).toString("base64");
  return seal("job", JSON.stringify({ ...batch, encoding: "gzip+base64", emails }), key);
}

/** A callback page; `statuses` is what it answers in turn, the last one for ever. */
export async function makePage() {
  const page = { statuses: [202], reports: [], bodies: [], asked: 0 };
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    page.asked += 1;
    const status = page.statuses.length > 1 ? page.statuses.shift() : page.statuses[0];
    if (status === 202) {
      const { "x-manireports-key": name, "x-manireports-timestamp": at } = request.headers;
      const good = signature("result", at, body, KEY.secret);
      if (name !== KEY.name || request.headers["x-manireports-signature"] !== good) {
        throw new Error("a report that is not signed");
      }
      page.bodies.push(body);
      page.reports.push(JSON.parse(body));
    }
    response.writeHead(status).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  page.url = `http://127.0.0.1:${server.address().port}/callback`;
  page.close = () => new Promise((done) => server.close(done));
  return page;
}

/** What the sidecar does with the API of the rig at `url`. */
export class Client {
  constructor(url) {
    this.url = url;
  }

  async #queue(queue, path, body) {
    const answer = await fetch(`${this.url}/client/v4/accounts/${ACCOUNT}/queues/${queue}/${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: answer.status, ...(await answer.json()) };
  }

  push(...bodies) {
    const messages = bodies.map((body) => ({ body, content_type: "text" }));
    return this.#queue(JOBS, "messages/batch", { messages });
  }

  async pull() {
    const { result } = await this.#queue(RESULTS, "messages/pull", { batch_size: 100 });
    return result.messages;
  }

  ask(kind, fields, key = KEY, timestamp = Math.floor(Date.now() / 1000)) {
    const body = JSON.stringify({ site_uid: SITE, ...fields });
    return this.post(kind, body, {
      "X-ManiReports-Key": key.name,
      "X-ManiReports-Timestamp": String(timestamp),
      "X-ManiReports-Signature": signature(kind, timestamp, body, key.secret),
    });
  }

  async post(path, body, headers) {
    const answer = await fetch(`${this.url}/worker/${path}`, { method: "POST", headers, body });
    return { status: answer.status, ...(await answer.json()) };
  }

  async mails() {
    return (await fetch(`${this.url}/sink/mails`)).json();
  }

  async rules(...rules) {
    await fetch(`${this.url}/sink/rules`, { method: "POST", body: JSON.stringify(rules) });
  }
}

export async function waitFor(condition, what, seconds = 20) {
  const until = Date.now() + seconds * 1000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > until) throw new Error(`not in ${seconds} s: ${what}`);
    await sleep(20);
  }
}
