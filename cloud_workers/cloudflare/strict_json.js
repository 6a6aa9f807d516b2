/**
 * JSON as the contract wants it: no name twice, nothing that JSON.parse would bend.
 *
 * An integer beyond 2^53 becomes a BigInt, so that it can be repeated as it came; a number with
 * fraction or exponent becomes NaN, because no field of the contract is one.
 */

const DEPTH = 100;
const BLANK = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const WORDS = { true: true, false: false, null: null };

/** A name is given twice; `field` says which. */
export class GivenTwice extends SyntaxError {
  constructor(field) {
    super("a name is given twice");
    this.field = field;
  }
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  /** Skips blanks; whether `character` comes next, which is taken then. */
  sees(character) {
    this.take(BLANK);
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  expect(character) {
    if (!this.sees(character)) throw new SyntaxError(`no ${character}`);
  }

  string() {
    // No regular expression: over millions of escapes its stack would not suffice.
    const { text, at } = this;
    if (text[at] !== '"') throw new SyntaxError("no string");
    let end = at;
    do {
      end = text.indexOf('"', end + 1);
      if (end < 0) throw new SyntaxError("no end of a string");
    } while (this.#escaped(end));
    this.at = end + 1;
    return JSON.parse(text.slice(at, end + 1));
  }

  #escaped(at) {
    let before = at;
    while (this.text[before - 1] === "\\") before -= 1;
    return (at - before) % 2 === 1;
  }

  value(depth) {
    if (depth > DEPTH) throw new SyntaxError("too deep");
    if (this.sees("{")) return this.object(depth);
    if (this.sees("[")) return this.array(depth);
    if (this.text[this.at] === '"') return this.string();
    const number = this.take(NUMBER);
    if (number) return integer(number);
    const word = this.take(WORD);
    if (!word) throw new SyntaxError("no value");
    return WORDS[word[0]];
  }

  object(depth) {
    const found = Object.create(null);
    if (this.sees("}")) return found;
    do {
      this.take(BLANK);
      const name = this.string();
      if (name in found) throw new GivenTwice(name);
      this.expect(":");
      found[name] = this.value(depth + 1);
    } while (this.sees(","));
    this.expect("}");
    return found;
  }

  array(depth) {
    const found = [];
    if (this.sees("]")) return found;
    do found.push(this.value(depth + 1));
    while (this.sees(","));
    this.expect("]");
    return found;
  }
}

function integer([text, fraction, exponent]) {
  if (fraction || exponent) return NaN;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

/** The value in `text`; SyntaxError if it is not strictly JSON. */
export function parse(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.take(BLANK);
  if (reader.at < text.length) throw new SyntaxError("more than one value");
  return value;
}

const BIG = "\u0000big ";

/** `value` as JSON in ASCII, without blanks; a BigInt as the number that it is. */
export function write(value) {
  const keep = (_, each) => (typeof each === "bigint" ? `${BIG}${each}` : each);
  return JSON.stringify(value, keep)
    .replace(/"\\u0000big (\d+)"/g, "$1")
    .replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
