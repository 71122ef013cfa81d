// The epochs of a cluster as a line: who joined and left, and where a certificate stands on it.
import { isGenuine } from "../logic/examine.js";
import { count, isoTime, plural, time } from "../logic/format.js";
import { foreign, h } from "./dom.js";

// Of a long line, as many epochs are shown at each end and on each side of the certificate.
const NEAR = 2;

/** The epochs to show, in order; null in place of those that are left out. `epochs`: of a bundle; `own`: the certificate's. */
export function shownEpochs(epochs, own) {
  const shown = [];
  for (const [place, one] of epochs.entries()) {
    const isNear = place < NEAR || place >= epochs.length - NEAR || Math.abs(one.epoch - own) <= NEAR;
    if (isNear) shown.push(one);
    else if (shown.at(-1) !== null) shown.push(null);
  }
  return shown;
}

const named = (names) => names.flatMap((name, i) => [i > 0 ? ", " : "", foreign(name)]);
const change = (word, names) => (names.length === 0 ? null : h("span", { class: "epoch-change" }, `${word} `, named(names)));

function step({ epoch, members, joined, left, closing }, own) {
  const isOwn = epoch === own;
  const closed = closing === null ? null : h("span", { class: "quiet" }, "closed ", h("time", { datetime: isoTime(closing) }, time(closing)));
  return h(
    "li",
    { class: "epoch", "data-epoch": epoch, "aria-current": isOwn ? "step" : null },
    h("strong", {}, epoch === 0 ? "Founding" : `Epoch ${count(epoch)}`),
    h("span", {}, plural(members, "replica")),
    change("joined:", joined),
    change("left:", left),
    closed,
    isOwn ? h("strong", { class: "epoch-own" }, "this certificate") : null,
  );
}

/** The line of a bundle's epochs, to be unfolded. Null if it has only one. `said`: the content of the bundle. */
export function epochLine(said, report) {
  const { epoch: own, epochs } = said;
  if (epochs.length < 2) return null;
  const steps = shownEpochs(epochs, own).map((one) => (one === null ? h("li", { class: "epoch epoch-gap" }, "…") : step(one, own)));
  return h(
    "details",
    { class: "more", open: true },
    h("summary", {}, `The committees of this cluster: ${plural(epochs.length, "epoch")}`),
    isGenuine(report) ? null : h("p", { class: "quiet" }, "This is what the bundle says. It has not been verified."),
    h("ol", { class: "epochs", role: "list" }, steps),
  );
}
