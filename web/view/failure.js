// Why a put, a get or a verification ended without its result, as an element.
import { isAllowedUnasked } from "../logic/address.js";
import { explain } from "../logic/words.js";
import { problem } from "./card.js";
import { code, foreign, h } from "./dom.js";

const originHint = (origin) =>
  h("p", {}, "Ask its operator to start it with ", h("code", { class: "command" }, `--allow-origin ${origin}`), ". Then retry.");

const TRUST = {
  refused: ["the server shows another identity than the one you trust", "See the warning at the top of the page."],
  malformed: ["the address of this page names a cluster that cannot be", "See the warning at the top of the page."],
};
const SERVER = {
  none: ["there is no server", "Enter a server's address at the top of the page. Then retry."],
  unreachable: ["the server cannot be reached", "Retry when it is back."],
  "not-vouch": ["something else than a Vouch server answers", "Is the server's address right?"],
  "no-verifier": ["the verifier could not be loaded", "Reload the page, or use another browser."],
  mixed: ["an encrypted page may not use a server that is not", "Open the page from the server itself, or use a server with https."],
};

/**
 * What is in the way before anything begins, as an element, or null: a file may take minutes to hash, and all in vain. `nothing`
 * says what did not happen: "Nothing was sent".
 */
export async function obstacle({ trust, server, origin, settled }, nothing) {
  await settled();
  const { state } = trust.decision;
  const told = (code, [why, advice], extra = []) => problem({ title: `${nothing}: ${why}.`, advice, code }, { extra });
  if (state in TRUST) return told("trust", TRUST[state]);
  if (server.state === "not-allowed") return told("origin", ["the server accepts no links from this page", ""], [originHint(origin)]);
  if (server.state in SERVER) return told(server.state === "unreachable" ? "connection" : "server", SERVER[server.state]);
  return null;
}

/** A link that never came to be, to a server that answers: it does not like where the page comes from. */
export async function diagnose(error, wasHeard, { server, origin }) {
  if (error.code !== "connection") return error;
  await server.refresh();
  if (!wasHeard && ["ready", "waiting", "not-allowed"].includes(server.state) && !isAllowedUnasked(origin, server.base))
    error.code = "origin";
  return error;
}

/** `origin`: the page's, for a server that refuses it. */
export function failure(error, { isSending = false, origin } = {}) {
  const told = explain(error, { isSending });
  const details = [];
  if (error.members?.length > 0)
    details.push(
      h(
        "p",
        {},
        "Concerned: ",
        error.members.flatMap((name, at) => [at === 0 ? "" : ", ", foreign(name)]),
        ".",
      ),
    );
  if (error.expected !== null && error.expected !== undefined) {
    details.push(
      h(
        "dl",
        { class: "comparison" },
        h("div", {}, h("dt", {}, "expected"), h("dd", { "data-field": "expected" }, code(error.expected))),
        h("div", {}, h("dt", {}, "got"), h("dd", { "data-field": "got" }, code(error.got))),
      ),
    );
  }
  if (told.code !== "origin" && error.message) details.push(h("p", { class: "quiet" }, foreign(error.message)));
  return problem(told, { details, extra: told.code === "origin" ? [originHint(origin)] : [] });
}
