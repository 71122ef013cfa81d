// Which verifier the page runs: the hashes of the modules that it compiled, and how far to believe them.
import { code, fact, h } from "./dom.js";

const NO_HASH = "This browser hashes only on pages over https, from this machine, or opened from a file.";

function rows(modules) {
  return modules.map(({ name, sha256 }) => fact(name, name, sha256 === null ? NO_HASH : code(sha256)));
}

/** Fills `place`. `advice`: what to rely on in place of what this page says. The hashes are asked for when they are shown first. */
export function showModules(engine, place, advice) {
  const list = h("dl", { class: "modules" }, h("div", {}, h("dt", {}, "loading")));
  const details = h(
    "details",
    { class: "verifier" },
    h("summary", {}, "The verifier that this page runs"),
    h("p", {}, "SHA-256 of the WebAssembly modules, computed here from the very bytes that were compiled:"),
    list,
    h("p", {}, "Compare them with what ", h("code", { class: "command" }, "make verifier-hash"), " prints in the source code. ", ...advice),
  );
  const show = async () => {
    try {
      list.replaceChildren(...rows(await engine.run("modules", {})));
      list.dataset.known = "";
    } catch (error) {
      list.replaceChildren(fact("failed", "not loaded", error.message)); // asked again the next time it is opened
    }
  };
  details.addEventListener("toggle", () => {
    if (details.open && list.dataset.known === undefined) void show();
  });
  place.replaceChildren(details);
}
