/** The Worker behind a queue that does what queues may do: everything twice, and dead letters. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { start } from "../rig/rig.js";
import { Client, KEY, SITE, encode, makeBatch, makePage, waitFor } from "./helpers.js";

const BATCHES = 20;
const MAILS = 100;

let page;

before(async () => {
  page = await makePage();
});

after(() => page.close());

/** A Cloudflare of its own; `options` are those of the rig. */
async function withRig(options, act) {
  const bindings = {
    ...{ SITE_UID: SITE, KEYS: `${KEY.name}:${KEY.secret}`, SENDER: "binding" },
    CALLBACK_URL: page.url,
  };
  Object.assign(page, { statuses: [202], reports: [], bodies: [], asked: 0 });
  const rig = await start({ bindings, ...options });
  try {
    await act(new Client(rig.url));
  } finally {
    await rig.mf.dispose();
  }
}

test("2,000 mails that are pushed twice are 2,000 mails", async () => {
  await withRig({ repeat: true }, async (client) => {
    const batches = Array.from({ length: BATCHES }, () => makeBatch(MAILS));
    for (const batch of batches) assert.equal((await client.push(encode(batch))).success, true);
    await waitFor(() => page.reports.length === 2 * BATCHES, "both reports of each batch", 240);
    const arrived = (await client.mails()).map((mail) => mail.headers["X-ManiReports-Mail"]);
    const wanted = batches.flatMap(({ mails }) => mails.map((mail) => mail.mail_key));
    assert.deepEqual(arrived.sort(), wanted.sort());
    assert.ok(page.reports.every((report) => report.status === "sent" && report.final));
    // The site tells a repeated report by its name.
    assert.equal(new Set(page.reports.map((report) => report.delivery_id)).size, BATCHES);
  });
});

test("what fills a request twice over is doubled all the same", async () => {
  await withRig({ repeat: true }, async (client) => {
    const padding = "x".repeat(110_000);
    const bodies = [1, 2].map(() => JSON.stringify({ ...JSON.parse(encode(makeBatch(1))), padding }));
    assert.equal((await client.push(...bodies)).success, true);
    await waitFor(() => page.reports.length === 4, "each report twice");
    assert.equal((await client.mails()).length, 2);
  });
});

test("what the queue gives up is reported by the dead-letter consumer", async () => {
  await withRig({ retries: 0 }, async (client) => {
    const batch = makeBatch(3);
    const slow = { code: "E_RATE_LIMIT_EXCEEDED", message: "too many requests" };
    await client.rules(...batch.mails.map(({ to }) => ({ match: to, ...slow })));
    await client.push(encode(batch));
    await waitFor(() => page.reports.at(-1)?.final, "the final report");
    const [first, last] = page.reports;
    assert.deepEqual([first.final, last.status], [false, "deferred"]);
    assert.ok(last.recipients.every((each) => each.error_code === "dead_letter" && each.retryable));
    await client.rules();
    await client.push(encode({ ...batch, attempt: 2 }));
    await waitFor(() => page.reports.at(-1).attempt === 2, "the report of the second ask");
    assert.equal(page.reports.at(-1).status, "sent");
    assert.equal((await client.mails()).length, 3);
  });
});
