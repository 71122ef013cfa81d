// A strict JSON parser (RFC 8259). Unlike JSON.parse: repeated keys are an error at every level, depth and number of
// values are bounded, numbers keep their text and must fit a double, lone surrogates are refused. Objects become Maps.
import { invalid } from "./failure.mjs";

// Nesting depth of arrays and objects; the outermost counts as 1.
const MAX_DEPTH = 64;
// Arrays and objects included, keys not.
const MAX_VALUES = 65_536;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\n\r]*/y;
const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

export class JsonNumber {
  constructor(text) {
    this.text = text;
  }
}

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.values = 0;
  }

  fail(message) {
    throw invalid(`the bundle is not strict JSON: ${message} at character ${this.at}`);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) return null;
    this.at = pattern.lastIndex;
    return found[0];
  }

  space() {
    this.match(SPACE);
  }

  accept(token) {
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }

  expect(token) {
    if (!this.accept(token)) this.fail(`expected ${token}`);
  }

  document() {
    this.space();
    const value = this.value(1);
    this.space();
    if (this.at !== this.text.length) this.fail("trailing characters");
    return value;
  }

  // `depth`: of the value, if it is an array or object.
  value(depth) {
    this.values += 1;
    if (this.values > MAX_VALUES) this.fail("too many values");
    if (this.accept("{")) return this.object(this.bounded(depth));
    if (this.accept("[")) return this.array(this.bounded(depth));
    if (this.accept('"')) return this.string();
    if (this.accept("true")) return true;
    if (this.accept("false")) return false;
    if (this.accept("null")) return null;
    const number = this.match(NUMBER);
    if (number === null) this.fail("expected a value");
    if (!Number.isFinite(Number(number))) this.fail("a number that no double holds");
    return new JsonNumber(number);
  }

  bounded(depth) {
    if (depth > MAX_DEPTH) this.fail("nested too deeply");
    return depth;
  }

  object(depth) {
    const members = new Map();
    this.space();
    if (this.accept("}")) return members;
    do {
      this.space();
      this.expect('"');
      const key = this.string();
      if (members.has(key)) this.fail(`repeated key ${JSON.stringify(key)}`);
      this.space();
      this.expect(":");
      this.space();
      members.set(key, this.value(depth + 1));
      this.space();
    } while (this.accept(","));
    this.expect("}");
    return members;
  }

  array(depth) {
    const items = [];
    this.space();
    if (this.accept("]")) return items;
    do {
      this.space();
      items.push(this.value(depth + 1));
      this.space();
    } while (this.accept(","));
    this.expect("]");
    return items;
  }

  string() {
    let out = "";
    for (;;) {
      out += this.match(PLAIN);
      if (this.accept('"')) break;
      if (!this.accept("\\")) this.fail("control character or end inside a string");
      out += this.escape();
    }
    // The text was valid UTF-8, so a lone surrogate can only come from an escape.
    if (!out.isWellFormed()) this.fail("lone surrogate");
    return out;
  }

  escape() {
    const letter = this.text[this.at++];
    if (letter !== "u") return ESCAPES[letter] ?? this.fail("unknown escape");
    const digits = this.match(/[0-9a-fA-F]{4}/y);
    if (digits === null) this.fail("bad \\u escape");
    return String.fromCharCode(parseInt(digits, 16));
  }
}

export const parseJson = (text) => new Parser(text).document();
