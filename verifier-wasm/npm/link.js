// A WebSocket to a server, with its deadlines and errors.

// What an error means for a retry, as the core names it.
const faults = new WeakMap();
export const faultOf = (error) => faults.get(error) ?? "local";

/** Why a put or a get ended without its result. */
export class ServerError extends Error {
  constructor({ code, message, reason = null, check = null, subject = null, expected = null, got = null, members = [], can_retry = false, fault = "permanent", errors = [] }) {
    super(message);
    this.name = "ServerError";
    faults.set(this, fault);
    Object.assign(this, { code, reason, check, subject, expected, got, members, canRetry: can_retry, errors });
  }
}

export const PROTOCOL = "vouch.v1";
const PATH = "v1/link";

const lost = (message) => new ServerError({ code: "connection", message, can_retry: true, fault: "link" });

// The WebSocket's address for `host:port`, or for a URL whose path is a prefix.
export function linkAddress(server) {
  const text = String(server).trim();
  const refuse = () => new TypeError(`server: expected HOST:PORT or a URL with http, https, ws or wss, got ${JSON.stringify(text)}`);
  if (text === "") throw refuse();
  let url;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `ws://${text}`);
  } catch {
    throw refuse();
  }
  const scheme = { "http:": "ws:", "ws:": "ws:", "https:": "wss:", "wss:": "wss:" }[url.protocol];
  if (scheme === undefined || url.hostname === "" || url.username !== "" || url.password !== "") throw refuse();
  const prefix = url.pathname.endsWith("/") ? url.pathname : `${url.pathname}/`;
  return `${scheme}//${url.host}${prefix}${PATH}`;
}

// Opens a socket. `link.ended` rejects if the socket is lost, aborted, or sends nothing for too long; it never fulfils. The core gives the
// times, in milliseconds. `connectDeadline`: maximum time to open the socket. `writeDeadline`: maximum time for which buffered bytes may not leave;
// then the server does not read, or the network is gone. `checkInterval`: time between two checks of the deadlines.
export async function openLink(openSocket, address, { connectDeadline, writeDeadline, checkInterval }, signal) {
  signal?.throwIfAborted();
  const socket = await openSocket(address);
  let end;
  const ended = new Promise((_, reject) => (end = reject));
  ended.catch(() => {}); // no unhandled rejection; callers await `ended` themselves
  let session; // has its own deadline for each phase
  let moved = performance.now();
  let waiting = 0;
  const checks = setInterval(() => {
    const buffered = socket.bufferedAmount;
    if (buffered !== waiting) moved = performance.now();
    waiting = buffered;
    const still = performance.now() - moved;
    if (waiting > 0 && still > writeDeadline) end(lost(`the server took nothing for ${writeDeadline / 1000} s; try again`));
    session?.checkDeadlines(performance.now());
  }, checkInterval);
  const onAbort = () => end(signal.reason);
  signal?.addEventListener("abort", onAbort);

  const link = {
    socket,
    ended,
    // Watches the progress of this session from now on.
    watch: (begun) => (session = begun),
    close() {
      clearInterval(checks);
      signal?.removeEventListener("abort", onAbort);
      if (socket.readyState < 2) socket.close(1000);
    },
  };
  try {
    await Promise.race([opened(socket, address, connectDeadline), ended]);
  } catch (error) {
    link.close();
    throw error;
  }
  socket.addEventListener("close", ({ reason }) => end(lost(`the connection to the server was lost${reason ? `: ${reason}` : ""}; try again`)));
  return link;
}

function opened(socket, address, deadline) {
  return new Promise((resolve, reject) => {
    const { host } = new URL(address);
    const late = setTimeout(() => reject(lost(`${host} did not answer within ${deadline / 1000} s; try again`)), deadline);
    const settle = (result) => {
      clearTimeout(late);
      result();
    };
    socket.addEventListener("open", () => settle(resolve), { once: true });
    // Browsers do not reveal the reason.
    const refused = () => settle(() => reject(lost(`cannot open a link to ${host}: is a server running there, and does it allow this page?`)));
    socket.addEventListener("error", refused, { once: true });
    socket.addEventListener("close", refused, { once: true });
  });
}
