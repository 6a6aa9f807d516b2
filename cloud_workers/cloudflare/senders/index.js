/**
 * Who takes the mails. A sender is {name, maxBytes, idempotent, send(mail, job)}: one ask, for a
 * mail that `checked` has passed, returning the provider's message id or throwing SendError.
 *
 * What an error means for the mail, and for the rest of its batch:
 *
 *   soon     refused for now; the message is tried again by the queue
 *   defer    a quota is used up; nothing more is sent for an hour
 *   pause    the account or its set-up is in the way; nothing more is sent until someone looks
 *   drop     this mail will never be taken
 *   later    refused, and we do not know the reason; this mail alone may be asked for again
 *   unknown  it may have been sent; never tried again
 */

import { makeBinding } from "./binding.js";
import { makePostmark } from "./postmark.js";
import { makeResend } from "./resend.js";
import { makeSes } from "./ses.js";

const MAKERS = { binding: makeBinding, resend: makeResend, postmark: makePostmark, ses: makeSes };

/** The sender that env.SENDER names. */
export function makeSender(env, required, safeUrl, ConfigurationError) {
  const name = required(env, "SENDER");
  if (!Object.hasOwn(MAKERS, name)) {
    throw new ConfigurationError(`SENDER must be one of ${Object.keys(MAKERS).join(", ")}`);
  }
  if (name === "binding" && !env.EMAIL) {
    throw new ConfigurationError("the binding EMAIL is missing, which SENDER binding needs");
  }
  const url = env.SENDER_URL ? safeUrl(env, "SENDER_URL").replace(/\/$/, "") : "";
  return MAKERS[name](env, url, (variable) => required(env, variable));
}
