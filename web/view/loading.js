// Whether the verifier works in this browser at all: without it the page can do nothing, and says so.
import { explain } from "../logic/words.js";
import { foreign, h } from "./dom.js";
import { icon } from "./icons.js";

// Any identity will do.
const SOME = "1".repeat(32);

/**
 * Loads the verifier. Answers `normalize(text)`, which brings an identity into its usual form, and `decide(known)`, the package's
 * `decideTrust`, and its `limits()`; all wait until it is loaded. What keeps it from being loaded is shown in `place`.
 */
export function loadVerifier(engine, place) {
  const loaded = engine.run("normalize", { text: SOME }).catch((error) => {
    const { advice } = explain({ code: "browser" });
    place.append(
      h(
        "div",
        { class: "alert severe", role: "alert", "data-alert": "verifier" },
        icon("alert"),
        h(
          "div",
          { class: "alert-text" },
          h("h2", {}, "The verifier could not be loaded"),
          h(
            "p",
            {},
            `Nothing can be done without it. Reload the page. It does not run in every browser: ${advice[0].toLowerCase()}${advice.slice(1)}`,
          ),
          h("p", { class: "quiet" }, foreign(error.message)),
        ),
      ),
    );
    throw Object.assign(new Error(error.message), { code: "browser" });
  });
  loaded.catch(() => {}); // said above
  const once = async (task, args) => {
    await loaded;
    return engine.run(task, args);
  };
  // Kept once they are known: a failure, for example without a network, is tried again.
  let limits = null;
  return {
    normalize: (text) => once("normalize", { text }),
    decide: (known) => once("decide", { known }),
    limits: async () => (limits ??= await once("limits", {})),
  };
}
