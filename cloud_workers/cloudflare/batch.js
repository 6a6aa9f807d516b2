/** One message of the jobs queue: lease, send window after window, report (DESIGN §6). */

import { Books, Busy, LeaseLost } from "./books.js";
import { Refused, readJob } from "./contract.js";
import { checkSize, checked, line, Unsendable } from "./mail.js";
import { TEXT, describe, log, report, summarize } from "./report.js";
import { SEND_TIMEOUT, SendError } from "./senders/http.js";

/** Seconds that the queue keeps a message after its first, second and third try. */
export const DELAYS = [5, 30, 120];
const PAUSE_DELAY = 300;
const QUOTA_DELAY = 3600;
/** Seconds after which the sidecar may ask again: the account is blocked; its quota is used up. */

const MOST_TIME = 120_000;
/** Milliseconds after which no more mails of a message are begun; the rest comes again. */
const MARGIN = 5_000;
/** Milliseconds of the lease that are left at least when a mail is handed over and answered. */
const MOST_SENDS = 500;
/** Sends a message takes at once: an invocation may open 1,000 connections. */
const BREATH = 1_000;
/** Milliseconds of rest after a partly refused window: rates are counted by the second. */
const LOST_TRIES = 3;
/** How often a lost answer is asked for again, of senders that know an idempotency key. */

const STATES = { sent: "s", pause: "r", later: "r", drop: "f", unknown: "u" };
/** What the ledger says of a mail afterwards; of the others nothing: they are unclaimed again. */

const DROPPED = new Set(["invalid_address", "invalid_header", "invalid_content", "too_large"]);

/** Seconds after which the queue must bring the message again; null if it is done. */
export async function handle(message, env, settings, { dead = false } = {}) {
  const id = message.id;
  try {
    const job = await readJob(message.body, settings.keys, settings.siteUid);
    return await work(job, id, env, settings, dead);
  } catch (error) {
    if (error instanceof Refused) {
      const length = String(message.body).length;
      log("refused", { message: id, reason: error.message, length });
      if (!error.job) return null;
      const said = { tries: 1, final: true, status: "refused", recipients: [] };
      const told = await report(env, settings, error.job, { ...said, errors: [error.message] });
      return told ? null : DELAYS[1];
    }
    if (error instanceof Busy) {
      log("leased by another", { message: id, until: error.until });
      return Math.max(1, Math.ceil((error.until - Date.now()) / 1000) + 1);
    }
    const name = error instanceof LeaseLost ? "LeaseLost" : (error?.name ?? "");
    log("trouble", { message: id, error: name, text: line(error?.message ?? "", 200) });
    return DELAYS[1];
  }
}

async function work(job, id, env, settings, dead) {
  const began = Date.now();
  const books = new Books(env.LEDGER, job, settings.lease);
  await books.take();
  const { waits } = books;
  const expired = began - Number(job.first_issued_at) * 1000 > settings.memory;
  const done = new Try();
  if (expired || dead) {
    const why = expired ? "expired" : "dead_letter";
    done.stop = { kind: "later", note: why };
    done.left = books.claimable();
    done.errors.push(why);
  } else {
    await sendAll(books, job, settings, began + MOST_TIME, done);
  }
  const end = done.end(waits);
  await books.close(done.unrecorded, end.waits);
  let told = true;
  const recipients = end.finished ? describe(job, books, done, end) : [];
  if (end.finished) {
    const status = expired ? "expired" : summarize(recipients, job.mails.length);
    const tries = Math.max(1, books.tries);
    const said = { tries, final: end.final, status, recipients, errors: done.errors };
    told = await report(env, settings, job, said);
  }
  log("batch", {
    message: id,
    batch: job.batch_key,
    job: job.job_id,
    attempt: job.attempt,
    try: books.tries,
    mails: job.mails.length,
    left: done.left.length,
    final: end.final,
    told,
    ms: Date.now() - began,
  });
  if (end.final) return told ? null : DELAYS[1];
  return end.delay;
}

/** Window after window, until all are tried, the sender is in trouble or time is short. */
async function sendAll(books, job, settings, until, done) {
  let todo = books.claimable();
  const last = books.waits >= DELAYS.length;
  let size = books.waits ? 1 : settings.concurrency; // after trouble one goes ahead
  let room = MOST_SENDS;
  while (todo.length && !done.stop && room > 0 && Date.now() < until) {
    const window = todo.slice(0, size);
    todo = todo.slice(size);
    const claimed = await books.turn(done.unrecorded, window);
    const results = await Promise.all(
      claimed.map((mail) => sendOne(settings.sender, mail, job, last, books.until)),
    );
    done.takeIn(new Map(claimed.map((mail, at) => [mail, results[at]])));
    room -= claimed.length;
    size = settings.concurrency;
    const slowly = results.some((result) => result.kind === "soon");
    if (todo.length && !done.stop && slowly) await rest(BREATH);
  }
  done.left.push(...todo);
}

/** Send one mail; {kind, note: message id or error code, text, state}. Never throws. */
async function sendOne(sender, mail, job, last, until) {
  try {
    const good = checked(mail);
    checkSize(good, sender.maxBytes);
    const note = await ask(sender, good, job, until);
    if (!note) throw new SendError("unknown", "no_message_id", "the sender named no message");
    return { kind: "sent", note: line(note, 255), text: "", state: "s" };
  } catch (error) {
    let kind = "unknown";
    if (error instanceof SendError) kind = error.kind;
    if (error instanceof Unsendable) kind = DROPPED.has(error.code) ? "drop" : "pause";
    const state = STATES[kind] ?? (last && kind === "soon" ? "r" : "");
    const note = line(error.code ?? error?.name ?? "error", 50);
    return { kind, note, text: line(error?.message ?? "", TEXT), state };
  }
}

async function ask(sender, mail, job, until) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await sender.send(mail, job);
    } catch (error) {
      const lost = error instanceof SendError && error.kind === "unknown" && sender.idempotent;
      const timely = Date.now() + SEND_TIMEOUT + MARGIN < until;
      if (!lost || tried === LOST_TRIES || !timely) throw error;
      await rest(200 * 2 ** tried);
    }
  }
}

function rest(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/**
 * One pass over a message, and how it ends.
 *
 * unrecorded: what is sent and not yet in the ledger; stop: why the rest was not tried; soon: a
 * mail was refused for now; left: mails that are unclaimed still.
 */
class Try {
  unrecorded = new Map();
  stop = null;
  soon = false;
  left = [];
  texts = new Map();
  errors = [];

  takeIn(results) {
    this.unrecorded = results;
    const byKind = new Map();
    for (const [mail, result] of results) {
      byKind.set(result.kind, result);
      if (!result.state) this.left.push(mail);
      if (result.kind === "sent") continue;
      this.texts.set(mail.key, result.text);
      const error = `${result.note}: ${result.text}`;
      if (!this.errors.includes(error) && this.errors.length < 10) this.errors.push(error);
    }
    this.soon ||= byKind.has("soon");
    this.stop = byKind.get("pause") ?? byKind.get("defer") ?? null;
    const silent = [...byKind.keys()].every((kind) => kind === "soon" || kind === "unknown");
    if (byKind.size && !this.stop && silent) {
      this.stop = byKind.get("soon") ?? byKind.get("unknown"); // nobody answers there
    }
  }

  /** What follows, when the queue has brought the message back `waits` times for trouble. */
  end(waits) {
    const now = Math.floor(Date.now() / 1000);
    const ended = { final: true, finished: true, delay: 0, notBefore: 0, waits: 0 };
    if (!this.left.length) return ended;
    if (this.stop && ["pause", "defer", "later"].includes(this.stop.kind)) {
      const delay = this.stop.kind === "defer" ? QUOTA_DELAY : PAUSE_DELAY;
      return { ...ended, notBefore: now + delay };
    }
    if (this.stop && waits >= DELAYS.length) return { ...ended, notBefore: now + PAUSE_DELAY };
    if (this.stop || (this.soon && waits < DELAYS.length)) {
      return { ...ended, final: false, delay: DELAYS[waits], waits: waits + 1 };
    }
    return { ...ended, final: false, finished: false, waits };
  }
}
