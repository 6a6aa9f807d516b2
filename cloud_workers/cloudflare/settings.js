/**
 * The environment, checked. Vars and secrets:
 *
 *   SITE_UID       the only site whose messages are sent
 *   KEYS           secret; "key:secret" or "key:secret,key:secret"
 *   DEAD_QUEUE     the name of the dead-letter queue; its messages are reported, not sent
 *   CALLBACK_URL   optional; https, or http on this very host
 *   SENDER         binding, resend, postmark or ses
 *   CONCURRENCY    optional; sends in flight, 1 to 6 (a Worker opens no more connections), default 6
 *   LEASE_SECONDS  optional; after which a batch is another's whose worker died, 20 to 600, default 45
 *   MEMORY_SECONDS optional; for which the ledger remembers a batch after its last touch, and after
 *                  which a message is too old to be sent; at least 10, default 30 days
 *   SENDER_URL     optional; another address of the sender's API
 *   RESEND_API_KEY                                               secret, of resend
 *   POSTMARK_TOKEN (secret), POSTMARK_STREAM (default broadcast)  of postmark
 *   SES_ACCESS_KEY, SES_SECRET_KEY (secrets), SES_REGION, SES_CONFIGURATION_SET (optional)  of ses
 *
 * Bindings: LEDGER (Durable Object), RESULTS (queue producer), EMAIL (send_email; of binding).
 */

import { parseKeys } from "./contract.js";
import { makeSender } from "./senders/index.js";

const MONTH = 30 * 86_400;

/** The environment is wrong; the message names the variable, never what it holds. */
export class ConfigurationError extends Error {}

/**
 * {siteUid, keys, callbackUrl, deadQueue, concurrency, lease (ms), memory (ms), sender};
 * ConfigurationError.
 */
export function readSettings(env) {
  const keys = parseKeys(required(env, "KEYS"));
  if (!keys) throw new ConfigurationError('KEYS must be "key:secret" or "key:secret,key:secret"');
  for (const name of ["LEDGER", "RESULTS"]) {
    if (!env[name]) throw new ConfigurationError(`the binding ${name} is missing`);
  }
  return {
    siteUid: required(env, "SITE_UID"),
    keys,
    callbackUrl: env.CALLBACK_URL ? safeUrl(env, "CALLBACK_URL") : "",
    deadQueue: required(env, "DEAD_QUEUE"),
    concurrency: whole(env, "CONCURRENCY", 1, 6, 6),
    lease: whole(env, "LEASE_SECONDS", 20, 600, 45) * 1000,
    memory: readMemory(env),
    sender: makeSender(env, required, safeUrl, ConfigurationError),
  };
}

/** Milliseconds that the ledger remembers; ConfigurationError. */
export function readMemory(env) {
  return whole(env, "MEMORY_SECONDS", 10, MONTH, MONTH) * 1000;
}

function required(env, name) {
  const value = typeof env[name] === "string" ? env[name].trim() : "";
  if (!value) throw new ConfigurationError(`${name} is not set`);
  return value;
}

function whole(env, name, least, most, usual) {
  const value = Number(env[name] || usual);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new ConfigurationError(`${name} must be a number from ${least} to ${most}`);
}

function safeUrl(env, name) {
  let url;
  try {
    url = new URL(env[name]);
  } catch {
    throw new ConfigurationError(`${name} is not a URL`);
  }
  const here = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(here && url.protocol === "http:")) {
    throw new ConfigurationError(`${name} must be https`);
  }
  return url.href;
}
