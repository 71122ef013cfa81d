// Accessibility, by axe-core.
import assert from "node:assert/strict";
import axe from "axe-core";

/** Asserts that the page's current state has no serious or critical finding. `rules`: the rules to apply, if not all. */
export async function checkAccessibility(page, state, rules) {
  await page.evaluate(axe.source);
  const findings = await page.evaluate(async (runOnly) => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"], ...(runOnly && { runOnly }) });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, impact, nodes }) => nodes.map(({ target, failureSummary }) => `${impact} ${id}: ${target.join(" ")}: ${failureSummary}`));
  }, rules);
  assert.deepEqual(findings, [], state);
}
