/**
 * The ledger: one Durable Object a batch, which only ever does one thing at a time.
 *
 * It holds the lease of the batch and the state of the mails that this batch was the first to
 * carry (their `root_batch`), whichever batch carries them now:
 *
 *   c claimed, s sent, r failed (may be asked again), f failed, u unknown, x revoked
 *
 * each with the generation (g) and attempt (a) of the message that set it, the provider's message
 * id or an error code (m), and the token of the worker that claimed it (t). A mail without an
 * entry is unclaimed. Every method may be called again after its answer was lost: what a token has
 * done once is not done twice. Everything is forgotten a while after the last touch, and no sooner
 * than a message is too old to be sent (MEMORY_SECONDS in settings.js).
 */

import { DurableObject } from "cloudflare:workers";

import { claimable } from "./claim.js";
import { readMemory } from "./settings.js";

/** Of its memory, the part by which the alarm is late, so that not every touch sets it anew. */
const SLACK = 30;

export class Ledger extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.furnished = false;
  }

  #furnish() {
    if (this.furnished) return;
    this.furnished = true;
    this.sql.exec(
      `CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY CHECK (id = 1), owner TEXT NOT NULL,
         until INTEGER NOT NULL, tries INTEGER NOT NULL, asked INTEGER NOT NULL,
         waits INTEGER NOT NULL, news INTEGER NOT NULL, closed TEXT NOT NULL, expires INTEGER NOT NULL);
       INSERT OR IGNORE INTO batch VALUES (1, '', 0, 0, 0, 0, 0, '', 0);
       CREATE TABLE IF NOT EXISTS mails (k TEXT PRIMARY KEY, s TEXT NOT NULL, g INTEGER NOT NULL,
         a INTEGER NOT NULL, m TEXT NOT NULL, t TEXT NOT NULL) WITHOUT ROWID;`,
    );
  }

  /**
   * Take the lease until `until` (Unix ms), or {busy: until when another has it}.
   *
   * home: this is the object of the batch itself, not only of mails that it repeats. What a dead
   * worker had claimed becomes unknown. {entries, waits, tries, news}; news: something is known
   * that no finished try has told.
   */
  lease({ token, until, attempt, home }) {
    return this.#change((batch) => {
      if (batch.owner !== token) {
        if (batch.owner && batch.until > Date.now()) return { busy: batch.until };
        this.sql.exec("UPDATE mails SET s = 'u', m = 'lease_expired' WHERE s = 'c'");
        if (batch.owner) batch.news = 1;
      }
      Object.assign(batch, { owner: token, until });
      if (home) {
        if (attempt > batch.asked) Object.assign(batch, { asked: attempt, waits: 0 });
        if (batch.waits > 0 || batch.tries === 0) batch.news = 1;
      }
      const { waits, tries, news } = batch;
      return { entries: this.#entries(), waits, tries, news: news === 1 };
    });
  }

  /**
   * Record results and claim mails, in one transaction.
   *
   * results: [{k, g, s, m}], s "" for a mail that is unclaimed again; claims: [{k, g}]. Results
   * count whoever has the lease now, claims only while it is held, which is then until `until`.
   * {mine, claimed: [k], entries}.
   */
  record({ token, until, attempt, results, claims }) {
    return this.#change((batch) => {
      this.#note(batch, token, attempt, results);
      const mine = batch.owner === token && batch.until > Date.now();
      if (mine) batch.until = until;
      const claimed = [];
      for (const { k, g } of mine ? claims : []) {
        const entry = this.#entry(k);
        if (entry?.s === "c" && entry.t === token) claimed.push(k);
        else if (claimable(entry, g, attempt)) {
          this.#put({ k, s: "c", g, a: attempt, m: "", t: token });
          claimed.push(k);
          batch.news = 1;
        }
      }
      return { mine, claimed, entries: this.#entries() };
    });
  }

  /** Give the lease back unused. */
  free({ token }) {
    this.#change((batch) => {
      if (batch.owner === token) Object.assign(batch, { owner: "", until: 0 });
    });
  }

  /**
   * Record the last results and end the lease. news: another object of this message has some.
   *
   * {lost, tries, entries}; lost: another worker has taken over, so this one may not report.
   */
  close({ token, attempt, results, waits, home, news }) {
    return this.#change((batch) => {
      this.#note(batch, token, attempt, results);
      const mine = batch.owner === token;
      if (mine) {
        Object.assign(batch, { owner: "", until: 0, closed: token });
        if (home) {
          batch.waits = waits;
          batch.tries += batch.news || news ? 1 : 0;
        }
        batch.news = 0;
      }
      const lost = batch.closed !== token;
      return { lost, tries: batch.tries, entries: this.#entries() };
    });
  }

  /** Have mails [{k, g}] not sent that nobody has claimed; the k of those that never will be. */
  revoke(mails) {
    return this.#change(() =>
      mails
        .filter(({ k, g }) => {
          const entry = this.#entry(k);
          if (entry && entry.s !== "r" && entry.s !== "x") return false;
          if (entry?.s !== "x") {
            this.#put({ k, s: "x", g, a: entry?.a ?? 0, m: "", t: "" });
          }
          return true;
        })
        .map(({ k }) => k),
    );
  }

  async alarm() {
    const { expires } = this.sql.exec("SELECT expires FROM batch").one();
    if (expires > Date.now()) {
      await this.ctx.storage.setAlarm(expires);
      return;
    }
    await this.ctx.storage.deleteAll(); // tables too: of a forgotten batch nothing is stored
    this.furnished = false;
  }

  #change(act) {
    const memory = readMemory(this.env);
    const expires = Date.now() + memory;
    const slack = memory / SLACK;
    this.#furnish();
    let renew = false;
    const found = this.ctx.storage.transactionSync(() => {
      const batch = this.sql.exec("SELECT * FROM batch").one();
      renew = expires > batch.expires;
      if (renew) batch.expires = expires + slack;
      const answer = act(batch);
      this.sql.exec(
        `UPDATE batch SET owner = ?, until = ?, tries = ?, asked = ?, waits = ?, news = ?,
           closed = ?, expires = ?`,
        ...[batch.owner, batch.until, batch.tries, batch.asked, batch.waits, batch.news],
        ...[batch.closed, batch.expires],
      );
      return answer;
    });
    // Not awaited: the answer leaves only when all writes, this one too, are on disk.
    if (renew) this.ctx.storage.setAlarm(expires + slack);
    return found;
  }

  #note(batch, token, attempt, results) {
    for (const { k, g, s, m } of results) {
      const entry = this.#entry(k);
      // Only what this worker claimed, and only once: by now the mail may be another's.
      if (entry?.t !== token || (entry.s !== "c" && entry.s !== "u")) continue;
      if (s) this.#put({ k, s, g, a: attempt, m, t: token });
      else this.sql.exec("DELETE FROM mails WHERE k = ?", k);
      batch.news = 1;
    }
  }

  #entry(k) {
    return this.sql.exec("SELECT * FROM mails WHERE k = ?", k).toArray()[0];
  }

  #entries() {
    return this.sql.exec("SELECT k, s, g, a, m FROM mails").toArray();
  }

  #put({ k, s, g, a, m, t }) {
    this.sql.exec("INSERT OR REPLACE INTO mails VALUES (?, ?, ?, ?, ?, ?)", k, s, g, a, m, t);
  }
}
