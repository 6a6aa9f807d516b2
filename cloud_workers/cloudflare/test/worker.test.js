/** The Worker on the real runtime: what is sent, what is reported, what comes again. */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";

import { start } from "../rig/rig.js";
import { Client, KEY, SITE, encode, makeBatch, makeMail, makePage, seal, waitFor } from "./helpers.js";

const bindings = {
  SITE_UID: SITE,
  KEYS: `${KEY.name}:${KEY.secret},company-1-old:its-secret-of-last-year`,
  SENDER: "binding",
};

let page;
let rig;
let client;
let worker;
let seen;

before(async () => {
  page = await makePage();
  rig = await start({ bindings: { ...bindings, CALLBACK_URL: page.url } });
  client = new Client(rig.url);
  worker = await rig.mf.getWorker("worker");
});

after(async () => {
  await rig.mf.dispose();
  await page.close();
});

beforeEach(async () => {
  Object.assign(page, { statuses: [202], reports: [], bodies: [], asked: 0 });
  await client.rules();
  seen = (await client.mails()).length;
});

/** The mails that arrived in this test. */
async function arrived() {
  return (await client.mails()).slice(seen);
}

async function addresses() {
  return (await arrived()).map((mail) => mail.to).sort();
}

/** Let the Worker work on a message at once; in how many seconds it comes again, null if it is done. */
async function work(body, queue = "jobs") {
  const id = randomBytes(16).toString("hex");
  const found = await worker.queue(queue, [{ id, timestamp: new Date(), attempts: 1, body }]);
  assert.equal(found.outcome, "ok");
  if (found.explicitAcks.length) return null;
  const [again] = found.retryMessages;
  return again.delaySeconds;
}

function statuses(report) {
  return report.recipients.map((each) => each.status);
}

test("every mail is sent once and reported", async () => {
  const batch = makeBatch(25);
  assert.equal((await client.push(encode(batch))).success, true);
  await waitFor(() => page.reports.length, "the report");
  assert.deepEqual(await addresses(), batch.mails.map((mail) => mail.to).sort());
  const [report] = page.reports;
  assert.deepEqual(
    [report.status, report.final, report.attempt, report.try, report.emails_sent],
    ["sent", true, 1, 1, 25],
  );
  assert.equal(report.batch_key, batch.batch_key);
  assert.deepEqual(
    report.recipients.map((each) => [each.mail_key, each.id, each.status]),
    batch.mails.map((mail) => [mail.mail_key, mail.id, "sent"]),
  );
});

test("a message that comes again sends nothing and repeats its report", async () => {
  const batch = makeBatch(8);
  assert.equal(await work(encode(batch)), null);
  assert.equal(await work(encode(batch)), null);
  assert.equal((await arrived()).length, 8);
  assert.equal(page.reports.length, 2);
  assert.deepEqual(page.reports[1], page.reports[0]); // the site has seen it: same delivery_id
});

test("two Workers with the same message send each mail once", async () => {
  const batch = makeBatch(60);
  const delays = await Promise.all([1, 2, 3].map(() => work(encode(batch))));
  assert.equal((await arrived()).length, 60);
  assert.equal(new Set(await addresses()).size, 60);
  for (const delay of delays) assert.ok(delay === null || (delay >= 1 && delay <= 47), `${delay}`);
  assert.ok(delays.includes(null));
});

test("what is not signed for us sends nothing", async () => {
  const batch = makeBatch(3);
  const good = encode(batch);
  const { payload } = JSON.parse(good);
  const other = JSON.stringify({ ...JSON.parse(payload), attempt: 2 });
  const messages = [
    "hello",
    "{}",
    good.slice(0, -20),
    JSON.stringify({ ...JSON.parse(good), payload: other }),
    JSON.stringify({ ...JSON.parse(good), key: "company-2" }),
    JSON.stringify({ ...JSON.parse(good), timestamp: 1 }),
    encode(batch, { name: KEY.name, secret: "another" }),
    encode(batch, { name: "company-2", secret: KEY.secret }),
    seal("result", payload),
  ];
  for (const message of messages) assert.equal(await work(message), null);
  assert.deepEqual(await arrived(), []);
  assert.equal(page.asked, 0);
});

test("a batch of another site, or one that cannot be unpacked, is reported as refused", async () => {
  const foreign = makeBatch(2, { site_uid: "another" });
  assert.equal(await work(encode(foreign)), null);
  const { mails, ...fields } = makeBatch(2);
  const broken = { ...fields, encoding: "gzip+base64" };
  for (const emails of ["", "AAAA", "H4sIAAAAAAAA", "!", Buffer.from("[]").toString("base64")]) {
    assert.equal(await work(seal("job", JSON.stringify({ ...broken, emails }))), null);
  }
  const twice = makeBatch([...mails, mails[0]]);
  assert.equal(await work(encode(twice)), null);
  assert.deepEqual(await arrived(), []);
  assert.equal(page.reports.length, 7);
  for (const report of page.reports) {
    assert.deepEqual([report.status, report.final, report.recipients], ["refused", true, []]);
    assert.ok(report.errors[0]);
  }
});

test("the old of two keys is good, and signs the report", async () => {
  const old = { name: "company-1-old", secret: "its-secret-of-last-year" };
  page.statuses = [401]; // the page of the tests knows the new one only
  assert.equal(await work(encode(makeBatch(1), old)), null);
  assert.equal((await arrived()).length, 1);
  const message = await waitFor(async () => (await client.pull())[0], "the queued report");
  assert.equal(JSON.parse(message.body).key, old.name);
});

test("a mail that is refused for now waits 5, 30 and 120 s, then the sidecar asks again", async () => {
  const batch = makeBatch(5);
  await client.rules(
    ...batch.mails.map(({ to }) => ({ match: to, code: "E_RATE_LIMIT_EXCEEDED", message: "slow" })),
  );
  const body = encode(batch);
  assert.deepEqual([await work(body), await work(body), await work(body)], [5, 30, 120]);
  assert.equal(await work(body), null);
  assert.deepEqual(page.reports.map(({ final }) => final), [false, false, false, true]);
  assert.deepEqual(page.reports.map((report) => report.try), [1, 2, 3, 4]);
  const last = page.reports.at(-1);
  // One goes ahead after trouble; it has used up its tries, the others were never claimed.
  assert.deepEqual(statuses(last).sort(), ["deferred", "deferred", "deferred", "deferred", "failed"]);
  const soon = Date.now() / 1000 + 300;
  const later = last.recipients.filter((each) => each.status === "deferred");
  assert.ok(later.every((each) => each.retryable && Math.abs(each.not_before - soon) < 5));
  await client.rules();
  assert.equal(await work(encode({ ...batch, attempt: 2 })), null);
  assert.equal((await arrived()).length, 5);
  assert.equal(page.reports.at(-1).status, "sent");
});

test("a mail that is refused once is sent by the queue's next try", async () => {
  const batch = makeBatch(4);
  const rule = { match: batch.mails[1].to, code: "E_INTERNAL_SERVER_ERROR", message: "", times: 1 };
  await client.rules(rule);
  const began = Date.now();
  await client.push(encode(batch));
  await waitFor(() => page.reports.at(-1)?.final, "the final report");
  assert.ok(Date.now() - began > 4500);
  assert.equal((await arrived()).length, 4);
  assert.deepEqual(page.reports.map(({ status }) => status), ["partial_failure", "sent"]);
});

test("a used-up daily quota is reported with not_before, and the queue is done", async () => {
  const batch = makeBatch(20);
  await client.rules({ match: batch.mails[2].to, code: "E_DAILY_LIMIT_EXCEEDED", message: "" });
  assert.equal(await work(encode(batch)), null);
  const [report] = page.reports;
  const deferred = report.recipients.filter((each) => each.status === "deferred");
  assert.equal(deferred.length, 15);
  const hour = Date.now() / 1000 + 3600;
  assert.ok(deferred.every((each) => Math.abs(each.not_before - hour) < 5));
  assert.deepEqual(new Set(deferred.map((each) => each.error_code)), new Set(["E_DAILY_LIMIT_EXCEEDED"]));
  assert.equal((await arrived()).length, 5);
});

test("trouble of the account stops the batch and loses no mail for good", async () => {
  const batch = makeBatch(20);
  await client.rules(
    ...batch.mails.map(({ to }) => ({ match: to, code: "E_SENDER_NOT_VERIFIED", message: "no" })),
  );
  assert.equal(await work(encode(batch)), null);
  const [report] = page.reports;
  const count = (status) => statuses(report).filter((each) => each === status).length;
  assert.deepEqual([count("failed"), count("deferred")], [6, 14]);
  assert.ok(report.recipients.every((each) => each.retryable));
});

test("a mail that is refused for good fails alone, and only an admin's wish sends it again", async () => {
  const batch = makeBatch(5);
  const bad = batch.mails[3];
  await client.rules({ match: bad.to, code: "E_RECIPIENT_SUPPRESSED", message: "bounced before" });
  assert.equal(await work(encode(batch)), null);
  const failed = page.reports[0].recipients[3];
  assert.deepEqual(
    [failed.status, failed.error_code, failed.retryable],
    ["permanently_failed", "E_RECIPIENT_SUPPRESSED", false],
  );
  assert.match(failed.error, /bounced before/);
  await client.rules();
  assert.equal(await work(encode({ ...batch, attempt: 2 })), null);
  assert.equal((await arrived()).length, 4);
  const again = makeBatch([{ ...bad, generation: 1 }]);
  assert.equal(again.mails[0].root_batch, batch.batch_key);
  assert.equal(await work(encode(again)), null);
  assert.equal(await work(encode(again)), null);
  assert.equal(await work(encode({ ...batch, attempt: 3 })), null);
  assert.equal((await arrived()).length, 5);
  assert.equal(page.reports.at(-1).status, "sent");
});

test("a mail whose answer was lost is unknown and never sent again", async () => {
  const batch = makeBatch(3);
  await client.rules({ match: batch.mails[0].to, code: "", message: "gone", swallow: true, times: 1 });
  assert.equal(await work(encode(batch)), null);
  assert.equal(page.reports[0].recipients[0].status, "unknown");
  assert.equal(await work(encode({ ...batch, attempt: 2 })), null);
  assert.equal((await arrived()).length, 3);
});

test("what is revoked is not sent, what is sent is not revoked", async () => {
  const batch = makeBatch(6);
  const name = ({ root_batch, mail_key }) => ({ root_batch, mail_key, generation: 0 });
  const first = batch.mails.slice(0, 2).map(name);
  for (let n = 0; n < 2; n += 1) {
    const { status, revoked } = await client.ask("revoke", { mails: first });
    assert.deepEqual([status, revoked], [200, first.map((each) => each.mail_key)]);
  }
  assert.equal(await work(encode(batch)), null);
  assert.equal((await arrived()).length, 4);
  assert.deepEqual(statuses(page.reports[0]), ["revoked", "revoked", "sent", "sent", "sent", "sent"]);
  assert.equal(page.reports[0].status, "partial_failure");
  const { revoked } = await client.ask("revoke", { mails: batch.mails.map(name) });
  assert.deepEqual(revoked, first.map((each) => each.mail_key));
});

test("the Worker answers the sidecar alone", async () => {
  const { status, sender, version, callback, keys } = await client.ask("status", {});
  assert.deepEqual([status, sender, version, callback], [200, "binding", 1, true]);
  assert.deepEqual(keys, ["company-1", "company-1-old"]);
  const now = Math.floor(Date.now() / 1000);
  const mails = [];
  const answers = [
    [401, await client.ask("status", {}, { ...KEY, secret: "wrong" })],
    [401, await client.ask("status", {}, { ...KEY, name: "company-2" })],
    [401, await client.ask("revoke", { mails }, KEY, now - 400)],
    [401, await client.ask("revoke", { mails }, KEY, now + 400)],
    [401, await client.post("revoke", "{}", {})],
    [403, await client.ask("status", { site_uid: "another" })],
    [400, await client.ask("revoke", {})],
    [400, await client.ask("revoke", { mails: [{ root_batch: "x", mail_key: "y", generation: 0 }] })],
    [404, await client.ask("other", {})],
  ];
  for (const [wanted, { status: found, error }] of answers) {
    assert.equal(found, wanted, error);
    assert.ok(error);
  }
  assert.equal((await fetch(`${rig.url}/worker/status`)).status, 405);
});

test("results wait in their queue while the page is down, each arrives once", async () => {
  for (const { lease_id: lease } of await client.pull()) assert.ok(lease);
  page.statuses = [503];
  const down = makeBatch(3);
  assert.equal(await work(encode(down)), null);
  assert.equal(page.asked, 3);
  const find = async () => (await client.pull()).find(({ body }) => body.includes(down.batch_key));
  const { body } = await waitFor(find, "the queued report");
  const { v, kind, payload, timestamp, signature } = JSON.parse(body);
  assert.deepEqual([v, kind], [1, "result"]);
  assert.equal(seal("result", payload, KEY, timestamp), body);
  assert.ok(signature);
  page.statuses = [202];
  const up = makeBatch(3);
  assert.equal(await work(encode(up)), null);
  assert.deepEqual(page.reports.map(({ batch_key: key }) => key), [up.batch_key]);
});

test("a dead letter is not sent but reported, so that the sidecar asks again", async () => {
  const batch = makeBatch(4);
  assert.equal(await work(encode(batch), "dead"), null);
  assert.deepEqual(await arrived(), []);
  const [report] = page.reports;
  assert.equal(report.final, true);
  assert.deepEqual(new Set(statuses(report)), new Set(["deferred"]));
  assert.equal(report.recipients[0].error_code, "dead_letter");
  assert.equal(await work(encode({ ...batch, attempt: 2 })), null);
  assert.equal((await arrived()).length, 4);
});

test("a message older than the ledger's memory sends nothing", async () => {
  const old = Math.floor(Date.now() / 1000) - 30 * 86_400 - 60;
  assert.equal(await work(encode(makeBatch(2, { first_issued_at: old }))), null);
  assert.deepEqual(await arrived(), []);
  const [report] = page.reports;
  assert.deepEqual([report.status, report.recipients[0].error_code], ["expired", "expired"]);
  const late = Math.floor(Date.now() / 1000) - 29 * 86_400;
  assert.equal(await work(encode(makeBatch(2, { first_issued_at: late }))), null);
  assert.equal((await arrived()).length, 2);
});

test("texts arrive as they were written", async () => {
  const rich = {
    subject: "Grüße: ваш новый 帐户 😀",
    html: `<p>Dear Björn &amp; 太郎,</p>\r\n${"long line ".repeat(30_000)}\u0001\t`,
    text: `\n.\n From here on = equals\ttab \n${"x".repeat(3000)}`,
    reply_to: "office@example.test",
    to_name: "Ann Übel",
    headers: [
      ["Message-ID", "<1@moodle.example.test>"],
      ["List-Unsubscribe", "<https://moodle.example.test/u?k=1>"],
      ["X-Two", "1"],
      ["X-Two", "2"],
      ["X-Course", "Sécurité"],
      ["Thread-Topic", "not taken by the e-mail service"],
      ["To", "hr@example.test"],
    ],
    attachments: [{ filename: "ü.pdf", content_type: "application/pdf; x=y", content: "AAEC/w==" }],
  };
  const batch = makeBatch([makeMail(rich), makeMail({ html: "", text: "" })]);
  assert.equal(await work(encode(batch)), null);
  const [first, second] = await arrived();
  for (const name of ["subject", "html", "text"]) assert.equal(first[name], rich[name]);
  assert.equal(first.replyTo, rich.reply_to);
  assert.deepEqual(first.headers, {
    "List-Unsubscribe": "<https://moodle.example.test/u?k=1>",
    "X-Two": "1, 2",
    "X-Course": "=?utf-8?b?U8OpY3VyaXTDqQ==?=",
    "X-ManiReports-Mail": batch.mails[0].mail_key,
  });
  assert.deepEqual(first.attachments, [
    { filename: "ü.pdf", type: "application/pdf", content: "AAEC/w==", disposition: "attachment" },
  ]);
  assert.equal(second.text, "");
  assert.ok(!("html" in second));
});

test("a mail that cannot be sent fails alone", async () => {
  const bad = [
    [{ to: "a@b.test\r\nBcc: c@d.test" }, "invalid_address"],
    [{ to: "a@b.test, c@d.test" }, "invalid_address"],
    [{ to: "björn@example.test" }, "invalid_address"],
    [{ to: "" }, "invalid_address"],
    [{ subject: "a\r\nBcc: c@d.test" }, "invalid_header"],
    [{ subject: "half \ud83d" }, "invalid_header"],
    [{ text: "half \ud83d" }, "invalid_content"],
    [{ headers: [["X-A", "a\nb"]] }, "invalid_header"],
    [{ headers: [["X A", "a"]] }, "invalid_header"],
    [{ headers: [["Content-Type", "text/html"]] }, "invalid_header"],
    [{ headers: [["X-ManiReports-Mail", "a"]] }, "invalid_header"],
    [{ reply_to: "a@b.test\nBcc: c@d.test" }, "invalid_header"],
    [{ attachments: [{ filename: "a", content_type: "", content: "@" }] }, "invalid_content"],
    [{ html: "x".repeat(5 * 1024 * 1024), text: "" }, "too_large"],
  ];
  const just = makeMail({ html: "x".repeat(5 * 1024 * 1024 - 200), text: "", subject: "" });
  const batch = makeBatch([...bad.map(([changes]) => makeMail(changes)), just, makeMail()]);
  assert.equal(await work(encode(batch)), null);
  assert.equal((await arrived()).length, 2);
  const found = page.reports[0].recipients.slice(0, bad.length);
  assert.deepEqual(
    found.map((each) => [each.status, each.error_code]),
    bad.map(([, code]) => ["permanently_failed", code]),
  );
  assert.ok(found.every((each) => each.error));
});

test("a wrong sender is the company's set-up: no mail is lost for good", async () => {
  const mails = [1, 2].map(() => makeMail({ from: { email: "nobody", name: "" } }));
  assert.equal(await work(encode(makeBatch(mails))), null);
  const [report] = page.reports;
  assert.ok(report.recipients.every((each) => each.status === "failed" && each.retryable));
});

test("a message of 250 mails is reported in parts that fit into the results queue", async () => {
  page.statuses = [503];
  const batch = makeBatch(250, { job_id: 9_007_199_254_740_000 });
  for (const mail of batch.mails) mail.subject = `${mail.id} "\\"`;
  await client.rules(
    ...batch.mails.map(({ to }) => ({ match: to, code: "E_VALIDATION_ERROR", message: '"\\'.repeat(200) })),
  );
  assert.equal(await work(encode(batch)), null);
  const find = async () => {
    const found = (await client.pull()).filter(({ body }) => body.includes(batch.batch_key));
    for (const { body } of found) parts.set(JSON.parse(JSON.parse(body).payload).delivery_id, body);
    return parts.size === 3;
  };
  const parts = new Map();
  await waitFor(find, "three parts");
  for (const body of parts.values()) assert.ok(body.length < 127_000, `${body.length}`);
});

test("pushes at the limits of a message, a batch and a count", async () => {
  const filled = (size) => "x".repeat(size);
  assert.equal((await client.push(filled(128_000 - 100))).success, true);
  assert.equal((await client.push(filled(128_000 - 99))).errors[0].code, 10204);
  assert.equal((await client.push(filled(127_900), filled(127_901))).errors[0].code, 10204);
  assert.equal((await client.push(filled(100_000), filled(100_000), filled(56_000))).errors[0].code, 10205);
  assert.equal((await client.push(...Array(101).fill("x"))).errors[0].code, 10206);
  assert.equal((await client.push(...Array(100).fill("x"))).success, true);
});
