// Check 1: the JSON text around a certificate.
import { MAX_INTEGER, fromUtf8 } from "./bytes.mjs";
import { cannotCheck, invalid } from "./failure.mjs";
import { JsonNumber, parseJson } from "./json.mjs";
import { fromBase58, fromBase64url } from "./text.mjs";

export const MEDIA_TYPE = "application/vnd.vouch.bundle+json";
export const OP_MEDIA_TYPE = "application/vnd.vouch.op-proof+json";
export const HEAD_MEDIA_TYPE = "application/vnd.vouch.log-head+json";
export const BLOCK_MEDIA_TYPE = "application/vnd.vouch.log-block+json";
export const FORK_MEDIA_TYPE = "application/vnd.vouch.fork+json";
export const EVIDENCE_MEDIA_TYPE = "application/vnd.vouch.evidence+json";
const MAX_SIZE = 8 * 1024 * 1024;
const MAX_EPOCHS = 4096;

function object(value, keys, what) {
  if (!(value instanceof Map)) throw invalid(`${what} is not an object`);
  for (const key of value.keys()) if (!keys.includes(key)) throw invalid(`unknown key ${JSON.stringify(key)} in ${what}`);
  for (const key of keys) if (!value.has(key)) throw invalid(`${what} has no key "${key}"`);
  return Object.fromEntries(value);
}

function array(value, what) {
  if (!Array.isArray(value)) throw invalid(`${what} is not an array`);
  return value;
}

function string(value, what) {
  if (typeof value !== "string") throw invalid(`${what} is not a string`);
  return value;
}

function base64url(value, what) {
  const bytes = fromBase64url(string(value, what));
  if (bytes === null) throw invalid(`${what} is not base64url`);
  return bytes;
}

function identity(value, what) {
  const bytes = base64url(value, what);
  if (bytes.length !== 32) throw invalid(`${what} is not of 32 bytes`);
  return bytes;
}

function pop(value, index) {
  const bytes = fromBase58(string(value, `PoP ${index}`), 96);
  if (bytes === null) throw invalid(`PoP ${index} is not base58 of 96 bytes`);
  return bytes;
}

// Type and version are checked first: the other rules hold for version 1 only.
function typeAndVersion(top, wanted) {
  if (!(top instanceof Map)) throw invalid("the bundle is not an object");
  const type = string(top.get("type"), "type");
  const version = top.get("version");
  if (!(version instanceof JsonNumber) || !/^[0-9]+$/.test(version.text)) throw invalid("version is not an unsigned integer");
  if (BigInt(version.text) > BigInt(MAX_INTEGER)) throw invalid("version is too large");
  if (version.text !== "1") throw cannotCheck(`bundle version ${version.text} is unknown`, { expected: "1", got: version.text });
  if (type !== wanted) throw invalid("wrong type", { expected: wanted, got: type });
}

// `values`: the keys that this media type has besides those of every bundle; `optional`: those that it may have. Each is base64url.
function decode(bytes, mediaType, values, optional = []) {
  if (bytes.length > MAX_SIZE) throw invalid("the bundle is too large", { expected: `at most ${MAX_SIZE} bytes`, got: `${bytes.length} bytes` });
  let text;
  try {
    text = fromUtf8(bytes);
  } catch {
    throw invalid("the bundle is not UTF-8");
  }
  const json = parseJson(text);
  typeAndVersion(json, mediaType);
  const isThere = (key) => json.has(key);
  const own = [...values, ...optional.filter(isThere)];
  const startKey = isThere("checkpoint") ? "checkpoint" : "genesis";
  const top = object(json, ["type", "version", startKey, "epochs", ...own], "the bundle");
  const isGenesis = startKey === "genesis";
  const start = object(top[startKey], ["committee", "pops", ...(isGenesis ? [] : ["handoff"])], startKey);
  const committee = base64url(start.committee, "the first committee");
  const pops = array(start.pops, "pops").map(pop);
  const handedBy = isGenesis ? undefined : identity(start.handoff, "handoff");
  if (array(top.epochs, "epochs").length > MAX_EPOCHS) throw invalid("too many epochs", { expected: `at most ${MAX_EPOCHS}`, got: `${top.epochs.length}` });
  const epochs = top.epochs.map((value, i) => {
    // Epoch 1 has no seal to name.
    const seals = isGenesis && i === 0 ? [] : ["seal"];
    const epoch = object(value, ["handoff", "committee", ...seals], `epochs[${i}]`);
    return { handoff: base64url(epoch.handoff, "handoff"), committee: base64url(epoch.committee, "committee"), seal: seals.length > 0 ? identity(epoch.seal, "seal") : undefined };
  });
  const decoded = Object.fromEntries(own.map((key) => [key, base64url(top[key], key)]));
  return { ...decoded, committee, pops, handedBy, epochs };
}

export const decodeBundle = (bytes) => decode(bytes, MEDIA_TYPE, ["certificate"], ["sealed"]);
export const decodeOpBundle = (bytes) => decode(bytes, OP_MEDIA_TYPE, ["certificate", "proof"]);
export const decodeHeadBundle = (bytes) => decode(bytes, HEAD_MEDIA_TYPE, ["certificate"]);
export const decodeBlockBundle = (bytes) => decode(bytes, BLOCK_MEDIA_TYPE, ["certificate", "block", "path"]);
export const decodeForkBundle = (bytes) => decode(bytes, FORK_MEDIA_TYPE, ["first", "second"]);
export const decodeEvidenceBundle = (bytes) => decode(bytes, EVIDENCE_MEDIA_TYPE, ["evidence"]);
