/** SES v2, by HTTPS: the raw message, signed with SigV4. It knows no idempotency key. */

import { build, raw } from "../mime.js";
import { line } from "../mail.js";
import { SendError, byStatus, meanings, post } from "./http.js";

const PATH = "/v2/email/outbound-emails";
const encoder = new TextEncoder();

const KINDS = meanings({
  soon: `Throttling ThrottlingException TooManyRequestsException RequestThrottled RequestTimeout
    RequestTimeoutException InternalFailure InternalServerError InternalServerErrorException
    ServiceUnavailable ServiceUnavailableException`,
  defer: "LimitExceededException daily_quota_exceeded",
  pause: `AccountSuspendedException SendingPausedException MailFromDomainNotVerifiedException
    NotFoundException ConfigurationSetDoesNotExist AccessDenied AccessDeniedException
    ExpiredToken ExpiredTokenException IncompleteSignature InvalidClientTokenId
    InvalidSignatureException MissingAuthenticationToken MissingAuthenticationTokenException
    OptInRequired RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch
    UnrecognizedClientException identity_not_verified sending_paused`,
  drop: "MessageRejected BadRequestException InvalidParameterValue",
});

// Where SES gives one code to different things, its text decides.
const TEXTS = [
  [/daily (message|sending) quota exceeded/i, "daily_quota_exceeded"],
  [/maximum sending rate exceeded/i, "ThrottlingException"],
  [/not verified|did not have authority/i, "identity_not_verified"],
  [/sending (is )?(paused|suspended)/i, "sending_paused"],
];

export function makeSes(env, url, required) {
  const account = {
    accessKey: required("SES_ACCESS_KEY"),
    secretKey: required("SES_SECRET_KEY"),
    region: required("SES_REGION"),
    configurationSet: env.SES_CONFIGURATION_SET || "",
  };
  const where = url || `https://email.${account.region}.amazonaws.com`;
  return {
    name: "ses",
    idempotent: false,
    maxBytes: 29_000_000, // SES takes 40 MB, as base64
    send: (mail, job) => send(where, account, mail, job),
  };
}

async function send(url, account, mail, job) {
  const tags = { batch_key: job.batch_key, mail_key: mail.key, company_id: String(job.company_id) };
  const body = JSON.stringify({
    FromEmailAddress: mail.from.email,
    Destination: { ToAddresses: [mail.to] },
    Content: { Raw: { Data: raw(build(mail)) } },
    EmailTags: Object.entries(tags).map(([Name, Value]) => ({ Name, Value })),
    ...(account.configurationSet ? { ConfigurationSetName: account.configurationSet } : {}),
  });
  const headers = await signed(new URL(url + PATH), account, body, new Date());
  const { status, headers: answered, fields } = await post(url + PATH, headers, body);
  if (status === 200 && fields?.MessageId) return fields.MessageId;
  if (status >= 200 && status < 300) {
    throw new SendError("unknown", "no_message_id", "what answered is not SES");
  }
  const said = String(fields?.message ?? fields?.Message ?? "");
  const given = answered.get("x-amzn-errortype") ?? fields?.__type ?? "";
  const named = String(given).split("#").at(-1).split(":")[0];
  const code = TEXTS.find(([pattern]) => pattern.test(said))?.[1] ?? (named || `http_${status}`);
  throw new SendError(KINDS.get(code) ?? byStatus(status, fields), line(code, 50), said);
}

/** The headers that AWS asks for (Signature Version 4). */
export async function signed(url, { accessKey, secretKey, region }, body, now) {
  const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, "");
  const day = stamp.slice(0, 8);
  const scope = `${day}/${region}/ses/aws4_request`;
  const names = "content-type;host;x-amz-date";
  const request = [
    ...["POST", url.pathname, ""],
    ...["content-type:application/json", `host:${url.host}`, `x-amz-date:${stamp}`, ""],
    ...[names, hex(await sha256(body))],
  ].join("\n");
  const text = ["AWS4-HMAC-SHA256", stamp, scope, hex(await sha256(request))].join("\n");
  let key = encoder.encode(`AWS4${secretKey}`);
  for (const part of [day, region, "ses", "aws4_request", text]) key = await hmac(key, part);
  const credential = `Credential=${accessKey}/${scope}`;
  return {
    "X-Amz-Date": stamp,
    Authorization: `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names}, Signature=${hex(key)}`,
  };
}

function sha256(text) {
  return crypto.subtle.digest("SHA-256", encoder.encode(text));
}

async function hmac(secret, text) {
  const how = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", secret, how, false, ["sign"]);
  return crypto.subtle.sign("HMAC", key, encoder.encode(text));
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
