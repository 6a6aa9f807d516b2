/** Asking a sender's HTTPS API once. */

export const SEND_TIMEOUT = 10_000;

/** The provider did not take a mail; `kind` is one of senders/index.js. */
export class SendError extends Error {
  constructor(kind, code, text) {
    super(text);
    this.kind = kind;
    this.code = code;
  }
}

// Cloudflare's own statuses for an origin to which no connection stood: nothing was sent.
const NO_CONNECTION = new Set([521, 523, 525, 526, 530]);
// Behind these somebody may have taken it: a gateway that lost the answer, an origin too slow.
const LOST = new Set([502, 504, 520, 522, 524, 527]);

/** POST `body` (a string); {status, headers, fields: its JSON object, or null}. Throws SendError. */
export async function post(url, headers, body) {
  let status;
  let answered;
  let text;
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body,
      redirect: "manual",
      signal: AbortSignal.timeout(SEND_TIMEOUT),
    });
    status = answer.status;
    answered = answer.headers;
    text = await answer.text();
  } catch (error) {
    const refused = /refused|could not resolve|dns|unreachable/i.test(String(error?.message));
    if (refused) throw new SendError("soon", "unreachable", "the sender cannot be reached");
    const late = error?.name === "TimeoutError" ? "timeout" : "connection_lost";
    throw new SendError("unknown", late, "the sender's answer was lost");
  }
  let fields = null;
  try {
    fields = JSON.parse(text);
  } catch {
    // A page of some gateway.
  }
  if (fields === null || typeof fields !== "object") fields = null;
  return { status, headers: answered, fields };
}

/** What a status says where the answer has no code that is known. */
export function byStatus(status, fields) {
  if (status === 429) return "soon";
  if (NO_CONNECTION.has(status)) return "soon";
  if (LOST.has(status)) return "unknown";
  if (status >= 500) return fields || status === 503 ? "soon" : "unknown";
  if (status === 401 || status === 403) return "pause";
  return status === 413 ? "drop" : "later";
}

/** A table of `kind: codes` turned round: code -> kind. */
export function meanings(table) {
  return new Map(
    Object.entries(table).flatMap(([kind, codes]) =>
      codes.trim().split(/\s+/).map((code) => [code, kind]),
    ),
  );
}
