// How one put stands: what its progress messages add up to. No DOM, no clock.

/** A member as the picture shows it. */
const STATES = { receiving: "receiving", stored: "stored", voted: "signed", dropped: "dropped" };
/** States in which something is under way that closing the page would end. */
export const ACTIVE = ["hashing", "connecting", "sending", "waiting", "lost"];

export const isActive = ({ state }) => ACTIVE.includes(state);
export const isOver = ({ state }) => state === "certified" || state === "failed" || state === "cancelled";

export function newPut({ name, length }) {
  return { state: "queued", name, length, done: 0, digest: null, cluster: null, quorum: 0, members: [], lost: null, resumedFrom: 0 };
}

/** The next state after a progress message of the package's `put`. What it does not know changes nothing. */
export function advance(put, event) {
  switch (event.stage) {
    case "hashing":
      return { ...put, state: "hashing", done: event.done };
    case "hashed":
      return { ...put, digest: event.digest_base58, length: event.length, done: event.length };
    case "connecting":
      // Of another try it is a part of the wait.
      return put.lost === null ? { ...put, state: "connecting", done: 0 } : { ...put, lost: { ...put.lost, isWaiting: false } };
    case "committee": {
      const members = event.members.map(({ member, name }) => ({ member, name, state: "idle" }));
      return { ...put, cluster: event.cluster, quorum: event.quorum, members };
    }
    case "sending": {
      const total = event.total ?? put.length;
      // Of a try that goes on somewhere, that is told before.
      const resumedFrom = put.lost === null ? put.resumedFrom : 0;
      return { ...put, state: event.done >= total ? "waiting" : "sending", done: event.done, lost: null, resumedFrom };
    }
    case "resuming":
      return { ...put, state: "sending", done: event.offset, lost: null, resumedFrom: event.offset };
    case "lost": {
      const { code, reason } = event;
      return { ...put, state: "lost", lost: { code, reason, isWaiting: true } };
    }
    case "member":
      return withMember(put, event);
    default:
      return put;
  }
}

function withMember(put, { member, state }) {
  const next = STATES[state];
  const at = put.members.findIndex((one) => one.member === member);
  if (next === undefined || at < 0) return put;
  const members = put.members.with(at, { ...put.members[at], state: next });
  return { ...put, members };
}

/** The members once the certificate is there: who is in it signed, whatever the messages said last. */
export function certifiedMembers(put, certificate) {
  const last = new Map(put.members.map(({ member, state }) => [member, state]));
  const stateOf = ({ member, signed }) => (signed ? "signed" : last.get(member) === "dropped" ? "dropped" : "unsigned");
  return certificate.members.map((one) => ({ member: one.member, name: one.name, state: stateOf(one) }));
}

/** How many members got how far. Who signed has stored, too. */
export function tally({ members }) {
  const having = (...states) => members.filter(({ state }) => states.includes(state)).length;
  return { stored: having("stored", "signed"), signed: having("signed"), dropped: having("dropped") };
}
