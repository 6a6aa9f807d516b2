/** Telling the sidecar what became of a batch: by callback, else by the results queue. */

import { digest, sign } from "./contract.js";
import { line } from "./mail.js";
import { write } from "./strict_json.js";

const CALLBACK_TIMEOUT = 5_000;
export const PART = 100;
/** Recipients a report: at their longest, escaped twice, they fit into a message of 128 KB. */

export const TEXT = 150;
/** Characters of what a sender says that are reported. */

const EXPLAINED = {
  expired: "the message was too old: it was not sent",
  lease_expired: "the worker died while it was sending this mail: it may have been sent",
  revoked: "taken back before it was sent",
};

const STATUSES = { r: "failed", f: "permanently_failed", u: "unknown", x: "revoked" };

/**
 * What is known of each mail of the message, as the report says it.
 *
 * done: {stop, texts}; end: {final, notBefore}. What nobody knows anything of is left out.
 */
export function describe(job, books, done, end) {
  return job.mails.flatMap((mail) => {
    const said = { mail_key: mail.key, id: mail.id };
    const entry = books.entry(mail);
    if (entry?.s === "s") return [{ ...said, status: "sent", message_id: line(entry.m, 255) }];
    let status;
    let code;
    let notBefore = 0;
    if (entry && entry.s !== "c") {
      status = STATUSES[entry.s];
      code = status === "revoked" ? "revoked" : entry.m;
    } else if (entry || !end.final || !done.stop) {
      return [];
    } else if (done.stop.note === "expired") {
      [status, code] = ["failed", "expired"];
    } else {
      [status, code, notBefore] = ["deferred", done.stop.note, end.notBefore];
    }
    const error = done.texts.get(mail.key) || EXPLAINED[code] || `the sender said: ${code}`;
    const retryable = status === "failed" || status === "deferred";
    return [
      {
        ...said,
        status,
        error_code: line(code, 50),
        error: line(error, TEXT),
        retryable,
        not_before: notBefore,
      },
    ];
  });
}

/** The status of a batch of so many mails. */
export function summarize(recipients, mails) {
  const sent = recipients.filter((each) => each.status === "sent").length;
  if (sent) return sent === mails ? "sent" : "partial_failure";
  const deferred = recipients.some((each) => each.status === "deferred");
  return deferred || !recipients.length ? "deferred" : "failed";
}

/** Report one try; whether someone has taken every part of it. */
export async function report(env, settings, job, { tries, final, status, recipients, errors }) {
  const count = (...statuses) => recipients.filter((each) => statuses.includes(each.status)).length;
  const parts = Math.max(1, Math.ceil(recipients.length / PART));
  for (let part = 0; part < parts; part += 1) {
    const payload = write({
      site_uid: job.site_uid,
      delivery_id: await digest(job.site_uid, job.batch_key, job.attempt, tries, part),
      batch_key: job.batch_key,
      job_id: job.job_id,
      batch_id: job.batch_id,
      attempt: job.attempt,
      try: tries,
      final,
      status,
      emails_sent: count("sent"),
      emails_failed: count("failed", "permanently_failed"),
      errors: errors.map((each) => line(each, TEXT)),
      recipients: recipients.slice(part * PART, (part + 1) * PART),
    });
    const taken =
      (await callBack(settings, job.key, payload)) || (await queue(env, job.key, payload));
    if (!taken) return false;
  }
  return true;
}

/** POST it, up to three times; whether the site has it. */
async function callBack({ callbackUrl }, key, payload) {
  for (let tried = 0; callbackUrl && tried < 3; tried += 1) {
    if (tried) await new Promise((done) => setTimeout(done, 100 + Math.random() * 400));
    const timestamp = Math.floor(Date.now() / 1000);
    let status = 0;
    try {
      const answer = await fetch(callbackUrl, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          "X-ManiReports-Key": key.name,
          "X-ManiReports-Timestamp": String(timestamp),
          "X-ManiReports-Signature": await sign("result", timestamp, payload, key.secret),
        },
        body: payload,
        redirect: "manual",
        signal: AbortSignal.timeout(CALLBACK_TIMEOUT),
      });
      status = answer.status;
      await answer.body?.cancel();
    } catch {
      // Nobody answered.
    }
    if (status === 200 || status === 202) return true;
    log("callback failed", { status });
    if (status >= 300 && status < 500) return false; // the same again would be refused again
  }
  return false;
}

async function queue(env, key, payload) {
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = await sign("result", timestamp, payload, key.secret);
  const message = write({ v: 1, key: key.name, kind: "result", timestamp, payload, signature });
  try {
    await env.RESULTS.send(message, { contentType: "text" });
    return true;
  } catch (error) {
    log("results queue failed", { error: error?.name ?? "" });
    return false;
  }
}

/** One line of JSON: ids, codes and counts; never an address, a text or a key. */
export function log(event, fields = {}) {
  console.log(write({ event, ...fields }));
}
