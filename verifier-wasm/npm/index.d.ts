/**
 * Checks certificates of availability made by Vouch, offline; and puts and gets files through a server that need not be trusted.
 *
 * A certificate says: at `issued_at`, enough members of a cluster held exactly these bytes durably to outweigh every
 * tolerated fault, and keep them until `expires_at`. Whoever knows the cluster's identity can check that, and needs to
 * trust neither the server that made the certificate nor the one that shows it.
 *
 * Only `put` and `get` open a connection; and browsers fetch the WebAssembly modules themselves, each at its first use.
 */

/** Bytes in memory. Node.js' `Buffer` is a `Uint8Array`. */
export type Bytes = Uint8Array | ArrayBuffer;

/** The type of a global where it is declared (by TypeScript's `dom` library, or by Node.js' types), and what is needed of it elsewhere. */
type Global<Name extends string, Needed> = typeof globalThis extends Record<Name, { prototype: infer Declared }> ? Declared : Needed;

/** A file or a part of one, as browsers and Node.js have it. */
export type BlobValue = Global<"Blob", { readonly size: number; slice(start?: number, end?: number): unknown; arrayBuffer(): Promise<ArrayBuffer> }>;
type StreamValue = { getReader(): { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<unknown>; releaseLock(): void } };
type SignalValue = Global<"AbortSignal", { readonly aborted: boolean; readonly reason: any; throwIfAborted(): void }>;
type UrlValue = Global<"URL", { readonly href: string }>;
type RequestValue = Global<"Request", { readonly url: string }>;
type ResponseValue = Global<"Response", { readonly ok: boolean; arrayBuffer(): Promise<ArrayBuffer> }>;

/** A `WebAssembly.Module`. */
export type CompiledModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Declared } } } ? Declared : object;

/** A file of any size. All but bytes in memory are read in pieces, in constant memory. */
export type FileSource = Bytes | BlobValue | StreamValue | AsyncIterable<Uint8Array>;

/** The twelve checks, in their order. The first that does not pass decides. */
export type CheckName =
  | "bundle"
  | "certificate"
  | "committee"
  | "identity"
  | "epoch"
  | "signers"
  | "possession"
  | "signature"
  | "digest"
  | "length"
  | "time"
  | "expiry";

/**
 * The questions that a verdict answers: is the certificate genuine, is this the file, is it in force. Each check belongs to one.
 */
export type Question = "genuine" | "matches" | "in_force";

/**
 * The answer to a question. `not-answered`: something is missing, or was not asked for; and of a certificate that is not known to
 * be genuine, nothing else is answered.
 */
export type Answer = "yes" | "no" | "not-answered";

export interface Answered {
  answer: Answer;
  /** Why. It may quote the bundle, so treat it as text, never as HTML. Times are seconds since 1970. */
  reason: string;
}

/**
 * What became of a check. `not-reached`: an earlier one decided its question, or the certificate is not known to be genuine.
 * `waived`: expiry, when you waived it; length, when you gave a digest without one.
 */
export type Outcome = "passed" | "failed" | "cannot-check" | "not-reached" | "waived";

export interface Check {
  name: CheckName;
  /** The question that it helps to answer. */
  question: Question;
  outcome: Outcome;
  /** What it means when it passes, for people. */
  meaning: string;
}

interface AnyReport {
  /** One sentence. It may quote the bundle, so treat it as text, never as HTML. */
  message: string;
  /**
   * Is the certificate genuine? It is when enough members of the cluster that you trust signed it. This needs no file: without
   * one, a yes here is the whole answer that you can get.
   */
  genuine: Answered;
  /** Is this the file? */
  matches: Answered;
  /** Is it in force: not issued in the future, and not expired? */
  in_force: Answered;
  /** Every check, in order. */
  checks: Check[];
}

/** Every check passed. */
export interface ValidReport extends AnyReport {
  verdict: "valid";
  check: null;
  expected: null;
  got: null;
  /** What the certificate says. */
  certificate: Inspection;
}

/** A check failed. */
export interface InvalidReport extends AnyReport {
  verdict: "invalid";
  /** The check that failed. */
  check: CheckName;
  /** What it wanted; of a file, what the certificate says. */
  expected: string;
  /** What it found. */
  got: string;
}

/** Something is missing for a verdict: an identity, a file, or a version of the format that this verifier knows. */
export interface CannotCheckReport extends AnyReport {
  verdict: "cannot-check";
  /** The check that could not be made. */
  check: CheckName;
  expected: null;
  got: null;
}

/** A verdict and how it came about. Tell the three apart by `verdict`. */
export type Report = ValidReport | InvalidReport | CannotCheckReport;

/** A member of the committee. */
export interface Member {
  /** Position in the committee, from 0. */
  member: number;
  /** The name that it chose. */
  name: string;
  /** The ed25519 key by which it is known on links, base58. */
  node_key: string;
  /** The BLS12-381 key by which it signs, base58. */
  vote_key: string;
  /** Whether its signature is in the certificate. */
  signed: boolean;
}

/** What a bundle says. */
export interface Inspection {
  /** The identity of the cluster, base58. From `inspect()`: the one that the bundle claims to be from. */
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
  /** Positions of the members that signed. */
  signers: number[];
  /** Signers needed. */
  quorum: number;
  /** Faulty members that the committee tolerates. */
  tolerated_faults: number;
  members: Member[];
  /** The number of files that were certified together. */
  batch_count: number;
  /** This file's place among them, from 0. */
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
}

interface AnyQuestion {
  /** The content of a `.vouch` file: its bytes or its text, not what `JSON.parse` makes of it. */
  bundle: Bytes | string;
  /**
   * The identity of the cluster that you trust: base58, or 64 hexadecimal digits. Have it from the cluster's operators
   * or from your own records, never from a server or from the bundle. Without it nothing can be checked.
   */
  cluster?: string | null;
  /** Judge as of this time: a `Date`, or whole seconds since 1970. Default: the clock. */
  now?: Date | number | null;
  /** Accept an expired certificate: replicas need no longer keep the file. Default: false. */
  waiveExpiry?: boolean | null;
}

/** With the file itself. */
export interface FileQuestion extends AnyQuestion {
  /** The file. Bytes in memory are hashed or copied at once; anything else is read only when the certificate is genuine. */
  file?: FileSource | null;
  digest?: null;
  length?: null;
}

/** With the file's digest, when you have hashed the file before. */
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
 * Judges a bundle.
 *
 * Whatever is wrong with bundle or file is a verdict. An exception means that the question makes no sense: a `TypeError`
 * for a value of a wrong type, or a `cluster` or `digest` that is no 32-byte value; a `RangeError` for a number that is
 * not whole, negative, or above 2^53 − 1. An error from reading the file is passed on.
 *
 * Options and bytes are read before this returns: later changes to them do not change the verdict. The first call
 * copies bytes in memory, since it waits for the module; give a `Blob` to avoid the copy. A stream or iterator that was read already is a `TypeError`.
 *
 * The committee of the last bundle is kept: the next bundle of the same cluster costs one signature check.
 */
export function verify(options: VerifyOptions): Promise<Report>;

/**
 * What a bundle says. Nothing of it is verified: a forged bundle says what it likes.
 *
 * @throws {BundleError} when it cannot be read.
 */
export function inspect(bundle: Bytes | string): Promise<Inspection>;

/** A bundle that cannot be read, so that there is nothing to inspect. */
export class BundleError extends Error {
  /** The verdict that its form alone deserves. */
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

/** Hashes piece by piece. */
export interface Hasher {
  /** Takes the next bytes, at once: they may change afterwards. */
  update(bytes: Bytes): this;
  /** The digest of everything so far; more may follow. */
  digest(form?: "bytes"): Uint8Array;
  digest(form: "hex" | "base58"): string;
  /** The number of bytes so far. */
  readonly length: number;
  /** Gives the memory back before the garbage collector would. Later calls throw an `Error`; a second `free()` does nothing. */
  free(): void;
}

/** A new hasher: BLAKE3, 32 bytes. */
export function createHasher(): Promise<Hasher>;

/** Verifies, and keeps the committee of its last bundle. */
export interface Verifier {
  verify(options: VerifyOptions): Promise<Report>;
  /** Gives the memory back before the garbage collector would. Later calls throw an `Error`; a second `free()` does nothing. */
  free(): void;
}

/** A verifier with a memory of its own: worth having for each cluster, if you verify for several in turn. */
export function createVerifier(): Promise<Verifier>;

/** A digest or an identity in its usual form, base58. Throws a `TypeError` for anything else than base58 or 64 hexadecimal digits. */
export function normalizeDigest(text: string): Promise<string>;

/** What is known of the identity of a server's cluster. Identities are in their usual form, as `normalizeDigest` returns them. */
export interface KnownIdentities {
  /** Entered by the user. */
  given?: string | null;
  /** Named by the address that opened the page. */
  address?: string | null;
  /** The address names something that is no identity: nobody is trusted then, unless the user enters an identity. */
  isAddressMalformed?: boolean | null;
  /** Recorded for this server by an earlier visit. */
  remembered?: string | null;
  /** The user compared the recorded identity with what the operators publish. */
  wasCompared?: boolean | null;
  /** Taken from the server on first use, earlier in this visit. */
  taken?: string | null;
  /** Shown by the server now. */
  shown?: string | null;
}

/** Which identity to judge by. */
export interface TrustDecision {
  /** `refused`: the server shows another identity than the trusted one. `first-use`: the identity is the server's own word. */
  state: "none" | "malformed" | "first-use" | "trusted" | "refused";
  identity: string | null;
  source: "given" | "address" | "remembered" | "first-use" | null;
  /** The user knows the identity from somebody else than the server. */
  compared: boolean;
  /** The named identity is not the recorded one. */
  differs_from_remembered: boolean;
  /** Record the identity for this server now. */
  record: boolean;
}

/** Decides which identity to trust, as the command line does: what the user names first, then what is recorded, and only then the server's word. */
export function decideTrust(known: KnownIdentities): Promise<TrustDecision>;

/** Which server, and whom to trust. */
export interface ServerOptions {
  /** `host:port`, or a URL with http, https, ws or wss; a path is a prefix. */
  server: string | UrlValue;
  /**
   * The identity of the cluster that you trust: base58, or 64 hexadecimal digits. A server of another cluster is refused. `null`
   * takes the identity that the server shows: then the result proves nothing until you compare `cluster` in it with what you know.
   */
  cluster: string | null;
  /** Gives up: the promise rejects with the signal's reason. */
  signal?: SignalValue | null;
}

/** A member of the committee, as the server shows it; its keys are checked. */
export type CommitteeMember = Omit<Member, "signed">;

/** What a put is at. Sizes in bytes. */
export type PutProgress =
  /** Only of bytes and `Blob`s: a stream is hashed while it is sent. */
  | { stage: "hashing"; done: number; total: number }
  | { stage: "hashed"; digest: string; digest_base58: string; length: number }
  | { stage: "connecting" }
  | { stage: "committee"; cluster: string; quorum: number; tolerated_faults: number; members: CommitteeMember[] }
  /** The replicas hold what is before `offset`, of this try or an earlier put that was cut off: the rest is sent. */
  | { stage: "resuming"; offset: number; total: number }
  /** `done` have left this machine's buffers. It begins at the `offset` of `resuming`, and may then be less than it was. */
  | { stage: "sending"; done: number; total: number | null }
  /** By the server's word; what counts is the certificate. `dropped`: it takes no part in this put. */
  | { stage: "member"; member: number; state: "receiving" | "stored" | "voted" | "dropped" }
  /** It was cut off, by what these say as those of `ServerError` do, and is tried again in `retry_in` seconds: `connecting` is next. */
  | { stage: "lost"; code: "connection" | "refused"; reason: string | null; members: string[]; message: string; retry_in: number };

export interface PutOptions extends ServerOptions {
  /** Until when the replicas must keep the file: a `Date`, or seconds since 1970. Default: `"never"` expires. */
  expires?: Date | number | "never" | null;
  /** Have it certified anew, though an earlier certificate may promise as much. Default: false. */
  renew?: boolean | null;
  /**
   * For how many seconds a put goes on trying that was cut off and gets no further: the link was lost, or the server or its replicas
   * cannot go on for now. It is not hashed again, and continues with what the replicas lack, in the same cluster only. Default: 60;
   * 0: never. What fails before it began is told at once, and a stream is never tried again.
   */
  retry?: number | null;
  /** Called for each wait before another try, with a function that ends it: for a button "Try now". A browser's `online` event does so, too. */
  onWaiting?: ((now: () => void) => void) | null;
  onProgress?: ((progress: PutProgress) => void) | null;
}

export interface PutResult {
  /** The content of the `.vouch` file to keep. */
  bundle: string;
  /** Every check of it, made here, against the identity that you trust. */
  report: ValidReport;
  /** The identity of the cluster. */
  cluster: string;
  /** The server's key on links, base58. */
  server: string;
  /** The certificate is that of an earlier put of the same bytes, maybe somebody else's, and promises as much: nothing was sent, unless a stream. */
  reused: boolean;
  /** Where it went on after it, or an earlier put of the same bytes, had been cut off: what is before was not sent again. 0: at the beginning, or `reused`. */
  resumed_from: number;
}

/**
 * Puts a file: hashes it, sends it to the server, and fulfils once a certificate by a quorum has passed every check here.
 * Constant memory, but for 64 bytes for each 256 KiB of a file that is no stream: its bytes are proved with them. Rejects with a
 * `ServerError`, the signal's reason, or a `TypeError` for options that make no sense.
 *
 * Options are read, and bytes in memory are copied, before this returns. Give a `Blob` to avoid the copy.
 */
export function put(file: FileSource, options: PutOptions): Promise<PutResult>;

/** What a get is at. Sizes in bytes. */
export type GetProgress =
  | { stage: "connecting" }
  /** This member is read from, where the one before it stopped; it says that the file has this length. */
  | { stage: "start"; name: string; length: number }
  | { stage: "receiving"; done: number; total: number }
  /** This member failed or lied; the next one goes on. */
  | { stage: "rejected"; name: string; reason: string };

/** Takes the bytes of a get, in order, each verified before it comes. A promise holds the next bytes back. */
export interface Sink {
  write(bytes: Uint8Array): void | Promise<void>;
}

export interface GetOptions extends ServerOptions {
  /** The file's length, where a certificate tells it. */
  length?: number | null;
  /** The bytes wanted, as HTTP writes it: `"0-1023"` with the end included, `"500-"`, or `"-500"` for the last 500. Default: all. */
  range?: string | null;
  /** Where the bytes go. Default: a `Blob`. */
  sink?: Sink | null;
  onProgress?: ((progress: GetProgress) => void) | null;
}

export interface GetResult {
  /** The file, or the range of it, unless there was a sink. Its type is `application/octet-stream`: it is whatever somebody once put. */
  blob: BlobValue | undefined;
  /** BLAKE3 in hex. */
  digest: string;
  digest_base58: string;
  /** Where in the file the first of the bytes is. */
  start: number;
  /** How many bytes came. */
  length: number;
  /** The length of the whole file, verified. */
  total: number;
  /** The identity of the cluster. */
  cluster: string;
}

/**
 * Gets the file of a digest, or a range of it, from whichever member holds it. Every byte is verified by itself before it goes to the
 * sink: when this rejects, like `put`, what the sink has is right as far as it goes. Digest and options are read before this returns.
 */
export function get(digest: string | Bytes, options: GetOptions): Promise<GetResult>;

/** Why a put or a get ended without its result. */
export class ServerError extends Error {
  /**
   * - `connection`: no link to the server, or it was lost.
   * - `refused`: the server, or a replica through it, gave up; see `reason`.
   * - `invalid`: what the server sent does not hold; see `check`, `expected` and `got`.
   * - `protocol`: the server sent nonsense.
   * - `source`: the file cannot be read, or changed while it was.
   * - `range`: the file has none of the bytes wanted.
   * - `not-found`: no member holds the file.
   * - `exhausted`: every member that holds it failed.
   */
  readonly code: "connection" | "refused" | "invalid" | "protocol" | "source" | "range" | "not-found" | "exhausted";
  /** Of `refused`: the protocol's code as one word, such as `not-enough-replicas`. */
  readonly reason: string | null;
  /** Of `invalid`: the check that failed, as in reports; or `link`, the server's proof of its key; or `receipt`, of another put. */
  readonly check: string | null;
  readonly expected: string | null;
  readonly got: string | null;
  /** Names of the members concerned, as they chose them: text, never HTML. */
  readonly members: string[];
  /** Whether the same call may well succeed later. */
  readonly canRetry: boolean;
}

/** Where the WebAssembly module is, or what it is. */
export type ModuleSource = string | UrlValue | RequestValue | ResponseValue | Bytes | DataView | CompiledModule;

/**
 * Loads the module that verifies. Only needed to load it early or from elsewhere: everything else loads it at its first use. Call
 * it before anything else, and once: the first call decides. In Node.js a string may also be a path.
 */
export function init(source?: ModuleSource | PromiseLike<ModuleSource>): Promise<void>;

/** The same for the module that puts and gets. */
export function initClient(source?: ModuleSource | PromiseLike<ModuleSource>): Promise<void>;
