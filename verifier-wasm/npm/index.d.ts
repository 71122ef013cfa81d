/**
 * Verifies Vouch's certificates of availability offline, and puts and gets files through an untrusted server.
 *
 * A certificate states that at `issued_at` a quorum of a cluster's members held exactly these bytes durably, and that they keep them
 * until `expires_at`. Anyone who knows the cluster's identity can check it, without trusting the server that made or shows it.
 *
 * Only `put` and `get` open a connection. Browsers also fetch each WebAssembly module at its first use.
 */

/** Bytes in memory. Node.js' `Buffer` is a `Uint8Array`. */
export type Bytes = Uint8Array | ArrayBuffer;

/** The type of a global if it is declared (by TypeScript's `dom` library or by Node.js' types); otherwise the part of it that is needed. */
type Global<Name extends string, Needed> = typeof globalThis extends Record<Name, { prototype: infer Declared }> ? Declared : Needed;

/** A `Blob` or `File` of a browser or Node.js. */
export type BlobValue = Global<"Blob", { readonly size: number; slice(start?: number, end?: number): unknown; arrayBuffer(): Promise<ArrayBuffer> }>;
type StreamValue = { getReader(): { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<unknown>; releaseLock(): void } };
type SignalValue = Global<"AbortSignal", { readonly aborted: boolean; readonly reason: any; throwIfAborted(): void }>;
type UrlValue = Global<"URL", { readonly href: string }>;
type RequestValue = Global<"Request", { readonly url: string }>;
type ResponseValue = Global<"Response", { readonly ok: boolean; arrayBuffer(): Promise<ArrayBuffer> }>;

/** A `WebAssembly.Module`. */
export type CompiledModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Declared } } } ? Declared : object;

/** A file of any size. Sources other than bytes in memory are read in pieces, in constant memory. */
export type FileSource = Bytes | BlobValue | StreamValue | AsyncIterable<Uint8Array>;

/** The checks, in order. The first one that does not pass decides. */
export type CheckName =
  | "bundle"
  | "certificate"
  | "committee"
  | "identity"
  | "epoch"
  | "signers"
  | "possession"
  | "chain"
  | "signature"
  | "closing"
  | "seal"
  | "digest"
  | "length"
  | "time"
  | "expiry";

/**
 * The three questions that a verdict answers: is the certificate genuine, is this the file, is it in force. Each check belongs to one.
 */
export type Question = "genuine" | "matches" | "in_force";

/**
 * The answer to a question. `not-answered`: something is missing, or the question was not asked. If the certificate is not known to be
 * genuine, the other questions are not answered.
 */
export type Answer = "yes" | "no" | "not-answered";

export interface Answered {
  answer: Answer;
  /** The reason. It may quote the bundle: show it as text, never as HTML. Times are seconds since 1970. */
  reason: string;
}

/**
 * The result of a check. `not-reached`: an earlier check decided its question, or the certificate is not known to be genuine.
 * `waived`: expiry if you waived it; length if you gave a digest without a length; closing while its epoch is open; seal if the certificate is
 * not sealed and you did not require it.
 */
export type Outcome = "passed" | "failed" | "cannot-check" | "not-reached" | "waived";

export interface Check {
  name: CheckName;
  /** The question that the check belongs to. */
  question: Question;
  outcome: Outcome;
  /** What it means that the check passes, or why there was nothing to check, for people. */
  meaning: string;
}

interface AnyReport {
  /** One sentence. It may quote the bundle: show it as text, never as HTML. */
  message: string;
  /** The three questions in words. They depend on what the bundle is of. */
  questions: Record<Question, string>;
  /**
   * Is the certificate genuine? It is if a quorum of the trusted cluster signed it. This question needs no file; without a file, it is
   * the only one that can be answered.
   */
  genuine: Answered;
  /** Is this the file? */
  matches: Answered;
  /** Is it in force: not issued in the future, and not expired? */
  in_force: Answered;
  /** Where the certificate stands among the epochs of its cluster; null if it is not genuine. */
  standing: Standing | null;
  /** Every check, in order. */
  checks: Check[];
}

/**
 * Whether a certificate is sealed, so that an attacker with old keys cannot have made it. `open`: the bundle shows no end of its epoch;
 * `unproved`: the bundle has no proof; `unpinned`: it has one, but you pin no `checkpoint` two epochs later or more; `sealed`.
 */
export type SealState = "open" | "unproved" | "unpinned" | "sealed";

/** Where a genuine certificate stands among the epochs of its cluster. */
export interface Standing {
  /** The epoch of the committee that signed. */
  epoch: number;
  /** The epoch of the committee that you trust: 0, or that of the `checkpoint`. */
  trusted_epoch: number;
  /** The number of handoffs between the two. */
  handoffs: number;
  /** The last epoch in the bundle. */
  last_epoch: number;
  /** The latest `issued_at` of its epoch; null if the bundle shows no end of it. */
  closing: number | null;
  /** Null for a log head, which needs no seal. */
  seal: SealState | null;
}

/** Every check passed. */
export interface ValidReport extends AnyReport {
  verdict: "valid";
  check: null;
  expected: null;
  got: null;
  times: null;
  /** The content of the certificate. */
  certificate: Inspection;
}

/** A check failed. */
export interface InvalidReport extends AnyReport {
  verdict: "invalid";
  /** The check that failed. */
  check: CheckName;
  /** The expected value. For a check of the file, the certificate's value. */
  expected: string;
  /** The value found. */
  got: string;
  /** The same two values as numbers, if the check is `time` or `expiry`; null for every other check. */
  times: ComparedTimes | null;
}

/** The two times that a check compared, in seconds since 1970. */
export interface ComparedTimes {
  /** Check `time`: the latest time of issue that passes. Check `expiry`: the time that the expiry must be later than. */
  expected: number;
  /** The certificate's time of issue, or its expiry. */
  got: number;
}

/** Something is missing for a verdict: an identity, a file, or a version of the format that this verifier knows. */
export interface CannotCheckReport extends AnyReport {
  verdict: "cannot-check";
  /** The check that could not be made. */
  check: CheckName;
  expected: null;
  got: null;
  times: null;
}

/** A verdict with its checks. `verdict` distinguishes the three types. */
export type Report = ValidReport | InvalidReport | CannotCheckReport;

/** The checks of an op's bundle, in order. */
export type OpCheckName = Exclude<CheckName, "seal" | "digest" | "length" | "expiry"> | "proof" | "block" | "result" | "op";

/** An op that was proved, with its place in the log. */
export interface ProvedOp {
  /** The op's identity, base58. */
  id: string;
  /** The same in hex. */
  id_hex: string;
  /** The op's kind, which says what the body means. */
  kind: number;
  /** The op's nonce, hex. */
  nonce: string;
  /** Seconds since 1970, after which no block could contain the op. */
  expires_at: number;
  /** The op's body, hex. Its author chose it. */
  body: string;
  /** The body as text, if the op is a note and its body is UTF-8. Its author chose it: show it as text, never as HTML. */
  text: string | null;
  /** The node key of the member that submitted the op, base58. */
  submitter: string;
  /** What the op did, hex. */
  effect: string;
  /** The effect as text, if the op is a note. */
  effect_text: string | null;
  /** The height of the op's block. */
  height: number;
  /** The block's digest, base58. */
  block: string;
  /** The block's time, seconds since 1970. */
  time: number;
  /** The op's index in the block, from 0. */
  index: number;
  /** The number of ops in the block. */
  count: number;
  /** The height of the log head that the certificate is for. */
  head_height: number;
  /** The time of that log head, seconds since 1970. */
  head_time: number;
  /** The cluster identity, base58. */
  cluster: string;
  /** The number of members that signed the log head. */
  signers: number;
  /** The number of members. */
  members: number;
}

/** What reports about the log have in common. */
interface LogReport<Name extends string> extends Omit<AnyReport, "checks"> {
  verdict: "valid" | "invalid" | "cannot-check";
  /** The check that decided; null if valid. */
  check: Name | null;
  /** If invalid: the expected value. */
  expected: string | null;
  /** If invalid: the value found. */
  got: string | null;
  /** If the check `time` failed: the same two values as numbers. */
  times: ComparedTimes | null;
  /** Every check, in order. */
  checks: (Omit<Check, "name"> & { name: Name })[];
}

/**
 * A verdict on an op. `genuine`: is the certificate of the log head genuine? `matches`: does the log have the op, with this effect?
 * `in_force`: is the log head not from the future?
 */
export interface OpReport extends LogReport<OpCheckName> {
  /** What was proved; null unless valid. */
  op: ProvedOp | null;
}

/** The checks of a log head's bundle, in order. */
export type HeadCheckName = Exclude<CheckName, "seal" | "digest" | "length" | "expiry"> | "height";

/** A log head that a quorum certified. */
export interface ProvedHead {
  /** The height of the newest block that the head covers. */
  height: number;
  /** The digest of that block, base58. */
  block: string;
  /** The root over the digests of the blocks up to it, hex. */
  log_root: string;
  /** The block's time, seconds since 1970. */
  time: number;
  /** The seconds from the block's time to the time of the verdict; 0 if the block's is later. */
  age: number;
  /** The cluster identity, base58. */
  cluster: string;
  /** The number of members that signed the head. */
  signers: number;
  /** The number of members. */
  members: number;
}

/**
 * A verdict on a log head. `genuine`: is its certificate genuine? `matches`: does the log reach the height that you asked for?
 * `in_force`: is the head not from the future?
 */
export interface HeadReport extends LogReport<HeadCheckName> {
  /** The head; null unless valid. */
  head: ProvedHead | null;
}

export interface VerifyOpOptions {
  /** The content of an op's bundle, as bytes or text. Do not pass the result of `JSON.parse`. */
  bundle: Bytes | string;
  /** The identity of the cluster that you trust, as in `verify`. Without it, the verdict is CANNOT CHECK. */
  cluster?: string | null;
  /** A committee that you trust as well, as in `verify`. */
  checkpoint?: string | null;
  /** The identity of the op that you ask for: base58, or 64 hexadecimal digits. Without it, the bundle may be of any op. */
  op?: string | null;
  /** The time to judge at: a `Date` or whole seconds since 1970. Default: the clock. */
  now?: Date | number | null;
}

/** Checks whether the log of the cluster that you trust has an op, and with which effect. Offline. It throws only on invalid arguments. */
export function verifyOp(options: VerifyOpOptions): Promise<OpReport>;

export interface VerifyHeadOptions {
  /** The content of a log head's bundle, as bytes or text. Do not pass the result of `JSON.parse`. */
  bundle: Bytes | string;
  /** The identity of the cluster that you trust, as in `verify`. Without it, the verdict is CANNOT CHECK. */
  cluster?: string | null;
  /** A committee that you trust as well, as in `verify`. */
  checkpoint?: string | null;
  /** The greatest height that you know: a lower head is an old one. Without it, a head of any height is valid. */
  height?: number | null;
  /** The time to judge at: a `Date` or whole seconds since 1970. Default: the clock. */
  now?: Date | number | null;
}

/** Checks a head of the log of the cluster that you trust. Offline. It throws only on invalid arguments. */
export function verifyHead(options: VerifyHeadOptions): Promise<HeadReport>;

/** The checks of a block's bundle, in order. */
export type BlockCheckName = Exclude<CheckName, "seal" | "digest" | "length" | "expiry"> | "ops" | "block" | "height";

/** An op of a block. Its effect is not in the block. */
export interface BlockOp {
  /** The op's identity, base58. */
  id: string;
  /** The op's kind, which says what the body means. */
  kind: number;
  /** The op's body, hex. Its author chose it. */
  body: string;
  /** The body as text, if the op is a note and its body is UTF-8. Its author chose it: show it as text, never as HTML. */
  text: string | null;
  /** The node key of the member that submitted the op, base58. */
  submitter: string;
}

/** A block that the log has. */
export interface ProvedBlock {
  /** The block's height. */
  height: number;
  /** The block's digest, base58. */
  digest: string;
  /** The digest of the block before, base58. */
  parent: string;
  /** The node key of the member that made the block, base58. */
  author: string;
  /** The block's time, seconds since 1970. */
  time: number;
  /** The seconds from the block's time to the time of the verdict; 0 if the block's is later. */
  age: number;
  /** The ops, in their order. */
  ops: BlockOp[];
  /** The height of the log head that the certificate is for. */
  head_height: number;
  /** The time of that log head, seconds since 1970. */
  head_time: number;
  /** The cluster identity, base58. */
  cluster: string;
  /** The number of members that signed the log head. */
  signers: number;
  /** The number of members. */
  members: number;
}

/**
 * A verdict on a block. `genuine`: is the certificate of the log head genuine? `matches`: does the log have the block, at the height that
 * you asked for? `in_force`: is the log head not from the future?
 */
export interface BlockReport extends LogReport<BlockCheckName> {
  /** The block; null unless valid. */
  block: ProvedBlock | null;
}

export interface VerifyBlockOptions {
  /** The content of a block's bundle, as bytes or text. Do not pass the result of `JSON.parse`. */
  bundle: Bytes | string;
  /** The identity of the cluster that you trust, as in `verify`. Without it, the verdict is CANNOT CHECK. */
  cluster?: string | null;
  /** A committee that you trust as well, as in `verify`. */
  checkpoint?: string | null;
  /** The height of the block that you ask for. Without it, the bundle may be of any block. */
  height?: number | null;
  /** The time to judge at: a `Date` or whole seconds since 1970. Default: the clock. */
  now?: Date | number | null;
}

/** Checks whether the log of the cluster that you trust has a block. Offline. It throws only on invalid arguments. */
export function verifyBlock(options: VerifyBlockOptions): Promise<BlockReport>;

/** A member of the committee. */
export interface Member {
  /** The member's index in the committee, from 0. */
  member: number;
  /** The member's name. The member chose it: show it as text, never as HTML. */
  name: string;
  /** The member's node key (ed25519), base58. It authenticates links. */
  node_key: string;
  /** The member's vote key (BLS12-381), base58. It signs statements. */
  vote_key: string;
  /** Whether the member signed the certificate. */
  signed: boolean;
}

/** The content of a bundle. */
export interface Inspection {
  /** The cluster identity, base58. In the result of `inspect()`, only the bundle's claim. */
  cluster: string;
  /** The file's BLAKE3 digest in hex, as `b3sum` prints it. */
  digest: string;
  /** The same in base58. */
  digest_base58: string;
  /** The file's length in bytes. */
  length: number;
  /** The epoch of the committee. */
  epoch: number;
  /** The committee's digest, base58. */
  committee: string;
  /** The kind of statement. */
  kind: "stored";
  /** Seconds since 1970. */
  issued_at: number;
  /** Seconds since 1970. */
  expires_at: number | "never";
  /** Indices of the members that signed. */
  signers: number[];
  /** Number of signers needed. */
  quorum: number;
  /** Number of faulty members that the committee tolerates. */
  tolerated_faults: number;
  members: Member[];
  /** The number of receipts in the batch. */
  batch_count: number;
  /** This receipt's index in the batch, from 0. */
  batch_index: number;
  /** The inclusion proof: hashes in hex, nearest sibling first. */
  path: string[];
  /** The client's salt, hex. */
  salt: string;
  /** The statement's identity, hex. */
  statement: string;
  /** The aggregate signature, hex. */
  signature: string;
  /** The certificate's bytes, hex. */
  certificate: string;
  /** Every epoch in the bundle, in order. */
  epochs: Epoch[];
}

/** One epoch, as a bundle states it. */
export interface Epoch {
  /** Its number, from 0. */
  epoch: number;
  /** The committee's digest, base58. */
  committee: string;
  /** The number of members. */
  members: number;
  /** The names of the members that are new. Empty for the first epoch in the bundle. Others chose them: show them as text. */
  joined: string[];
  /** The names of the members that left with the epoch before. */
  left: string[];
  /** When it closed, seconds since 1970; null if the bundle shows no end. */
  closing: number | null;
}

interface AnyQuestion {
  /** The content of a `.vouch` file, as bytes or text. Do not pass the result of `JSON.parse`. */
  bundle: Bytes | string;
  /**
   * The identity of the cluster that you trust: base58, or 64 hexadecimal digits. Obtain it from the cluster's operators or your own
   * records, never from a server or the bundle. Without it, the verdict is CANNOT CHECK.
   */
  cluster?: string | null;
  /**
   * A committee of the cluster that you trust as well, from the same source: its epoch, a colon and its digest. It protects
   * against an attacker with older keys. A bundle that does not reach this epoch CANNOT be CHECKED.
   */
  checkpoint?: string | null;
  /** Accept only a certificate that is sealed under the `checkpoint`. Default: false. */
  requireSealed?: boolean | null;
  /** The time of the verdict: a `Date`, or whole seconds since 1970. Default: now. */
  now?: Date | number | null;
  /** Accept an expired certificate: replicas need no longer keep the file. Default: false. */
  waiveExpiry?: boolean | null;
}

/** Options with the file itself. */
export interface FileQuestion extends AnyQuestion {
  /** The file. Bytes in memory are hashed or copied at once. Other sources are read only if the certificate is genuine. */
  file?: FileSource | null;
  digest?: null;
  length?: null;
}

/** Options with the file's digest, if the file is already hashed. */
export interface DigestQuestion extends AnyQuestion {
  file?: null;
  /** The file's BLAKE3 digest: base58, 64 hexadecimal digits, or 32 bytes. */
  digest: string | Bytes;
  /** The file's length in bytes, if you know it. */
  length?: number | null;
}

/** Give the file or its digest, not both. */
export type VerifyOptions = FileQuestion | DigestQuestion;

/**
 * Verifies a bundle.
 *
 * Every fault of the bundle or the file is a verdict. `verify` throws only on invalid arguments: a `TypeError` for a value of the wrong
 * type, for a `cluster` or `digest` that is not a 32-byte value, or for a stream that was already read; a `RangeError` for a number that
 * is not an integer from 0 to 2^53 − 1. Errors from reading the file are passed on.
 *
 * Options and bytes are read before `verify` returns: later changes to them do not change the verdict. The first call waits for the
 * module, so it copies bytes in memory; pass a `Blob` to avoid the copy.
 *
 * The committee of the last bundle is cached: the next bundle of the same cluster costs one signature check.
 */
export function verify(options: VerifyOptions): Promise<Report>;

/**
 * The content of a bundle. None of it is verified: a forged bundle can state anything.
 *
 * @throws {BundleError} if the bundle is malformed.
 */
export function inspect(bundle: Bytes | string): Promise<Inspection>;

/** The bundle is malformed or of an unknown version: there is nothing to inspect. */
export class BundleError extends Error {
  /** The verdict on the malformed bundle. */
  readonly report: InvalidReport | CannotCheckReport;
}

/** A file's digest. */
export interface FileDigest {
  /** BLAKE3 in hex, as `b3sum` prints it. */
  digest: string;
  /** The same in base58. */
  digest_base58: string;
  /** The file's length in bytes. */
  length: number;
}

/** Hashes a file, in constant memory. */
export function hash(file: FileSource): Promise<FileDigest>;

/** Computes a digest piece by piece. */
export interface Hasher {
  /** Hashes the next bytes. They may change after the call. */
  update(bytes: Bytes): this;
  /** The digest of all bytes so far. More may follow. */
  digest(form?: "bytes"): Uint8Array;
  digest(form: "hex" | "base58"): string;
  /** The number of bytes so far. */
  readonly length: number;
  /** Gives the memory back before the garbage collector would. Later calls throw an `Error`; a second `free()` does nothing. */
  free(): void;
}

/** A new hasher: BLAKE3, 32 bytes. */
export function createHasher(): Promise<Hasher>;

/** Verifies bundles, and caches the committee of the last one. */
export interface Verifier {
  verify(options: VerifyOptions): Promise<Report>;
  /** Gives the memory back before the garbage collector would. Later calls throw an `Error`; a second `free()` does nothing. */
  free(): void;
}

/** A verifier with its own cache. Use one for each cluster if you verify bundles of several clusters in turn. */
export function createVerifier(): Promise<Verifier>;

/** A digest or an identity in its canonical form, base58. Throws a `TypeError` unless the text is base58 or 64 hexadecimal digits. */
export function normalizeDigest(text: string): Promise<string>;

/** What the formats allow at most. */
export interface Limits {
  /** Bytes of a bundle. */
  bundle: number;
  /** Members of a committee. */
  members: number;
}

/** The limits that the verifier applies: a program that reads a bundle from the network can stop after `bundle` + 1 bytes. */
export function limits(): Promise<Limits>;

/** All identities that are known for a server. Each is in its canonical form, as `normalizeDigest` returns it. */
export interface KnownIdentities {
  /** Entered by the user. */
  given?: string | null;
  /** Named by the address that opened the page. */
  address?: string | null;
  /** The address names an identity that does not parse. No server is then trusted, unless the user enters an identity. */
  isAddressMalformed?: boolean | null;
  /** Recorded for this server by an earlier visit. */
  remembered?: string | null;
  /** The user has compared the recorded identity with what the operators publish. */
  wasCompared?: boolean | null;
  /** Accepted from the server on first use, earlier in this visit. */
  taken?: string | null;
  /** Shown by the server now. */
  shown?: string | null;
}

/** The decision which identity to trust. */
export interface TrustDecision {
  /** `refused`: the server shows another identity than the trusted one. `first-use`: the identity is the server's own claim. */
  state: "none" | "malformed" | "first-use" | "trusted" | "refused";
  identity: string | null;
  source: "given" | "address" | "remembered" | "first-use" | null;
  /** The user knows the identity from a source other than the server. */
  compared: boolean;
  /** The named identity is not the recorded one. */
  differs_from_remembered: boolean;
  /** Record the identity for this server now. */
  record: boolean;
}

/** Decides which identity to trust, as the command line does: first the one named by the user, then the recorded one, then the server's. */
export function decideTrust(known: KnownIdentities): Promise<TrustDecision>;

/** The link was lost. The put or get is retried in `retry_in` seconds; `connecting` follows. The other fields are as in `ServerError`. */
export interface LostProgress<Code> {
  stage: "lost";
  code: Code;
  reason: string | null;
  members: string[];
  message: string;
  /** Seconds until the next attempt; 0 if it goes to a server that was not tried since the last progress. */
  retry_in: number;
  /** The server that failed, as in the options. */
  server: string;
  /** The server of the next attempt. */
  next: string;
}

/** The servers, and the cluster to trust. */
export interface ServerOptions {
  /**
   * `host:port`, or a URL with http, https, ws or wss; a path is a prefix. Of several servers of one cluster, in the order of your choice, the
   * next goes on at once when one fails, stands still or lies; what it has sent is not sent again.
   */
  server: string | UrlValue | readonly (string | UrlValue)[];
  /**
   * The identity of the cluster that you trust: base58, or 64 hexadecimal digits. A server of another cluster is refused. `null`
   * accepts the identity that the server shows: the result then proves nothing until you compare its `cluster` with the real one.
   */
  cluster: string | null;
  /**
   * The newest committee of that cluster that your program has verified: the `checkpoint` of an earlier result, or one that you trust from
   * another source. A server that shows only earlier committees is refused with `old-epoch`, and one that shows another committee in that
   * epoch with `another-committee`, before any byte of a file is sent: otherwise somebody with the keys of members that have left could
   * take the server's place. Record the greatest epoch for each cluster. Default: none.
   */
  checkpoint?: string | null;
  /**
   * The secret of a token, if the cluster or the server asks for one: the text that begins with `vouch-token-`. Your program signs with it; it is
   * not sent. What needs a token is refused without one: code `refused`, reason `not-admitted`. Default: none.
   */
  token?: string | null;
  /** Aborts the operation: the promise rejects with the signal's reason. */
  signal?: SignalValue | null;
  /** Called before each retry with a function that ends the wait, for a button "Try now". A browser's `online` event ends it as well. */
  onWaiting?: ((now: () => void) => void) | null;
}

/** A member of the committee that the server shows. Its keys are checked. */
export type CommitteeMember = Omit<Member, "signed">;

/** The progress of a put. Sizes are in bytes. */
export type PutProgress =
  /** Only for bytes and `Blob`s: a stream is hashed while it is sent. */
  | { stage: "hashing"; done: number; total: number }
  | { stage: "hashed"; digest: string; digest_base58: string; length: number }
  | { stage: "connecting" }
  /**
   * Every committee that the server shows was verified, from the first one on. The last one is that of `epoch`, and `checkpoint` is its
   * `EPOCH:COMMITTEE`.
   */
  | { stage: "committee"; cluster: string; epoch: number; checkpoint: string; quorum: number; tolerated_faults: number; members: CommitteeMember[] }
  /** The replicas hold the bytes before `offset`, from an earlier attempt or put. The rest is sent. */
  | { stage: "resuming"; offset: number; total: number }
  /** `done` bytes have left this machine's buffers. After `resuming`, it starts again at `offset`, which may be less than before. */
  | { stage: "sending"; done: number; total: number | null }
  /** The server's claim about a member; only the certificate proves it. `dropped`: the member takes no further part in this put. */
  | { stage: "member"; member: number; state: "receiving" | "stored" | "voted" | "dropped" }
  | LostProgress<ServerError["code"]>;

export interface PutOptions extends ServerOptions {
  /** Until when the replicas must keep the file: a `Date`, or seconds since 1970. Default: `"never"` expires. */
  expires?: Date | number | "never" | null;
  /** Ask for a new certificate, even if an earlier one promises as much. Default: false. */
  renew?: boolean | null;
  /**
   * How many seconds the put is retried without progress, after the link is lost or the server refuses for a temporary reason. A retry
   * resumes the upload without hashing the file again, and only in the same cluster. Default: 60. 0: each server is tried once. There is no
   * retry before a server was reached, and none of a stream that was read from. The put also waits at most a quarter longer than this for each
   * decision of the server.
   */
  retry?: number | null;
  onProgress?: ((progress: PutProgress) => void) | null;
}

export interface PutResult {
  /** The content of the `.vouch` file to keep. */
  bundle: string;
  /** The report of verifying the bundle here, against the identity that you trust. */
  report: ValidReport;
  /** The identity of the cluster. */
  cluster: string;
  /** The newest committee that the server showed, `EPOCH:COMMITTEE`. It was verified, and follows the `checkpoint` of the options. */
  checkpoint: string;
  /** The server's node key, base58. */
  server: string;
  /** The certificate is from an earlier put of the same bytes, perhaps by someone else, and promises as much. No bytes were sent, except of a stream or of a file of at most 64 KiB. */
  reused: boolean;
  /** The resume offset: the bytes before it were not sent again. 0 if the upload began at the start, or if `reused`. */
  resumed_from: number;
}

/**
 * Puts a file: hashes it, sends it to the server, and fulfils once a quorum's certificate has passed every check here. Memory is
 * constant, except for 64 bytes per 256 KiB of the file for the proofs of its bytes; a stream needs none. Rejects with a `ServerError`,
 * with the signal's reason, or with a `TypeError` or `RangeError` for invalid options.
 *
 * Options are read and bytes in memory are copied before `put` returns. Pass a `Blob` to avoid the copy.
 */
export function put(file: FileSource, options: PutOptions): Promise<PutResult>;

/** The progress of a get. Sizes are in bytes. */
export type GetProgress =
  | { stage: "connecting" }
  /** The get reads from this member, from where the previous one stopped: the sink has `offset` bytes. `length` is the member's claim. */
  | { stage: "start"; name: string; length: number; offset: number }
  /** The sink has `done` bytes of `total`, also after a retry. */
  | { stage: "receiving"; done: number; total: number }
  /** This member failed or lied. The next one continues. */
  | { stage: "rejected"; name: string; reason: string }
  | LostProgress<ServerError["code"]>;

/** Receives the verified bytes of a get, each once and in order, also after a retry. If it returns a promise, the next bytes wait for it. */
export interface Sink {
  write(bytes: Uint8Array): void | Promise<void>;
}

export interface GetOptions extends ServerOptions {
  /** The file's length, if a certificate states it. */
  length?: number | null;
  /** The requested range, as in HTTP: `"0-1023"` with the end included, `"500-"`, or `"-500"` for the last 500 bytes. Default: all bytes. */
  range?: string | null;
  /** Receives the bytes. Default: they are collected in a `Blob`. */
  sink?: Sink | null;
  /**
   * How many seconds the get is retried without progress, after the link is lost or the server refuses for a temporary reason. A retry
   * requests only the bytes that the sink lacks, and only in the same cluster. Default: 60. 0: each server is tried once. There is no retry
   * before a server was reached, and no second one at a server whose answer failed a check. The get also waits at most a quarter longer than this for the server to find the file.
   */
  retry?: number | null;
  onProgress?: ((progress: GetProgress) => void) | null;
}

export interface GetResult {
  /** The file or the range, unless there is a sink. Its type is `application/octet-stream`, because the content is untrusted. */
  blob: BlobValue | undefined;
  /** BLAKE3 in hex. */
  digest: string;
  digest_base58: string;
  /** The offset of the first byte in the file. */
  start: number;
  /** The number of bytes received. */
  length: number;
  /** The verified length of the whole file. */
  total: number;
  /** The identity of the cluster. */
  cluster: string;
  /** The newest committee that the server showed, `EPOCH:COMMITTEE`. It was verified, and follows the `checkpoint` of the options. */
  checkpoint: string;
}

/**
 * Gets the file with this digest, or a range of it, from the members that hold it. Each byte is verified before the sink receives it, so
 * after a failure the sink has a correct beginning. Rejects like `put`. Digest and options are read before `get` returns.
 */
export function get(digest: string | Bytes, options: GetOptions): Promise<GetResult>;

/** Why a put or a get ended without its result. */
export class ServerError extends Error {
  /**
   * - `connection`: the server cannot be reached, made no progress, or the link was lost.
   * - `refused`: the server, or a replica through it, refused the request; see `reason`.
   * - `invalid`: a check of what the server sent failed; see `check`, `expected` and `got`.
   * - `old-epoch`: the server shows only earlier committees than you have verified. It is behind, or somebody has old keys.
   * - `another-committee`: the server shows another committee in the epoch of the `checkpoint`. Somebody forged one of the two.
   * - `protocol`: the server broke the protocol.
   * - `source`: the file cannot be read, or changed while it was read.
   * - `range`: the requested range lies outside the file.
   * - `not-found`: no member holds the file.
   * - `exhausted`: every member that holds the file failed.
   * - `every-server`: of several servers, each failed; see `errors`.
   */
  readonly code: "connection" | "refused" | "invalid" | "old-epoch" | "another-committee" | "protocol" | "source" | "range" | "not-found" | "exhausted" | "every-server";
  /** For `refused`: the protocol's code as one word, such as `not-enough-replicas`. */
  readonly reason: string | null;
  /** For `invalid`, `old-epoch` and `another-committee`: the check that failed, named as in reports; `link` for the server's proof of its node key; `receipt` for another put's receipt. */
  readonly check: string | null;
  /** What was compared, if the failure is a comparison. It may quote the server: show it as text, never as HTML. */
  readonly subject: string | null;
  readonly expected: string | null;
  readonly got: string | null;
  /** Names of the members concerned. The members chose them: show them as text, never as HTML. */
  readonly members: string[];
  /** Whether the same call may succeed later. */
  readonly canRetry: boolean;
  /** For `every-server`: the last error of each server, which is named as in the options. */
  readonly errors: readonly { server: string; error: ServerError }[];
}

/** The WebAssembly module or its location. */
export type ModuleSource = string | UrlValue | RequestValue | ResponseValue | Bytes | DataView | CompiledModule;

/**
 * Loads the verifier's module. Needed only to load it early or from another location: every other function loads it at its first use.
 * Call it once, before any other function. In Node.js, a string may also be a path.
 */
export function init(source?: ModuleSource | PromiseLike<ModuleSource>): Promise<void>;

/** As `init`, for the module that puts and gets, and verifies ops, heads and blocks of the log. */
export function initClient(source?: ModuleSource | PromiseLike<ModuleSource>): Promise<void>;
