/** The ledger's objects of one message, under this worker's lease until `close`. */

import { claimable } from "./claim.js";

const CALL_TRIES = 4;

/** Another worker has this batch; its lease ends at `until`, Unix ms. */
export class Busy extends Error {
  constructor(until) {
    super(`leased until ${until}`);
    this.until = until;
  }
}

/** This worker was too slow: another has taken over. Nothing more may be claimed or reported. */
export class LeaseLost extends Error {}

export class Books {
  /** lease: milliseconds that it holds, from each turn on. */
  constructor(namespace, job, lease) {
    this.namespace = namespace;
    this.job = job;
    this.lease = lease;
    this.until = 0;
    this.token = crypto.randomUUID();
    this.attempt = Number(job.attempt);
    this.entries = new Map();
    this.waits = 0;
    this.tries = 0;
    const others = new Set(job.mails.map((mail) => mail.root));
    others.delete(job.batch_key);
    this.names = [...[...others].sort(), job.batch_key];
    this.news = false;
  }

  /** What is known of a mail: {s, m, …}, undefined if it is unclaimed. */
  entry(mail) {
    return this.entries.get(mail.root)?.get(mail.key);
  }

  /** The mails that this message may send; those that have failed before come last. */
  claimable() {
    const may = (mail) => claimable(this.entry(mail), Number(mail.generation), this.attempt);
    const found = this.job.mails.filter(may);
    const again = (mail) => Number(this.entry(mail) !== undefined);
    return found.sort((one, other) => again(one) - again(other));
  }

  /** Lease all objects; Busy if another worker holds one. */
  async take() {
    const { token, attempt } = this;
    const until = Date.now() + this.lease;
    const taken = [];
    for (const name of this.names) {
      const home = name === this.job.batch_key;
      const found = await this.#call(name, "lease", { token, until, attempt, home });
      if (found.busy) {
        for (const each of taken) await this.#call(each, "free", { token });
        throw new Busy(found.busy);
      }
      taken.push(name);
      this.#learn(name, found.entries);
      this.news ||= found.news;
      if (home) Object.assign(this, { waits: found.waits, tries: found.tries });
    }
    this.until = until;
  }

  /**
   * Record the last window's results, claim the next; the mails that are really claimed.
   *
   * results: Map mail -> {state, note}. One call, if all mails are of one root. Renews the lease;
   * LeaseLost, the results being recorded, if it is another's.
   */
  async turn(results, window) {
    const now = Date.now();
    const late = now >= this.until;
    const until = late ? this.until : now + this.lease;
    const claims = late ? [] : window;
    const roots = new Set([...results.keys(), ...claims].map((mail) => mail.root));
    // Never more than one window uncertain.
    const steps = roots.size > 1 ? [[results, []], [new Map(), claims]] : [[results, claims]];
    const claimed = new Set();
    for (const [recorded, wanted] of steps) {
      for (const name of this.names) {
        const found = await this.#call(name, "record", {
          token: this.token,
          until,
          attempt: this.attempt,
          results: this.#results(name, recorded),
          claims: wanted.filter((mail) => mail.root === name).map(named),
        });
        this.#learn(name, found.entries);
        if (!found.mine) throw new LeaseLost();
        for (const key of found.claimed) claimed.add(key);
        this.news ||= found.claimed.length > 0 || recorded.size > 0;
      }
    }
    this.until = until;
    if (late) throw new LeaseLost();
    return window.filter((mail) => claimed.has(mail.key));
  }

  /** Record the last results, end the leases; the try counts if it brought anything new. */
  async close(results, waits) {
    let lost = false;
    for (const name of this.names) {
      const home = name === this.job.batch_key;
      const found = await this.#call(name, "close", {
        token: this.token,
        attempt: this.attempt,
        results: this.#results(name, results),
        waits,
        home,
        news: this.news || results.size > 0,
      });
      this.#learn(name, found.entries);
      lost ||= found.lost;
      if (home) this.tries = found.tries;
    }
    if (lost) throw new LeaseLost();
  }

  #results(name, results) {
    return [...results]
      .filter(([mail]) => mail.root === name)
      .map(([mail, { state, note }]) => ({ ...named(mail), s: state, m: note }));
  }

  #learn(name, entries) {
    this.entries.set(name, new Map(entries.map((entry) => [entry.k, entry])));
  }

  /** Ask an object; again if the answer was lost, which its methods allow. */
  async #call(name, method, argument) {
    return callLedger(this.namespace, this.job.site_uid, name, method, argument);
  }
}

/** One call of the object of a batch, repeated while the object cannot be reached. */
export async function callLedger(namespace, siteUid, batchKey, method, argument) {
  for (let tried = 1; ; tried += 1) {
    try {
      const id = namespace.idFromName(`${siteUid}/${batchKey}`);
      return await namespace.get(id)[method](argument);
    } catch (error) {
      if (tried === CALL_TRIES || error?.overloaded) throw error;
      await new Promise((done) => setTimeout(done, Math.random() * 100 * 2 ** tried));
    }
  }
}

function named(mail) {
  return { k: mail.key, g: Number(mail.generation) };
}
