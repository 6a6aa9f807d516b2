/**
 * The worker on Cloudflare: Queue -> this Worker -> e-mail API, with a Durable Object as ledger.
 *
 * It takes signed batches from the jobs queue, sends each mail at most once, and reports what
 * became of it: to the callback URL, else to the results queue. The ledger is the truth; a message
 * may come late, twice, or to two Workers at once. Nothing in a message says where to send or to
 * report: that is the environment's alone (settings.js).
 *
 * Over HTTP it answers the sidecar, and nobody else: POST /revoke and POST /status, signed as the
 * contract says with the kinds "revoke" and "status", in the three headers of a callback.
 */

import { callLedger } from "./books.js";
import { handle } from "./batch.js";
import { isSigned } from "./contract.js";
import { log } from "./report.js";
import { ConfigurationError, readSettings } from "./settings.js";
import { parse, write } from "./strict_json.js";

export { Ledger } from "./ledger.js";

const VERSION = 1;
const CLOCK_SECONDS = 300;
const MAX_BODY = 4 * 1024 * 1024;
const MAX_REVOKED = 2000;
const UNCONFIGURED_DELAY = 300;
const INVOCATION = 600_000;
/** Milliseconds after which an invocation begins nothing more: Cloudflare ends it after 15 min. */

export default {
  async queue(batch, env) {
    const began = Date.now();
    let settings;
    try {
      settings = readSettings(env);
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      console.error(write({ event: "not configured", error: error.message }));
      batch.retryAll({ delaySeconds: UNCONFIGURED_DELAY }); // the queue keeps all of them
      return;
    }
    const dead = batch.queue === settings.deadQueue;
    for (const message of batch.messages) {
      const late = Date.now() - began > INVOCATION;
      const delay = late ? 0 : await handle(message, env, settings, { dead });
      if (delay === null) message.ack();
      else message.retry({ delaySeconds: Math.min(delay, 43_200) });
    }
  },

  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const act = { "/revoke": revoke, "/status": status }[pathname];
    if (!act) return answer(404, { error: "not found" });
    if (request.method !== "POST") return answer(405, { error: "POST only" });
    try {
      const settings = readSettings(env);
      const fields = await proven(request, pathname.slice(1), settings);
      if (fields.error) return answer(fields.status, { error: fields.error });
      return answer(200, await act(fields, env, settings));
    } catch (error) {
      if (error instanceof ConfigurationError) return answer(503, { error: error.message });
      log("trouble", { path: pathname, error: error?.name ?? "" });
      return answer(500, { error: "the ledger cannot be asked now" });
    }
  },
};

/** The fields of a signed request, or {status, error}. */
async function proven(request, kind, settings) {
  if (Number(request.headers.get("content-length")) > MAX_BODY) return refusal(413, "too large");
  const body = await request.text();
  if (body.length > MAX_BODY) return refusal(413, "too large");
  const name = request.headers.get("x-manireports-key") ?? "";
  const stamp = request.headers.get("x-manireports-timestamp") ?? "";
  const signature = request.headers.get("x-manireports-signature") ?? "";
  const secrets = settings.keys.filter((key) => key.name === name).map((key) => key.secret);
  const good = /^\d{1,12}$/.test(stamp);
  if (!good || !(await isSigned(kind, Number(stamp), body, signature, secrets))) {
    return refusal(401, "not signed by a key of ours");
  }
  if (Math.abs(Date.now() / 1000 - Number(stamp)) > CLOCK_SECONDS) {
    return refusal(401, "the timestamp is too far off: is a clock wrong?");
  }
  let fields;
  try {
    fields = parse(body);
  } catch {
    return refusal(400, "not JSON");
  }
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) {
    return refusal(400, "no object");
  }
  if (fields.site_uid !== settings.siteUid) return refusal(403, "of another site");
  if (kind === "revoke" && !revocable(fields.mails)) return refusal(400, "mails: malformed");
  return fields;
}

function refusal(code, error) {
  return { status: code, error };
}

function revocable(mails) {
  if (!Array.isArray(mails) || mails.length > MAX_REVOKED) return false;
  return mails.every((mail) => {
    const { root_batch: root, mail_key: key, generation } = Object(mail);
    const named = /^[0-9a-f]{32}$/.test(root) && /^[0-9a-f]{64}$/.test(key);
    return named && Number.isSafeInteger(generation) && generation >= 0;
  });
}

/** Tombstones for mails that nobody has claimed: {revoked: [mail_key]}. */
async function revoke({ mails }, env, settings) {
  const byRoot = new Map();
  for (const { root_batch: root, mail_key: k, generation: g } of mails) {
    byRoot.set(root, [...(byRoot.get(root) ?? []), { k, g }]);
  }
  const revoked = [];
  for (const [root, named] of byRoot) {
    revoked.push(...(await callLedger(env.LEDGER, settings.siteUid, root, "revoke", named)));
  }
  return { revoked };
}

/** How this Worker is set up, for the sidecar's check. */
function status(_fields, _env, settings) {
  return {
    version: VERSION,
    sender: settings.sender.name,
    max_mail_bytes: settings.sender.maxBytes,
    callback: settings.callbackUrl !== "",
    keys: settings.keys.map((key) => key.name),
  };
}

function answer(code, fields) {
  return new Response(write(fields), {
    status: code,
    headers: { "Content-Type": "application/json", "Cache-Control": "no-store" },
  });
}
