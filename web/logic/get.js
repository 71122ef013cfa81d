// The state of one get: what its progress messages add up to. No DOM, no clock.

export const newGet = () => ({ state: "connecting", from: null, done: 0, total: undefined, lost: null });

/** The next state after a progress message of the package's `get`. An unknown message changes nothing. */
export function advance(get, event) {
  switch (event.stage) {
    case "connecting":
      // Of a retry it is a part of the wait.
      return get.lost === null ? { ...get, state: "connecting" } : { ...get, lost: { ...get.lost, isWaiting: false } };
    case "start":
      // The first total is the member's claim.
      return { ...get, state: "receiving", from: event.name, total: get.total ?? event.length, lost: null };
    case "receiving":
      return { ...get, state: "receiving", done: event.done, total: event.total };
    case "rejected":
      return { ...get, state: "connecting" };
    case "lost": {
      const { code, reason } = event;
      return { ...get, state: "lost", lost: { code, reason, isWaiting: true } };
    }
    default:
      return get;
  }
}
