/**
 * The e-mail sink of the rig: stands where the binding EMAIL does, and keeps what it was given.
 *
 * A rule {match, code, message, times} makes it refuse mail to that address as the e-mail service
 * does, so many times (0: always). {swallow: true} takes the mail and then fails.
 */

import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

const ROW = 600_000;

export class Post extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(
      `CREATE TABLE IF NOT EXISTS mails (n INTEGER PRIMARY KEY, message TEXT);
       CREATE TABLE IF NOT EXISTS rules (match TEXT PRIMARY KEY, rule TEXT, met INTEGER)`,
    );
  }

  take(message) {
    const [found] = this.sql.exec("SELECT * FROM rules WHERE match = ?", message.to).toArray();
    const rule = found && JSON.parse(found.rule);
    const meets = rule && (!rule.times || found.met < rule.times);
    if (meets) this.sql.exec("UPDATE rules SET met = met + 1 WHERE match = ?", message.to);
    if (!meets || rule.swallow) {
      const text = JSON.stringify(message);
      // A row holds no more than 2 MB.
      const kept = text.length < ROW ? text : JSON.stringify({ to: message.to, size: text.length });
      this.sql.exec("INSERT INTO mails (message) VALUES (?)", kept);
    }
    return meets ? { code: rule.code, message: rule.message } : null;
  }

  rules(rules) {
    this.sql.exec("DELETE FROM rules");
    for (const rule of rules) {
      this.sql.exec("INSERT INTO rules VALUES (?, ?, 0)", rule.match, JSON.stringify(rule));
    }
  }

  mails() {
    return this.sql.exec("SELECT message FROM mails ORDER BY n").toArray().map((row) => row.message);
  }
}

export class Mail extends WorkerEntrypoint {
  async send(message) {
    const refusal = await post(this.env).take(message);
    if (refusal) {
      const error = new Error(`${refusal.code}: ${refusal.message}`);
      error.code = refusal.code;
      throw error;
    }
    return { messageId: `sink-${crypto.randomUUID()}` };
  }
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/sink/rules") await post(env).rules(await request.json());
    const mails = pathname === "/sink/mails" ? await post(env).mails() : [];
    return new Response(`[${mails.join(",")}]`, { headers: { "Content-Type": "application/json" } });
  },
};

function post(env) {
  return env.POST.get(env.POST.idFromName("all"));
}
