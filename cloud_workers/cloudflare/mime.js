/**
 * The message as SES gets it: ASCII, CRLF, no line over 998 bytes.
 *
 * As the worker on AWS and the sidecar's SMTP connector build it. Further To and Cc headers, of
 * which IOMAD writes several, are joined: RFC 5322 allows one each. They are for the eye, mail
 * goes to `mail.to` alone.
 */

import { base64, encodedWords, isPlain } from "./mail.js";

const encoder = new TextEncoder();
const FOLD = /(?=.{67})(.{1,64}\S) (?=\S)/g;

/** The message of a mail that `checked` has passed, as a string of ASCII. */
export function build(mail, now = new Date()) {
  const shown = { to: [mailbox(mail.to, mail.to_name)], cc: [] };
  for (const [name, value] of mail.headers) shown[name.toLowerCase()]?.push(fold(value));
  const head = [
    `Date: ${now.toUTCString().replace("GMT", "+0000")}`,
    `From: ${mailbox(mail.from.email, mail.from.name)}`,
    `To: ${shown.to.join(",\r\n ")}`,
    ...(shown.cc.length ? [`Cc: ${shown.cc.join(",\r\n ")}`] : []),
    `Subject: ${fold(mail.subject)}`,
    ...(mail.reply_to ? [`Reply-To: ${fold(mail.reply_to)}`] : []),
    ...mail.headers
      .filter(([name]) => !(name.toLowerCase() in shown))
      .map(([name, value]) => `${name}: ${fold(value)}`),
    `X-ManiReports-Mail: ${mail.key}`,
    "MIME-Version: 1.0",
  ];
  const plain = textPart("plain", mail.text);
  let body = mail.html
    ? multipart("alternative", [plain, textPart("html", mail.html)])
    : `${plain}\r\n`;
  if (mail.attachments.length) body = multipart("mixed", [body, ...mail.attachments.map(file)]);
  return `${head.join("\r\n")}\r\n${body}`;
}

function mailbox(address, name) {
  if (!name) return address;
  if (name.length > 60 || !isPlain(name)) return `${encodedWords(name)} <${address}>`;
  return `"${name.replace(/[\\"]/g, "\\$&")}" <${address}>`;
}

/** An unstructured header value, folded at blanks; encoded words for what is not plain ASCII. */
function fold(value) {
  if (isPlain(value)) {
    const folded = value.replace(FOLD, "$1\r\n ");
    if (folded.split("\r\n").every((each) => each.length <= 900)) return folded;
  }
  return encodedWords(value);
}

function multipart(kind, parts) {
  const boundary = `=_${crypto.randomUUID().replaceAll("-", "")}`; // "=_" is in no encoded body
  const body = parts.map((part) => `\r\n--${boundary}\r\n${part}`).join("");
  return `Content-Type: multipart/${kind};\r\n boundary="${boundary}"\r\n${body}\r\n--${boundary}--\r\n`;
}

function textPart(kind, text) {
  return (
    `Content-Type: text/${kind}; charset=utf-8\r\n` +
    `Content-Transfer-Encoding: quoted-printable\r\n\r\n${quotedPrintable(text)}`
  );
}

/** RFC 2045 §6.7: lines of at most 76, no blank at the end of one. */
export function quotedPrintable(text) {
  return text.split(/\r\n|\r|\n/).map(quotedLine).join("\r\n");
}

function quotedLine(text) {
  const bytes = encoder.encode(text);
  let found = "";
  let length = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    const last = at === bytes.length - 1;
    const blank = byte === 32 || byte === 9;
    const plain = (byte > 32 && byte < 127 && byte !== 61) || (blank && !last);
    // A dot or "From " at the beginning of a line is what some relay would change.
    const risky = length === 0 && (byte === 46 || (at === 0 && text.startsWith("From ")));
    const piece = plain && !risky ? String.fromCharCode(byte) : `=${hex(byte)}`;
    if (length + piece.length > (last ? 76 : 75)) {
      found += "=\r\n";
      length = 0;
    }
    found += piece;
    length += piece.length;
  }
  return found;
}

function hex(byte) {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}

function file({ filename, content_type: kind, content }) {
  const lines = content.match(/.{1,76}/g) ?? [];
  return (
    `Content-Type: ${kind}\r\nContent-Transfer-Encoding: base64\r\n` +
    `Content-Disposition: attachment;${parameter(filename)}\r\n\r\n${lines.join("\r\n")}\r\n`
  );
}

/** The parameter filename; by RFC 2231 where it is not short plain ASCII. */
function parameter(name) {
  if (name.length <= 60 && isPlain(name) && !/[\\"]/.test(name)) return ` filename="${name}"`;
  const strict = (character) => `%${hex(character.charCodeAt(0))}`;
  const escaped = `utf-8''${encodeURIComponent(name).replace(/[!'()*]/g, strict)}`;
  const pieces = escaped.match(/(?:%..|[^%]){1,20}/g);
  if (pieces.length === 1) return `\r\n filename*=${pieces[0]}`;
  return pieces.map((piece, n) => `\r\n filename*${n}*=${piece}`).join(";");
}

/** base64 of a message that `build` made. */
export function raw(message) {
  return base64(encoder.encode(message));
}
