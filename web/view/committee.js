// The committee as a picture: who has signed, and how many are needed. A ring for small ones, a grid for large ones, and
// beside either a list that says the same in words.
import { count, shortened } from "../logic/format.js";
import { MEMBER_STATES } from "../logic/words.js";
import { cut, h, setData, setText, svg } from "./dom.js";
import { icon } from "./icons.js";

const MOST_IN_RING = 24;
const MOST_WITH_NAMES = 8;
const RING = 84;
const ARC = 57;
const TURN = 2 * Math.PI;

/** What counts towards the quorum, in words: members with one of these states. */
const COUNTED = { signed: ["signed"], claimed: ["claimed"], connected: ["connected"] };

const at = (angle, radius) => [Math.cos(angle) * radius, Math.sin(angle) * radius];
const fixed = (value) => value.toFixed(2);

// Glyphs on a field of 24 by 24; a node shows the one of its state.
const GLYPHS = { receiving: "up", stored: "dot", signed: "check", claimed: "question", dropped: "cross", connected: "dot", absent: "cross" };

function glyphs() {
  return Object.entries(GLYPHS).map(([state, name]) => icon(name, { class: `glyph glyph-${state}`, x: -9, y: -9, width: 18, height: 18 }));
}

function label(name, angle) {
  const [x, y] = at(angle, RING + 20);
  const side = Math.abs(Math.cos(angle)) < 0.2 ? "middle" : Math.cos(angle) > 0 ? "start" : "end";
  const text = svg("text", {
    class: "node-name",
    x: fixed(x),
    y: fixed(y + 4 + (side === "middle" ? 4 * Math.sign(y) : 0)),
    "text-anchor": side,
  });
  text.textContent = shortened(name, 12);
  return text;
}

function ring(members, quorum) {
  const n = members.length;
  const hasNames = n <= MOST_WITH_NAMES;
  // With few members half a step aside: names in the corners have more room than at the sides.
  const angleOf = (index) => -Math.PI / 2 + ((index + (hasNames ? 0.5 : 0)) / n) * TURN;
  const size = n > 16 ? 9 : n > 12 ? 10.5 : 13;
  const nodes = members.map((_, index) => {
    const [x, y] = at(angleOf(index), RING);
    const place = `translate(${fixed(x)} ${fixed(y)}) scale(${fixed(size / 12)})`;
    return svg("g", { class: "node", transform: place }, svg("circle", { r: 12 }), ...glyphs());
  });
  const names = hasNames ? members.map(({ name }, index) => label(name, angleOf(index))) : [];
  const markAngle = -Math.PI / 2 + (quorum / n) * TURN;
  const [x1, y1] = at(markAngle, ARC - 8);
  const [x2, y2] = at(markAngle, ARC + 8);
  const arc = svg("circle", { class: "arc", r: ARC, pathLength: n, "stroke-dasharray": `0 ${n}`, transform: "rotate(-90)" });
  const figure = svg("text", { class: "ring-count", y: -3, "text-anchor": "middle" });
  const word = svg("text", { class: "ring-word", y: 16, "text-anchor": "middle" });
  const needed = svg("text", { class: "ring-word", y: 32, "text-anchor": "middle" });
  const box = hasNames ? "-170 -112 340 224" : "-102 -102 204 204";
  const picture = svg(
    "svg",
    { class: `ring ${hasNames ? "ring-named" : ""}`, viewBox: box, "aria-hidden": "true", focusable: "false" },
    svg("circle", { class: "track", r: ARC }),
    arc,
    svg("line", { class: "mark", x1: fixed(x1), y1: fixed(y1), x2: fixed(x2), y2: fixed(y2) }),
    nodes,
    names,
    figure,
    word,
    needed,
  );
  const show = (counted, of) => {
    arc.setAttribute("stroke-dasharray", `${counted} ${n}`);
    arc.classList.toggle("none", counted === 0);
    setText(figure, `${count(counted)} of ${count(n)}`);
    setText(word, of);
    setText(needed, `${count(quorum)} needed`);
  };
  return { picture, nodes, show };
}

function grid(members, quorum) {
  const n = members.length;
  const nodes = members.map(({ name }) => h("i", { class: "cell", title: name }));
  const bar = svg("rect", { class: "bar-fill", width: 0, height: 10 });
  const figure = h("strong", { class: "grid-count" });
  const mark = { class: "mark", x1: quorum, x2: quorum, y1: 0, y2: 10 };
  const picture = h(
    "div",
    { class: "grid-picture", "aria-hidden": "true" },
    figure,
    svg(
      "svg",
      { class: "bar", viewBox: `0 0 ${n} 10`, preserveAspectRatio: "none" },
      svg("rect", { class: "bar-track", width: n, height: 10 }),
      bar,
      svg("line", mark),
    ),
    h("div", { class: "cells" }, nodes),
  );
  const show = (counted, of) => {
    bar.setAttribute("width", String(counted));
    setText(figure, `${count(counted)} of ${count(n)} ${of}, ${count(quorum)} needed`);
  };
  return { picture, nodes, show };
}

/** The same in words: one line per member. */
function lines(members) {
  const rows = members.map(({ member, name }) => {
    const word = h("span", { class: "member-state" });
    const cell = h("i", { class: "cell", "aria-hidden": "true" });
    return { row: h("li", { class: "member", "data-member": member }, cell, cut(name, { class: "member-name" }), " ", word), word };
  });
  const kind = members.length > MOST_WITH_NAMES ? "members many" : "members";
  // Styled lists lose their role in Safari unless it is said.
  const list = h(
    "ul",
    { class: kind, role: "list", "aria-label": "Replicas" },
    rows.map(({ row }) => row),
  );
  const show = (index, state) => {
    setData(rows[index].row, { state });
    setText(rows[index].word, MEMBER_STATES[state]);
  };
  return { list, show };
}

export class Committee {
  #shape = "";
  #members = [];
  #states = []; // as drawn
  #parts = null;
  #lines = null;
  #caption = h("figcaption", { class: "unseen" });
  element = h("figure", { class: "committee" });

  /**
   * `members`: [{ member, name, state }]; `counts`: "signed", "claimed" or "connected", what the quorum is needed of. `isVerified`: the
   * signature that says so was verified here. Nothing of the picture is green before, whatever the server says.
   */
  update({ members, quorum, counts = "signed", isVerified = false }) {
    this.#members = members;
    const shape = JSON.stringify([quorum, members.map(({ member, name }) => [member, name])]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#build(quorum);
    }
    members.forEach(({ state }, index) => {
      if (this.#states[index] === state) return;
      this.#states[index] = state;
      setData(this.#parts.nodes[index], { state });
      this.#lines?.show(index, state);
    });
    const counted = members.filter(({ state }) => COUNTED[counts].includes(state)).length;
    setData(this.element, { [counts]: counted, quorum, members: members.length, reached: counted >= quorum, verified: isVerified });
    this.#parts.show(counted, counts);
    setText(this.#caption, `Committee: ${counted} of ${members.length} ${counts}, ${quorum} needed`);
  }

  #build(quorum) {
    const isRing = this.#members.length <= MOST_IN_RING;
    this.#parts = isRing ? ring(this.#members, quorum) : grid(this.#members, quorum);
    this.#states = [];
    this.#lines = isRing ? lines(this.#members) : null;
    setData(this.element, { shape: isRing ? "ring" : "grid" });
    this.element.replaceChildren(this.#parts.picture, isRing ? this.#lines.list : this.#folded(), this.#caption);
  }

  // The list of a large committee is only made when somebody looks: it takes longer than all the rest.
  #folded() {
    const details = h("details", { class: "more" }, h("summary", {}, `All ${count(this.#members.length)} replicas by name`));
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      this.#lines = lines(this.#members);
      this.#states.forEach((state, index) => this.#lines.show(index, state));
      details.append(this.#lines.list);
    });
    return details;
  }
}
