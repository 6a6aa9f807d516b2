/**
 * Plays Cloudflare's API for the rig: the REST paths of Queues, in front of miniflare's queue.
 *
 * Requests, answers and limits are the documented ones. http_pull, which miniflare lacks, is played
 * by this Worker being the consumer of the results queue and keeping what it gets.
 */

import { DurableObject } from "cloudflare:workers";

const MESSAGE = 128_000;
const BATCH = 256_000;
const METADATA = 100;
const encoder = new TextEncoder();

/** The results queue's messages: they come again after the visibility timeout, until acked. */
export class Shelf extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(
      `CREATE TABLE IF NOT EXISTS shelf (id TEXT PRIMARY KEY, body TEXT, attempts INTEGER,
         at INTEGER, lease TEXT, visible INTEGER)`,
    );
  }

  put(messages) {
    for (const { id, body } of messages) {
      this.sql.exec(
        "INSERT OR REPLACE INTO shelf VALUES (?, ?, 0, ?, '', 0)",
        ...[id, body, Date.now()],
      );
    }
  }

  pull(size, timeout) {
    const now = Date.now();
    const rows = this.sql
      .exec("SELECT * FROM shelf WHERE visible <= ? ORDER BY at LIMIT ?", now, size)
      .toArray();
    return rows.map(({ id, body, attempts, at }) => {
      const lease = crypto.randomUUID();
      this.sql.exec(
        "UPDATE shelf SET lease = ?, visible = ?, attempts = attempts + 1 WHERE id = ?",
        ...[lease, now + timeout, id],
      );
      const metadata = { "CF-Content-Type": "text" };
      return { id, body, attempts: attempts + 1, timestamp_ms: at, lease_id: lease, metadata };
    });
  }

  ack(leases) {
    let count = 0;
    for (const lease of leases) {
      count += this.sql.exec("DELETE FROM shelf WHERE lease = ?", lease).rowsWritten ? 1 : 0;
    }
    return count;
  }

  count() {
    return this.sql.exec("SELECT count(*) AS n FROM shelf").one().n;
  }
}

export default {
  async queue(batch, env) {
    await shelf(env).put(batch.messages.map(({ id, body }) => ({ id, body })));
  },

  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname.startsWith("/sink/")) return env.SINK.fetch(request);
    if (url.pathname.startsWith("/worker/")) {
      const path = url.pathname.slice("/worker".length);
      return env.WORKER.fetch(new Request(new URL(path, url), request));
    }
    const [, queue, action] =
      /^\/client\/v4\/accounts\/[0-9a-f]{32}\/queues\/([0-9a-f]{32})(?:\/(.*))?$/.exec(url.pathname) ??
      [];
    if (!queue) return failure(404, 7003, "Could not route");
    if (request.headers.get("Authorization") !== `Bearer ${env.TOKEN}`) {
      return failure(401, 10000, "Authentication error");
    }
    const kind = { [env.JOBS_ID]: "jobs", [env.RESULTS_ID]: "results" }[queue];
    if (!kind) return failure(404, 11000, "Queue not found");
    if (request.method === "GET" && !action) {
      const consumers = [{ type: kind === "jobs" ? "worker" : "http_pull" }];
      return success({ queue_id: queue, queue_name: kind, consumers });
    }
    if (request.method === "GET" && action === "metrics") {
      // Of the jobs, miniflare counts neither those in work nor those that wait for their retry.
      const jobs = kind === "jobs" ? (await env.JOBS.metrics()).backlogCount : 0;
      return success({ backlog_count: kind === "jobs" ? jobs : await shelf(env).count() });
    }
    if (request.method !== "POST") return failure(405, 10405, "Method not allowed");
    const body = await request.json();
    if (kind === "jobs" && action === "messages") return push(env, [body]);
    if (kind === "jobs" && action === "messages/batch") return push(env, body.messages);
    if (kind === "results" && action === "messages/pull") {
      const messages = await shelf(env).pull(body.batch_size ?? 5, body.visibility_timeout_ms ?? 30_000);
      return success({ message_backlog_count: await shelf(env).count(), messages });
    }
    if (kind === "results" && action === "messages/ack") {
      const count = await shelf(env).ack((body.acks ?? []).map((each) => each.lease_id));
      return success({ ackCount: count, retryCount: 0, warnings: [] });
    }
    return failure(404, 7003, "Could not route");
  },
};

async function push(env, messages) {
  const sizes = messages.map(({ body }) => encoder.encode(body).length + METADATA);
  if (messages.length > 100) return failure(400, 10206, "Too many messages in batch");
  if (sizes.some((size) => size > MESSAGE)) return failure(413, 10204, "Message too large");
  if (sizes.reduce((sum, size) => sum + size, 0) > BATCH) {
    return failure(413, 10205, "Batch too large");
  }
  const entries = messages.map(
    ({ body, content_type: contentType, delay_seconds: delaySeconds }) => ({
      body,
      contentType,
      ...(delaySeconds ? { delaySeconds } : {}),
    }),
  );
  await env.JOBS.sendBatch(entries);
  // Apart: twice a good request is more than the queue takes at once.
  if (env.REPEAT) await env.JOBS.sendBatch(entries);
  return success({ metadata: { metrics: { backlog_count: 0 } } });
}

function shelf(env) {
  return env.SHELF.get(env.SHELF.idFromName("results"));
}

function success(result) {
  return Response.json({ success: true, errors: [], messages: [], result });
}

function failure(status, code, message) {
  const fields = { success: false, errors: [{ code, message }], messages: [], result: null };
  return Response.json(fields, { status });
}
