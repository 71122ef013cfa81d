// Small drawings, all in strokes of the text's colour.
import { svg } from "./dom.js";

const PATHS = {
  check: "M5 12.5 10 17.5 19 7",
  cross: "M6.5 6.5 17.5 17.5M17.5 6.5 6.5 17.5",
  question: "M8.5 9.2a3.6 3.6 0 1 1 5.2 3.2c-1.1.6-1.7 1.3-1.7 2.6M12 18.3v.2",
  dash: "M7 12h10",
  skip: "M6 12h2M11 12h2M16 12h2",
  dot: "M12 12h.01",
  file: "M7 3.5h7l4 4v13H7zM14 3.5v4h4",
  seal: "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0-17M8.2 12.3l2.7 2.7 5-5.4",
  save: "M12 4v11M7.5 11 12 15.5 16.5 11M5 19.5h14",
  chevron: "M7 10l5 5 5-5",
  alert: "M12 4 21 19.5H3zM12 10v4.5M12 16.9v.2",
  up: "M12 19V7M7 11.5 12 6.5 17 11.5M5 4h14",
};

export const icon = (name, props = {}) =>
  svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false", ...props },
    svg("path", { d: PATHS[name] }),
  );

export const VERDICT_ICONS = { valid: "check", invalid: "cross", "cannot-check": "question" };
export const ANSWER_ICONS = { yes: "check", no: "cross", "not-answered": "question" };
export const OUTCOME_ICONS = { passed: "check", failed: "cross", "cannot-check": "question", "not-reached": "dash", waived: "skip" };
