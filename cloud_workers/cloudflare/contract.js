/** The wire contract, version 1 (cloud_workers/contract/README.md), as far as a worker speaks it. */

import { GivenTwice, parse } from "./strict_json.js";

const MAX_MESSAGE = 2 * 1024 * 1024;
const MAX_UNPACKED = 64 * 1024 * 1024;
const MAX_MAILS = 2000;
const MAX_INT = 2n ** 63n - 1n;

const encoder = new TextEncoder();
const imported = new Map();

/** A message that is never worked on, and why; `job` if it was signed and names its batch. */
export class Refused extends Error {
  constructor(reason, job = null) {
    super(reason);
    this.job = job;
  }
}

/** "key:secret" or "key:secret,key:secret" as [{name, secret}]; null if it is neither. */
export function parseKeys(text) {
  const keys = text.split(",").map((pair) => {
    const [name, ...secret] = pair.trim().split(":");
    return { name, secret: secret.join(":") };
  });
  const good = keys.every(({ name, secret }) => /^[!-~]{1,64}$/.test(name) && secret);
  return good && keys.length <= 2 ? keys : null;
}

/** SHA-256 of the parts, joined by 0x1F, in hex. */
export async function digest(...parts) {
  return hex(await crypto.subtle.digest("SHA-256", encoder.encode(parts.join("\x1f"))));
}

/** The one signature of the contract, in hex. */
export async function sign(kind, timestamp, payload, secret) {
  const text = encoder.encode(`${kind}.${timestamp}.${payload}`);
  return hex(await crypto.subtle.sign("HMAC", await hmacKey(secret), text));
}

/** Whether one of `secrets` has signed this; takes as long for a wrong signature as for a right. */
export async function isSigned(kind, timestamp, payload, signature, secrets) {
  if (!/^[0-9a-f]{64}$/.test(signature)) return false;
  const given = Uint8Array.from(signature.match(/../g), (pair) => Number.parseInt(pair, 16));
  const text = encoder.encode(`${kind}.${timestamp}.${payload}`);
  let found = false;
  for (const secret of secrets) {
    if (!secret) continue; // an empty secret is no secret
    found = (await crypto.subtle.verify("HMAC", await hmacKey(secret), given, text)) || found;
  }
  return found;
}

async function hmacKey(secret) {
  let key = imported.get(secret);
  if (!key) {
    const how = { name: "HMAC", hash: "SHA-256" };
    key = await crypto.subtle.importKey("raw", encoder.encode(secret), how, false, ["sign", "verify"]);
    imported.set(secret, key);
  }
  return key;
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a queue message says, unproven: {key, kind, timestamp, payload, signature}. */
export function parseEnvelope(body) {
  if (typeof body !== "string") throw new Refused("envelope: no text");
  if (body.length > MAX_MESSAGE) throw new Refused(`envelope: over ${MAX_MESSAGE} characters`);
  const fields = object(body, "envelope");
  if (number(fields, "v") !== 1) throw new Refused("v: not 1");
  const kind = text(fields, "kind");
  if (kind !== "job" && kind !== "result") throw new Refused("kind: neither job nor result");
  const payload = text(fields, "payload");
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f]/.test(payload) || !payload.isWellFormed()) {
    throw new Refused("payload: malformed");
  }
  const key = text(fields, "key");
  if (!/^[!-~]{1,64}$/.test(key)) throw new Refused("key: malformed");
  const signature = hexText(fields, "signature", 64);
  return { key, kind, timestamp: number(fields, "timestamp"), payload, signature };
}

/**
 * The batch in a queue message, proven by one of `keys`; Refused otherwise.
 *
 * {key, site_uid, batch_key, job_id, batch_id, attempt, company_id, first_issued_at, mails}; a
 * mail is {id, key, root, generation, to, to_name, from: {email, name}, reply_to, subject, html,
 * text, headers: [[name, value]], attachments: [{filename, content_type, content}]}.
 */
export async function readJob(body, keys, siteUid) {
  const envelope = parseEnvelope(body);
  if (envelope.kind !== "job") throw new Refused("kind: not a job");
  const { kind, timestamp, payload, signature } = envelope;
  let key = null;
  for (const each of keys) {
    const same = await isSigned(kind, timestamp, payload, signature, [each.secret]);
    if (same && each.name === envelope.key) key = each;
  }
  if (!key) throw new Refused("not signed by a key of ours");
  const fields = object(payload, "payload");
  const job = {
    key,
    site_uid: text(fields, "site_uid"),
    batch_key: hexText(fields, "batch_key", 32),
    job_id: number(fields, "job_id"),
    batch_id: number(fields, "batch_id"),
    attempt: number(fields, "attempt", 1),
    company_id: number(fields, "company_id"),
    first_issued_at: number(fields, "first_issued_at"),
    mails: [],
  };
  if (job.site_uid !== siteUid) throw new Refused("of another site", job);
  if (fields.encoding !== "gzip+base64") throw new Refused("encoding: not known", job);
  try {
    job.mails = (await unpack(text(fields, "emails"))).map((each) => readMail(each, fields));
  } catch (error) {
    throw error instanceof Refused ? new Refused(error.message, job) : error;
  }
  const many = job.mails.length;
  if (many < 1 || many > MAX_MAILS) throw new Refused(`emails: not 1 to ${MAX_MAILS}`, job);
  if (new Set(job.mails.map((mail) => mail.key)).size < many) {
    throw new Refused("emails: the same twice", job);
  }
  return job;
}

async function unpack(packed) {
  const why = `emails: malformed, cut off, or over ${MAX_UNPACKED} bytes`;
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(packed)) throw new Refused(why);
  const pieces = [];
  let size = 0;
  try {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    for await (const piece of stream) {
      size += piece.length;
      if (size > MAX_UNPACKED) throw new Refused(why);
      pieces.push(piece);
    }
    const found = parse(await new Blob(pieces).text());
    if (Array.isArray(found)) return found;
  } catch {
    // Whatever was wrong with it, the answer is the same.
  }
  throw new Refused(why);
}

function readMail(value, batch) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Refused("email: no object");
  }
  const from = "from" in value ? value.from : batch.from;
  if (from === null || typeof from !== "object") throw new Refused("from: missing or malformed");
  const { headers, attachments } = value;
  const pair = (each) => Array.isArray(each) && each.length === 2 && each.every(isText);
  if (!Array.isArray(headers) || !headers.every(pair)) throw new Refused("headers: malformed");
  const file = (each) => each !== null && typeof each === "object" && !Array.isArray(each);
  if (!Array.isArray(attachments) || !attachments.every(file)) {
    throw new Refused("attachments: malformed");
  }
  return {
    id: number(value, "id"),
    key: hexText(value, "mail_key", 64),
    root: hexText(value, "root_batch", 32),
    generation: number(value, "generation"),
    to: text(value, "to"),
    to_name: "to_name" in value ? text(value, "to_name") : "",
    from: { email: text(from, "email"), name: text(from, "name") },
    reply_to: text("reply_to" in value ? value : batch, "reply_to"),
    subject: text(value, "subject"),
    html: text(value, "html"),
    text: text(value, "text"),
    headers,
    attachments: attachments.map((each) => ({
      filename: text(each, "filename"),
      content_type: text(each, "content_type"),
      content: text(each, "content"),
    })),
  };
}

function object(json, what) {
  let value;
  try {
    value = parse(json);
  } catch (error) {
    if (error instanceof GivenTwice) throw new Refused(`${error.field}: given twice`);
    throw new Refused(`${what}: not JSON`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Refused(`${what}: no object`);
  }
  return value;
}

function isText(value) {
  return typeof value === "string";
}

function text(fields, name) {
  if (!isText(fields[name])) throw new Refused(`${name}: missing or malformed`);
  return fields[name];
}

function hexText(fields, name, length) {
  const value = text(fields, name);
  if (value.length !== length || /[^0-9a-f]/.test(value)) throw new Refused(`${name}: malformed`);
  return value;
}

function number(fields, name, least = 0) {
  const value = fields[name];
  const whole = Number.isInteger(value) || typeof value === "bigint";
  if (!whole) throw new Refused(`${name}: missing or malformed`);
  if (value < least || BigInt(value) > MAX_INT) throw new Refused(`${name}: out of range`);
  return value;
}
