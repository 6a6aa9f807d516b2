/** A mail of the contract as something that may be sent, whichever sender it goes by. Pure. */

const ADDRESS =
  /^(?=.{3,254}$)[!#-'*+\-./0-9=?A-Z^-~]+@(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f.:IPv]+\])$/;
const OURS = new Set(["date", "from", "to", "subject", "mime-version", "x-manireports-mail"]);
const encoder = new TextEncoder();

/** This mail cannot be sent as it is; `code` says why. */
export class Unsendable extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** `mail`, if every part of it can stand in a message; Unsendable otherwise. */
export function checked(mail) {
  address(mail.to, "invalid_address");
  address(mail.from.email, "invalid_sender");
  const shown = ["to", "cc"];
  const headers = mail.headers.map(([name, value]) => {
    const lower = name.toLowerCase();
    const ours = OURS.has(lower) && !shown.includes(lower);
    if (!/^[!-9;-~]{1,70}$/.test(name) || ours || lower.startsWith("content-")) {
      throw new Unsendable("invalid_header", `the header ${line(name, 70)} cannot be given`);
    }
    return [name, headerText(value)];
  });
  for (const each of [mail.html, mail.text, ...mail.attachments.map((file) => file.content)]) {
    if (!each.isWellFormed()) throw new Unsendable("invalid_content", "a text is not Unicode");
  }
  return {
    ...mail,
    to_name: headerText(mail.to_name),
    from: { email: mail.from.email, name: headerText(mail.from.name) },
    reply_to: headerText(mail.reply_to),
    subject: headerText(mail.subject),
    headers,
    attachments: mail.attachments.map(file),
  };
}

/**
 * Bytes of a mail as its sender counts them, about: texts, and attachments as base64. The sidecar
 * counts the same (packing.mail_bytes) and hands nothing over that is too large.
 */
export function sizeOf(mail) {
  const texts = [mail.subject, mail.html, mail.text, ...mail.headers.flat()];
  const bytes = texts.reduce((sum, each) => sum + encoder.encode(each).length, 0);
  return mail.attachments.reduce((sum, each) => sum + each.content.length, bytes);
}

/** Too_large, if the mail has more bytes than its sender takes. */
export function checkSize(mail, most) {
  const size = sizeOf(mail);
  if (size > most) throw new Unsendable("too_large", `${size} bytes; the sender takes ${most}`);
}

/** One printable line of ASCII. */
export function line(text, most) {
  return String(text).replace(/[^ -~]+/g, "?").slice(0, most);
}

/** `"name" <address>` in ASCII or Unicode, as JSON APIs take it. */
export function mailbox({ email, name }) {
  return name ? `"${name.replace(/[\\"]/g, "\\$&")}" <${email}>` : email;
}

/** An RFC 2047 text: whole characters, words of at most 75, folded. */
export function encodedWords(text) {
  const words = [];
  let word = "";
  let size = 0;
  for (const character of text) {
    const more = encoder.encode(character).length;
    if (size + more > 39) {
      words.push(word);
      word = "";
      size = 0;
    }
    word += character;
    size += more;
  }
  words.push(word);
  return words.map((each) => `=?utf-8?b?${base64(encoder.encode(each))}?=`).join("\r\n ");
}

/** base64 of bytes. */
export function base64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}

/** Whether a header value may stand as it is: ASCII, and nothing that looks encoded. */
export function isPlain(value) {
  return /^[ -~]*$/.test(value) && !value.includes("=?");
}

/** A header value in ASCII on one line, for APIs that take no other. */
export function oneLine(value) {
  return isPlain(value) ? value : encodedWords(value).replaceAll("\r\n ", " ");
}

/** The headers that an API may be given: none that it makes itself, names once, values ASCII. */
export function apiHeaders(mail, allowed = () => true) {
  const made = new Set(["message-id", "return-path", "to", "cc", "bcc", "sender", "reply-to"]);
  const found = new Map();
  for (const [name, value] of mail.headers) {
    const lower = name.toLowerCase();
    if (made.has(lower) || !allowed(lower)) continue;
    const before = found.get(lower);
    const text = oneLine(value);
    found.set(lower, [before?.[0] ?? name, before ? `${before[1]}, ${text}` : text]);
  }
  return [...found.values(), ["X-ManiReports-Mail", mail.key]];
}

function address(value, code) {
  if (!ADDRESS.test(value)) {
    throw new Unsendable(code, "not an address that can be sent to or from");
  }
}

function headerText(value) {
  if (/[\r\n\0]/.test(value)) throw new Unsendable("invalid_header", "CR, LF or NUL in a header");
  if (!value.isWellFormed()) throw new Unsendable("invalid_header", "a header is not Unicode");
  return value.replace(/^[ \t]+|[ \t]+$/g, "");
}

function file({ filename, content_type: given, content }) {
  if (content.length % 4 || /[^A-Za-z0-9+/]/.test(content.replace(/={1,2}$/, ""))) {
    throw new Unsendable("invalid_content", "an attachment cannot be decoded");
  }
  const kind = given.split(";")[0].trim();
  const known = /^(?!multipart\/|message\/)[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/i.test(kind);
  return {
    filename: headerText(filename),
    content_type: known ? kind : "application/octet-stream",
    content,
  };
}
