/** The golden vectors of the contract, read by the Worker's own code. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";

import { digest, isSigned, parseEnvelope, readJob, sign, Refused } from "../contract.js";
import { parse, write } from "../strict_json.js";
import { unpacked, vectors } from "./helpers.js";

function textOf({ text, pieces }) {
  return text ?? pieces.map(([piece, times]) => piece.repeat(times)).join("");
}

test("every file of vectors that is a worker's business is read here", () => {
  const files = readdirSync(new URL("../../contract/vectors", import.meta.url)).sort();
  const here = ["batch", "delivery_ids", "keys", "malformed_messages", "messages", "signatures"];
  const theirs = ["malformed_results", "results"]; // a worker reads no results
  assert.deepEqual(files, [...here, ...theirs].map((name) => `${name}.json`).sort());
});

for (const each of vectors("signatures").cases) {
  test(`signature: ${each.name}`, async () => {
    const { kind, timestamp, payload, secret } = each;
    assert.equal(await sign(kind, timestamp, payload, secret), each.signature);
  });
}

for (const each of vectors("signatures").checks) {
  test(`genuine or not: ${each.name}`, async () => {
    const { kind, timestamp, payload, signature, secrets } = each;
    assert.equal(await isSigned(kind, timestamp, payload, signature, secrets), each.valid);
  });
}

for (const each of vectors("delivery_ids").cases) {
  test(`delivery_id: ${each.name}`, async () => {
    const { site_uid: site, batch_key: batch, attempt, try: tries, part } = each;
    assert.equal(await digest(site, batch, attempt, tries, part), each.delivery_id);
  });
}

for (const each of vectors("keys").cases) {
  test(`mail_key: ${each.name}`, async () => {
    const { source, source_id, source_stamp, role, address, generation } = each;
    const captured = await digest(source, source_id, source_stamp, role, address, generation);
    assert.equal(captured, each.capture_hash);
    assert.equal(await digest(vectors("keys").site_uid, captured), each.mail_key);
  });
}

for (const each of vectors("messages").cases) {
  test(`a message that must be taken: ${each.name}`, async () => {
    const found = parseEnvelope(each.message);
    const said = JSON.parse(JSON.stringify(found));
    assert.deepEqual(said, each.envelope);
    const { kind, timestamp, payload, signature } = found;
    const { secret } = vectors("messages");
    assert.ok(await isSigned(kind, timestamp, payload, signature, [secret]));
  });
}

for (const each of vectors("malformed_messages").cases) {
  test(`a message that must be refused: ${each.name}`, () => {
    assert.throws(
      () => parseEnvelope(textOf(each)),
      (error) => error instanceof Refused && error.message.startsWith(each.field || "envelope"),
    );
  });
}

test("the batch of the vector is read as it says", async () => {
  const { message, key, payload, mails } = vectors("batch");
  const keys = [{ name: key.key, secret: key.secret }];
  const job = await readJob(message, keys, payload.site_uid);
  for (const name of ["site_uid", "batch_key", "job_id", "batch_id", "attempt", "company_id"]) {
    assert.equal(job[name], payload[name]);
  }
  assert.equal(job.mails.length, mails.length);
  for (const [at, wanted] of mails.entries()) {
    const { key: mailKey, root, from, reply_to: replyTo, to_name: toName, ...rest } = job.mails[at];
    const expected = {
      ...wanted,
      attachments: wanted.attachments.map(({ filename, content_type, content }) => ({
        filename,
        content_type,
        content,
      })),
    };
    for (const name of Object.keys(rest)) assert.deepEqual(rest[name], expected[name], name);
    assert.equal(mailKey, wanted.mail_key);
    assert.equal(root, wanted.root_batch);
    assert.deepEqual({ ...from }, wanted.from ?? payload.from);
    assert.equal(replyTo, wanted.reply_to ?? payload.reply_to);
    assert.equal(toName, wanted.to_name ?? "");
  }
  assert.deepEqual(unpacked(JSON.parse(JSON.parse(message).payload)), mails);
});

test("strict JSON refuses what JSON.parse would bend", () => {
  const bad = ['{"a":1,"a":2}', "[1,]", "NaN", "01", "+1", "", "1 2", "{'a':1}", '"\u0001"', "[".repeat(5000)];
  for (const text of bad) assert.throws(() => parse(text), SyntaxError, text);
  assert.ok(Number.isNaN(parse("1.0")));
  assert.ok(Number.isNaN(parse("1e3")));
  assert.equal(parse("9223372036854775807"), 9223372036854775807n);
  assert.deepEqual(parse(' {"a" : [ true , null , "\\u00e9\\ud83d" ] } ').a, [true, null, "é\ud83d"]);
});

test("a string may have millions of escapes, and end in any number of them", () => {
  const many = "太".repeat(3_000_000);
  assert.equal(parse(write([many]))[0], many);
  for (const text of ["", "\\", "\\\\", '\\"', '"', '"\\', "\u0001"]) {
    assert.deepEqual(parse(JSON.stringify([text, "end"])), [text, "end"]);
  }
  for (const text of ['["\\"]', '["', '["\\\\\\"', '["\\x"]', '["\\u12"]']) {
    assert.throws(() => parse(text), SyntaxError, text);
  }
});

test("what is written is ASCII and says the same", () => {
  const value = { text: 'é😀"\\\n\ud83d', number: 9223372036854775807n, list: [1, null, true] };
  const written = write(value);
  assert.match(written, /^[\x20-\x7e]*$/);
  const found = parse(written);
  assert.equal(found.text, value.text);
  assert.equal(found.number, value.number);
});
