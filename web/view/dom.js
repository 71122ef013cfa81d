// Elements from calls. Text is always text: there is no way in here for markup.

import { printable } from "../logic/format.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** `h("button", { class: "plain", onclick: go }, "Go")`. Properties are attributes; false and null ones are left out. */
export const h = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);

export const svg = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** A text from outside: it can neither act nor reorder what stands around it. */
export const foreign = (text, props = {}) => h("bdi", props, printable(text));

/** The same on one line: the whole is in its title. */
export const cut = (text, props = {}) =>
  h("bdi", { ...props, class: `cut ${props.class ?? ""}`.trim(), title: printable(text) }, printable(text));

/** A key, digest or signature: may break anywhere. */
export const code = (text, props = {}) => h("code", { ...props, class: `key ${props.class ?? ""}`.trim() }, foreign(text));

/** A row of a `dl`. `name` is for programs. */
export const fact = (name, term, value) => h("div", { "data-fact": name }, h("dt", {}, term), h("dd", {}, value));

export const hidden = (text) => h("span", { class: "unseen" }, text);

/** A button whose name tells which of several cards it belongs to. */
export const action = (label, name, onclick, props = {}) =>
  h("button", { type: "button", ...props, class: `button ${props.class ?? ""}`.trim(), onclick }, label, hidden(` ${name}`));

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets attributes, and touches only those that change: screen readers and styles hear of nothing else. */
export function setData(element, data) {
  for (const [name, value] of Object.entries(data)) {
    const text = value === null || value === undefined ? "" : String(value);
    if (element.dataset[name] !== text) element.dataset[name] = text;
  }
}

/** Runs `draw` once before the next picture, however often it is called. A hidden page has no pictures, but has a state. */
export function oncePerFrame(draw) {
  let isAsked = false;
  const run = () => {
    isAsked = false;
    draw();
  };
  return () => {
    if (isAsked) return;
    isAsked = true;
    if (document.visibilityState === "hidden") setTimeout(run, 200);
    else requestAnimationFrame(run);
  };
}

let lastId = 0;
export const freshId = (prefix) => `${prefix}-${++lastId}`;
