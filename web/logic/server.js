// Which server the page talks to, and how it is doing.

import { serverBase } from "./address.js";

// A committee of 1000 takes about 250 KB.
const LONGEST_STATUS = 1 << 20;
const PATIENCE = 8000;

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
// The form of a key or an identity; whether it is one is for the verifier to say.
const isDigest = (value) => typeof value === "string" && /^[1-9A-HJ-NP-Za-km-z]{32,44}$/.test(value);
const isText = (value) => typeof value === "string" && value.length <= 200;

/** What `GET /v1/cluster` answers, or null for anything of another shape. `maxMembers`: the largest committee. */
export function statusOf(json, maxMembers) {
  if (typeof json !== "object" || json === null) return null;
  const { cluster, server, ready, epoch, quorum, tolerated_faults: toleratedFaults, connected, wanted = null, members } = json;
  const sound =
    typeof ready === "boolean" &&
    (cluster === null || isDigest(cluster)) &&
    isText(server) &&
    [epoch, quorum, toleratedFaults, connected].every(isCount) &&
    (wanted === null || isCount(wanted)) &&
    Array.isArray(members) &&
    members.length <= maxMembers &&
    members.every((one) => one !== null && isCount(one?.member) && isText(one.name) && typeof one.connected === "boolean");
  if (!sound) return null;
  const seen = members.map(({ member, name, connected: here }) => ({ member, name, connected: here }));
  return { cluster, server, ready, epoch, quorum, toleratedFaults, connected, wanted, members: seen };
}

/** What can be done with a server in this state: "ready" or "waiting". The server says whether a put would find its quorum; without a cluster there is no identity to judge by. */
export const readiness = ({ cluster, ready }) => (cluster !== null && ready ? "ready" : "waiting");

const isThisMachine = (hostname) => hostname === "localhost" || hostname === "[::1]" || /^127(\.[0-9]+){3}$/.test(hostname);

/**
 * Asks once. Resolves to `{ status }` or `{ problem }`: "unreachable", "not-allowed" (HTTP answers, but not to pages of this
 * origin), "not-vouch" (something else answers), "mixed" (an encrypted page may not ask a server that is not) or "no-verifier" (it could not be
 * loaded). `page` is the page's origin, "null" for a file; `limits` is the package's.
 */
export async function ask(server, { page, fetch, limits, patience = PATIENCE }) {
  const allowed = await limits().catch(() => null);
  if (allowed === null) return { problem: "no-verifier" };
  const url = `${server}/v1/cluster`;
  const options = () => ({ cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(patience) });
  let response;
  try {
    response = await fetch(url, options());
  } catch {
    const { origin, protocol, hostname } = new URL(server);
    if (origin === page) return { problem: "unreachable" };
    if (page.startsWith("https:") && protocol === "http:" && !isThisMachine(hostname)) return { problem: "mixed" };
    // A refusal by origin and a dead server look alike to a page. An answer that it may not read tells them apart.
    const answers = await fetch(url, { ...options(), mode: "no-cors", redirect: "follow" }).then(
      () => true,
      () => false,
    );
    return { problem: answers ? "not-allowed" : "unreachable" };
  }
  if (response.status === 403) return { problem: "not-allowed" };
  try {
    const text = await response.text();
    const status = response.ok && text.length <= LONGEST_STATUS ? statusOf(JSON.parse(text), allowed.members) : null;
    return status === null ? { problem: "not-vouch" } : { status };
  } catch (error) {
    return { problem: error instanceof SyntaxError ? "not-vouch" : "unreachable" };
  }
}

/** Finds the server and keeps asking how it is. Says "change" for every answer that tells something new. */
export class Server extends EventTarget {
  #page;
  #own;
  #fetch;
  #limits;
  #turn = 0;
  #said = "";
  #refreshing = null;
  /** The secret of the token that authorises puts and gets, or null. Only in memory. */
  token = null;
  /** "page", "address", "typed", or null when nobody has named one. */
  from = null;
  /** Its HTTP address, or null. */
  base = null;
  /** "looking", "none", "ready", "waiting", or a problem of `ask`. */
  state = "looking";
  /** The last status, also of one that has become unreachable; or null. */
  status = null;
  /** A server named by the address and not used, because the page came from one. */
  ignored = null;

  /** `page` is the page's origin, "null" for a file; `own` the address that a server has if it serves this page; `limits` the package's. */
  constructor({ page, own, fetch, limits }) {
    super();
    this.#page = page;
    this.#own = own;
    this.#fetch = fetch;
    this.#limits = limits;
  }

  /** Takes a token's text, or no text. Whether it could be one; if not, there is none. */
  useToken(text) {
    const trimmed = text.trim();
    const isToken = trimmed === "" || /^vouch-token-[1-9A-HJ-NP-Za-km-z]{40,50}$/.test(trimmed);
    this.token = isToken && trimmed !== "" ? trimmed : null;
    return isToken;
  }

  /** Whether the page came from the very server that it talks to. */
  get servesPage() {
    return this.base !== null && new URL(this.base).origin === this.#page;
  }

  /** At the start and whenever the fragment changes: the page's own server if there is one, else the one named. */
  async find(named) {
    const turn = ++this.#turn;
    const base = named === null ? null : serverBase(named, this.#protocol);
    if (this.from === null && this.#own !== null) {
      const answer = await this.#ask(this.#own);
      if (turn !== this.#turn) return;
      if (answer.status !== undefined) this.#take("page", this.#own, answer);
    }
    if (this.from === "page") {
      // Its policy keeps the page from any other server.
      this.#set({ ignored: base === this.#own ? null : base });
    } else if (base === null) {
      if (this.from !== "typed") this.#take(null, null, {});
    } else {
      await this.#use("address", base);
    }
  }

  /** What the user typed. False when it is no server. */
  type(text) {
    const base = serverBase(text, this.#protocol);
    if (base === null) return false;
    void this.#use("typed", base);
    return true;
  }

  /** Asks again. */
  refresh() {
    // One that is slow to answer is not asked twice meanwhile.
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  async #refresh() {
    const turn = this.#turn;
    if (this.base === null) return;
    const answer = await this.#ask(this.base);
    if (turn === this.#turn) this.#take(this.from, this.base, answer);
  }

  get #protocol() {
    return this.#page.startsWith("https:") ? "https:" : "http:";
  }

  #ask(base) {
    return ask(base, { page: this.#page, fetch: this.#fetch, limits: this.#limits });
  }

  async #use(from, base) {
    const turn = ++this.#turn;
    if (base !== this.base) this.#set({ from, base, state: "looking", status: null });
    const answer = await this.#ask(base);
    if (turn === this.#turn) this.#take(from, base, answer);
  }

  #take(from, base, { status, problem }) {
    const kept = base === this.base ? this.status : null;
    this.#set({ from, base, state: base === null ? "none" : (problem ?? readiness(status)), status: status ?? kept });
  }

  #set(changed) {
    Object.assign(this, changed);
    const said = JSON.stringify([this.from, this.base, this.state, this.status, this.ignored]);
    if (said === this.#said) return;
    this.#said = said;
    this.dispatchEvent(new Event("change"));
  }
}
