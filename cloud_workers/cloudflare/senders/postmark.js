/**
 * Postmark, by HTTPS. It documents no idempotency key; each mail carries its key as metadata, by
 * which a mail whose answer was lost can be found in Postmark's activity.
 */

import { apiHeaders, mailbox } from "../mail.js";
import { SendError, byStatus, meanings, post } from "./http.js";

const KINDS = meanings({
  soon: "100 429",
  pause: "10 400 401 405 412 413 1235 1236",
  drop: "300 402 403 406 409 411",
});

export function makePostmark(env, url, required) {
  const where = `${url || "https://api.postmarkapp.com"}/email`;
  const token = required("POSTMARK_TOKEN");
  const stream = env.POSTMARK_STREAM || "broadcast";
  return {
    name: "postmark",
    idempotent: false,
    maxBytes: 10_000_000,
    send: (mail) => send(where, token, stream, mail),
  };
}

async function send(url, token, stream, mail) {
  const message = {
    From: mailbox(mail.from),
    To: mail.to,
    Subject: mail.subject,
    TextBody: mail.text,
    ...(mail.html ? { HtmlBody: mail.html } : {}),
    ...(mail.reply_to ? { ReplyTo: mail.reply_to } : {}),
    MessageStream: stream,
    Headers: apiHeaders(mail).map(([Name, Value]) => ({ Name, Value })),
    Metadata: { mail_key: mail.key },
    ...(mail.attachments.length ? { Attachments: mail.attachments.map(file) } : {}),
  };
  const headers = { Accept: "application/json", "X-Postmark-Server-Token": token };
  const { status, fields } = await post(url, headers, JSON.stringify(message));
  if (status === 200 && fields?.ErrorCode === 0 && fields.MessageID) return fields.MessageID;
  const code = fields?.ErrorCode ? String(fields.ErrorCode) : "";
  if (status === 200 && !code) {
    throw new SendError("unknown", "no_message_id", "what answered is not Postmark");
  }
  const kind = KINDS.get(code) ?? byStatus(status, fields);
  throw new SendError(kind, code ? `postmark_${code}` : `http_${status}`, fields?.Message ?? "");
}

function file({ filename: Name, content_type: ContentType, content: Content }) {
  return { Name, ContentType, Content };
}
