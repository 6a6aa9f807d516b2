/** The senders over HTTPS: what they ask, and what each answer means for the mail. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { checked } from "../mail.js";
import { makePostmark } from "../senders/postmark.js";
import { makeResend } from "../senders/resend.js";
import { makeSes } from "../senders/ses.js";
import { readSettings } from "../settings.js";

const JOB = { batch_key: "b".repeat(32), company_id: 7 };
const MAIL = checked({
  key: "c".repeat(64),
  generation: 2,
  to: "anna@example.test",
  to_name: "Anna",
  from: { email: "noreply@example.test", name: 'Moodle "of" Björn' },
  reply_to: "office@example.test",
  subject: "Grüße 😀",
  html: "<p>ü</p>",
  text: "ü",
  headers: [["Message-ID", "<1@example.test>"], ["List-Unsubscribe", "<https://a.test/u>"], ["Cc", "x@a.test"]],
  attachments: [{ filename: "a.pdf", content_type: "application/pdf", content: "AAEC" }],
});
const SECRETS = { RESEND_API_KEY: "re_key", POSTMARK_TOKEN: "pm_token", SES_ACCESS_KEY: "AKIA", SES_SECRET_KEY: "secret", SES_REGION: "eu-west-1" };

let server;
let url;
let asked;
let answer;

before(async () => {
  server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    asked.push({ path: request.url, headers: request.headers, fields: JSON.parse(Buffer.concat(chunks)) });
    if (answer === "hang up") {
      request.socket.destroy();
      return;
    }
    const [status, body, headers = {}] = answer;
    response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${server.address().port}`;
});

after(() => server.close());

beforeEach(() => {
  asked = [];
});

const required = (name) => SECRETS[name];
const SENDERS = {
  resend: () => makeResend({}, url, required),
  postmark: () => makePostmark({}, url, required),
  ses: () => makeSes({}, url, required),
};

async function kindOf(sender) {
  try {
    await SENDERS[sender]().send(MAIL, JOB);
    return "sent";
  } catch (error) {
    return error.kind;
  }
}

test("resend is asked with an idempotency key of this mail and this wish", async () => {
  answer = [200, { id: "re-1" }];
  assert.equal(await SENDERS.resend().send(MAIL, JOB), "re-1");
  const [{ path, headers, fields }] = asked;
  assert.equal(path, "/emails");
  assert.equal(headers.authorization, "Bearer re_key");
  assert.equal(headers["idempotency-key"], `${MAIL.key}-2`);
  assert.deepEqual(fields, {
    from: '"Moodle \\"of\\" Björn" <noreply@example.test>',
    to: ["anna@example.test"],
    subject: "Grüße 😀",
    text: "ü",
    html: "<p>ü</p>",
    reply_to: "office@example.test",
    headers: { "List-Unsubscribe": "<https://a.test/u>", "X-ManiReports-Mail": MAIL.key },
    attachments: [{ filename: "a.pdf", content_type: "application/pdf", content: "AAEC" }],
  });
});

test("postmark is asked for the broadcast stream, and the mail can be found again", async () => {
  answer = [200, { ErrorCode: 0, MessageID: "pm-1" }];
  assert.equal(await SENDERS.postmark().send(MAIL, JOB), "pm-1");
  const [{ path, headers, fields }] = asked;
  assert.equal(path, "/email");
  assert.equal(headers["x-postmark-server-token"], "pm_token");
  assert.equal(fields.MessageStream, "broadcast");
  assert.deepEqual(fields.Metadata, { mail_key: MAIL.key });
  assert.deepEqual(fields.Attachments, [{ Name: "a.pdf", ContentType: "application/pdf", Content: "AAEC" }]);
});

const resend = (status, name, message = "") => [status, { statusCode: status, name, message }];
const postmark = (status, ErrorCode) => [status, { ErrorCode, Message: "said so" }];
const ses = (status, code, message = "") => [status, { message }, { "x-amzn-ErrorType": `${code}:http://x/` }];

const MEANINGS = [
  ["resend", resend(429, "rate_limit_exceeded"), "soon"],
  ["resend", resend(409, "concurrent_idempotent_requests"), "soon"],
  ["resend", resend(500, "application_error"), "soon"],
  ["resend", resend(429, "daily_quota_exceeded"), "defer"],
  ["resend", resend(429, "monthly_quota_exceeded"), "defer"],
  ["resend", resend(401, "missing_api_key"), "pause"],
  ["resend", resend(403, "invalid_api_key"), "pause"],
  ["resend", resend(401, "validation_error", "API key is invalid"), "pause"],
  ["resend", resend(403, "validation_error", "The domain is not verified"), "pause"],
  ["resend", resend(422, "invalid_from_address"), "pause"],
  ["resend", resend(422, "validation_error", "Invalid `to` field"), "drop"],
  ["resend", resend(422, "invalid_attachment"), "drop"],
  ["resend", resend(409, "invalid_idempotent_request"), "unknown"],
  ["resend", resend(418, "news"), "later"],
  ["resend", [200, {}], "unknown"],
  ["resend", [200, "<html>"], "unknown"],
  ["resend", [302, "", { Location: "http://elsewhere.test" }], "later"],
  ["postmark", postmark(422, 406), "drop"],
  ["postmark", postmark(422, 300), "drop"],
  ["postmark", postmark(200, 406), "drop"],
  ["postmark", postmark(422, 400), "pause"],
  ["postmark", postmark(401, 10), "pause"],
  ["postmark", postmark(422, 405), "pause"],
  ["postmark", postmark(429, 429), "soon"],
  ["postmark", postmark(503, 100), "soon"],
  ["postmark", postmark(422, 9999), "later"],
  ["postmark", [200, {}], "unknown"],
  ["ses", ses(429, "TooManyRequestsException"), "soon"],
  ["ses", ses(400, "ThrottlingException", "Daily message quota exceeded"), "defer"],
  ["ses", ses(400, "LimitExceededException"), "defer"],
  ["ses", ses(400, "MessageRejected", "Email address is not verified"), "pause"],
  ["ses", ses(400, "MessageRejected", "no such mailbox"), "drop"],
  ["ses", ses(403, "InvalidClientTokenId"), "pause"],
  ["ses", ses(403, "SomethingNew"), "pause"],
  ["ses", ses(404, "NotFoundException"), "pause"],
  ["ses", [200, {}], "unknown"],
];
for (const sender of Object.keys(SENDERS)) {
  MEANINGS.push(
    ...[[sender, "hang up", "unknown"], [sender, [502, "<html>"], "unknown"]],
    ...[[sender, [504, ""], "unknown"], [sender, [524, ""], "unknown"], [sender, [521, ""], "soon"]],
    ...[[sender, [500, "<html>"], "unknown"], [sender, [503, ""], "soon"], [sender, [413, ""], "drop"]],
  );
}

for (const [sender, given, kind] of MEANINGS) {
  test(`${sender}: ${JSON.stringify(given).slice(0, 80)} is ${kind}`, async () => {
    answer = given;
    assert.equal(await kindOf(sender), kind);
    assert.equal(asked.length, 1);
  });
}

test("an environment that is wrong is named, and never what it holds", () => {
  const binding = {};
  const good = {
    SITE_UID: "site", KEYS: "a:secret-of-a", DEAD_QUEUE: "dead", SENDER: "resend",
    LEDGER: binding, RESULTS: binding, RESEND_API_KEY: "re_key",
  };
  assert.equal(readSettings(good).sender.name, "resend");
  assert.equal(readSettings({ ...good, CALLBACK_URL: "http://127.0.0.1:1/x" }).lease, 45_000);
  const wrong = {
    SITE_UID: ["", " "],
    KEYS: ["", "secret-of-a", "a:", ":secret-of-a", "a b:secret-of-a", "a:1,b:2,c:3"],
    DEAD_QUEUE: [""],
    SENDER: ["", "smtp", "toString"],
    LEDGER: [undefined],
    RESULTS: [undefined],
    RESEND_API_KEY: [""],
    CALLBACK_URL: ["http://moodle.example.test/x", "callback", "ftp://127.0.0.1/"],
    SENDER_URL: ["http://sender.example.test"],
    CONCURRENCY: ["0", "7", "x"],
    LEASE_SECONDS: ["19", "601"],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      assert.throws(
        () => readSettings({ ...good, [name]: value }),
        (error) => error.message.includes(name) && !error.message.includes("secret-of-a"),
        `${name}=${value}`,
      );
    }
  }
  assert.throws(() => readSettings({ ...good, SENDER: "binding" }), /EMAIL/);
});
