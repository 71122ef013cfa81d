// Which of the files that a person gave is the one to check, and which is its bundle.

const SUFFIX = ".vouch";
// What a bundle is of, by its media type.
const MEDIA_TYPE = /^application\/vnd\.vouch\.([a-z-]+)/;
const KINDS = { bundle: "file", "op-proof": "op", "log-head": "head", "log-block": "block", evidence: "evidence", fork: "evidence" };
// A bundle that is damaged beyond parsing still says near its start what it is.
const TYPE_IN_TEXT = /"type"\s*:\s*"(application\/vnd\.vouch\.[a-z-]+)/;

export const isNamedBundle = (name) => name.toLowerCase().endsWith(SUFFIX);
export const withoutSuffix = (name) => (isNamedBundle(name) && name.length > SUFFIX.length ? name.slice(0, -SUFFIX.length) : name);
export const bundleName = (name) => `${name}${SUFFIX}`;

/**
 * What a text says that it is a bundle of, whether or not it is a good one: "file", "op", "head", "block" or "evidence"; null if it is no
 * JSON that says so.
 */
export function bundleKind(text) {
  if (!/^[\ufeff\s]*\{/.test(text)) return null;
  const [, name] = MEDIA_TYPE.exec(claimedType(text)) ?? [];
  return Object.hasOwn(KINDS, name) ? KINDS[name] : null;
}

function claimedType(text) {
  try {
    const { type } = JSON.parse(text);
    return typeof type === "string" ? type : "";
  } catch {
    return TYPE_IN_TEXT.exec(text)?.[1] ?? "";
  }
}

/** Whether it is a bundle of the log, which needs no file. `one` is a given file or null. */
export const isOfLog = (one) => ["op", "head", "block"].includes(one?.kind);

/** Whether the two belong together by name: report.pdf and report.pdf.vouch, also "report.pdf (1).vouch" of a second download. */
export function isPair(file, bundle) {
  if (!isNamedBundle(bundle)) return false;
  const name = withoutSuffix(bundle);
  return name === file || name.replace(/ ?\([0-9]+\)$/, "") === file;
}

/**
 * Places one or two `given` files, each `{ name, isBundle, kind }`, beside what is there: `{ file, bundle }`, each such a file or null.
 * `kind` is that of `bundleKind`. `isJudged`: the two there had their verdict, so an unrelated file begins a new question.
 * Answers `{ file, bundle, notice }`, notice being null, "neither", "both", "too-many", "of-log" or "evidence".
 */
export function place(there, given, isJudged) {
  // A bundle of the log is a question of its own. It may also be the file that another bundle certifies.
  const isOver = isOfLog(there.bundle) && !given.some(({ name }) => isPair(there.bundle.name, name));
  const { file, bundle, notice } = placeBeside(isOver ? { file: null, bundle: null } : there, given, isJudged);
  if (bundle?.kind === "evidence") return { ...there, notice: "evidence" };
  if (file === null || !isOfLog(bundle)) return { file, bundle, notice };
  return given.length === 2 ? { ...there, notice: "of-log" } : { file: null, bundle, notice };
}

function placeBeside({ file, bundle }, given, isJudged) {
  if (given.length === 0) return { file, bundle, notice: null };
  if (given.length > 2) return { file, bundle, notice: "too-many" };
  if (given.length === 2) return placeTwo({ file, bundle }, given);
  const [one] = given;
  // A name is enough where a bundle is missing: what it holds is for the verifier to judge.
  const isBundle = one.isBundle || (isNamedBundle(one.name) && (bundle === null || file !== null));
  if (isBundle) {
    // A second bundle, named after the first, was made of the first.
    if (file === null && bundle !== null && isPair(bundle.name, one.name)) return { file: bundle, bundle: one, notice: null };
    if (file === null && bundle !== null && isPair(one.name, bundle.name)) return { file: one, bundle, notice: null };
    const keepsFile = file !== null && (!isJudged || isPair(file.name, one.name));
    return { file: keepsFile ? file : null, bundle: one, notice: null };
  }
  const keepsBundle = bundle !== null && (!isJudged || isPair(one.name, bundle.name));
  return { file: one, bundle: keepsBundle ? bundle : null, notice: null };
}

function placeTwo(there, given) {
  const [first, second] = given;
  const bundles = given.filter(({ isBundle }) => isBundle);
  if (bundles.length === 1) return { bundle: bundles[0], file: given.find((one) => one !== bundles[0]), notice: null };
  // A bundle is a file like any other and may have been certified itself: names decide, or nothing does.
  if (isPair(first.name, second.name)) return { file: first, bundle: second, notice: null };
  if (isPair(second.name, first.name)) return { file: second, bundle: first, notice: null };
  if (bundles.length === 2) return { ...there, notice: "both" };
  const named = given.filter(({ name }) => isNamedBundle(name));
  if (named.length === 1) return { bundle: named[0], file: given.find((one) => one !== named[0]), notice: null };
  return { ...there, notice: "neither" };
}
