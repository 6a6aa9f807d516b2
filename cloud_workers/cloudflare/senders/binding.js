/**
 * Cloudflare's own e-mail service, by the binding EMAIL (send_email).
 *
 * It is documented as for transactional mail only (docs/cloudflare.md). It knows no idempotency
 * key, sets Message-ID and Date itself and takes few other headers.
 */

import { apiHeaders } from "../mail.js";
import { SEND_TIMEOUT, SendError, meanings } from "./http.js";

const ALLOWED = new Set([
  ...["list-unsubscribe", "list-unsubscribe-post", "list-id", "list-help", "list-owner"],
  ...["precedence", "auto-submitted", "in-reply-to", "references", "importance"],
]);

const KINDS = meanings({
  soon: "E_RATE_LIMIT_EXCEEDED E_INTERNAL_SERVER_ERROR E_DELIVERY_FAILED",
  defer: "E_DAILY_LIMIT_EXCEEDED",
  pause: "E_SENDER_NOT_VERIFIED E_SENDER_DOMAIN_NOT_AVAILABLE",
  drop: `E_RECIPIENT_SUPPRESSED E_RECIPIENT_NOT_ALLOWED E_VALIDATION_ERROR E_FIELD_MISSING
    E_TOO_MANY_RECIPIENTS E_CONTENT_TOO_LARGE E_HEADER_NOT_ALLOWED E_HEADER_USE_API_FIELD
    E_HEADER_VALUE_INVALID E_HEADER_VALUE_TOO_LONG E_HEADER_NAME_INVALID E_HEADERS_TOO_LARGE
    E_HEADERS_TOO_MANY`,
});

export function makeBinding(env) {
  return {
    name: "binding",
    idempotent: false,
    maxBytes: 5 * 1024 * 1024,
    send: (mail) => send(env.EMAIL, mail),
  };
}

async function send(email, mail) {
  const allowed = (name) => ALLOWED.has(name) || name.startsWith("x-");
  const message = {
    to: mail.to,
    from: mail.from.name ? mail.from : mail.from.email,
    subject: mail.subject,
    text: mail.text,
    ...(mail.html ? { html: mail.html } : {}),
    ...(mail.reply_to ? { replyTo: mail.reply_to } : {}),
    headers: Object.fromEntries(apiHeaders(mail, allowed)),
    ...(mail.attachments.length ? { attachments: mail.attachments.map(file) } : {}),
  };
  let answer;
  let timer;
  try {
    const late = new Promise((_, reject) => {
      const error = new SendError("unknown", "timeout", "the sender's answer was lost");
      timer = setTimeout(() => reject(error), SEND_TIMEOUT);
    });
    answer = await Promise.race([email.send(message), late]);
  } catch (error) {
    if (error instanceof SendError) throw error;
    throw explained(error);
  } finally {
    clearTimeout(timer);
  }
  return answer?.messageId ?? "";
}

function explained(error) {
  const said = String(error?.message ?? error);
  // Across some boundaries an error keeps only its message.
  const code = String(error?.code ?? /\bE_[A-Z_]+\b/.exec(said)?.[0] ?? "");
  const kind = KINDS.get(code) ?? (code.startsWith("E_HEADER") ? "drop" : "unknown");
  return new SendError(kind, code || "no_code", said);
}

function file({ filename, content_type: type, content }) {
  return { filename, type, content, disposition: "attachment" };
}
