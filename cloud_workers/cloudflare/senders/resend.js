/** Resend, by HTTPS. Its Idempotency-Key holds for 24 hours, so a lost answer may be asked again. */

import { apiHeaders, mailbox } from "../mail.js";
import { SendError, byStatus, meanings, post } from "./http.js";

const KINDS = meanings({
  soon: "rate_limit_exceeded concurrent_idempotent_requests application_error internal_server_error",
  defer: "daily_quota_exceeded monthly_quota_exceeded",
  pause: `missing_api_key restricted_api_key invalid_api_key invalid_from_address not_found
    method_not_allowed security_error invalid_access invalid_region`,
  drop: "missing_required_field invalid_attachment invalid_parameter invalid_idempotency_key",
  unknown: "invalid_idempotent_request", // what was sent under this key was another text
});

export function makeResend(env, url, required) {
  const where = `${url || "https://api.resend.com"}/emails`;
  const key = required("RESEND_API_KEY");
  return {
    name: "resend",
    idempotent: true,
    maxBytes: 40_000_000,
    send: (mail) => send(where, key, mail),
  };
}

async function send(url, key, mail) {
  const message = {
    from: mailbox(mail.from),
    to: [mail.to],
    subject: mail.subject,
    text: mail.text,
    ...(mail.html ? { html: mail.html } : {}),
    ...(mail.reply_to ? { reply_to: mail.reply_to } : {}),
    headers: Object.fromEntries(apiHeaders(mail)),
    ...(mail.attachments.length ? { attachments: mail.attachments.map(file) } : {}),
  };
  const headers = {
    Authorization: `Bearer ${key}`,
    // A generation is an admin's wish to send it again.
    "Idempotency-Key": `${mail.key}-${mail.generation}`,
  };
  const { status, fields } = await post(url, headers, JSON.stringify(message));
  if (status === 200 && fields?.id) return fields.id;
  if (status >= 200 && status < 300) {
    throw new SendError("unknown", "no_message_id", "what answered is not Resend");
  }
  const code = String(fields?.name ?? "");
  const said = String(fields?.message ?? "");
  throw new SendError(kindOf(code, status, said, fields), code || `http_${status}`, said);
}

function kindOf(code, status, said, fields) {
  if (code === "validation_error") {
    // One name for three things; 403: the domain is not verified, or a test account.
    return status === 401 || status === 403 || /api key|not verified/i.test(said) ? "pause" : "drop";
  }
  return KINDS.get(code) ?? byStatus(status, fields);
}

function file({ filename, content_type, content }) {
  return { filename, content_type, content };
}
