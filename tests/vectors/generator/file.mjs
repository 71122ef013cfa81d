// A vector file: named bases, and cases with the expected answers of the verifier.
import { toBase58, toBase64url } from "../../independent/text.mjs";
import { NOW, baseCertificate, bundleObject, singleNamed } from "./world.mjs";

const FORMAT =
  " Each case says the verdict, the check that decides, and the answers to the three questions: `genuine`, `matches`, `in_force`." +
  " `times`: the times that the deciding check compared, in seconds since 1970." +
  " A case gives its bundle as `bundle` (text), as `bundle_base64` (raw bytes), or as the name of a text in `bases`: then" +
  " parse that, replace its certificate, genesis.committee (`committee`) and genesis.pops (`pops`) where the case has them, and" +
  " serialise it compactly. `fill`: put `text` as many `times` in place of FILL. `pad_to`: append spaces up to that many bytes.";

const IN_FORCE = ["time", "expiry"];
const MATCHES = ["digest", "length"];

// The answers implied by the deciding check; a case states the others itself. If the certificate is not genuine,
// no other question is answered; with expiry waived, the question whether it is in force is not asked.
function answers({ verdict, check, waived }) {
  const not = verdict === "invalid" ? "no" : "not-answered";
  const inForce = waived ? "not-answered" : "yes";
  if (check === null) return { genuine: "yes", matches: "yes", in_force: inForce };
  if (MATCHES.includes(check)) return { genuine: "yes", matches: not, in_force: inForce };
  if (IN_FORCE.includes(check)) return { genuine: "yes", matches: "yes", in_force: not };
  return { genuine: not, matches: "not-answered", in_force: "not-answered" };
}

export class VectorFile {
  constructor(description) {
    this.description = description + FORMAT;
    this.bases = {};
    this.cases = [];
    this.names = new Set();
  }

  // The default question about a base's certificate.
  static question(batch, index = 0) {
    const { digest, length } = batch.receipts[index];
    return { cluster: toBase58(batch.committee.digest), digest: toBase58(digest), length, now: NOW, waive_expiry: false };
  }

  base(name) {
    this.bases[name] ??= JSON.stringify(bundleObject(singleNamed(name).committee, baseCertificate(name)));
  }

  add(name, about, fields, verdict, check = null) {
    if (this.names.has(name)) throw new Error(`two cases are named ${name}`);
    this.names.add(name);
    const { certificate, committee, pops, times, answers: told = {}, ...rest } = fields;
    this.cases.push({
      name,
      about,
      ...rest,
      ...(certificate && { certificate: toBase64url(certificate) }),
      ...(committee && { committee: toBase64url(committee) }),
      ...(pops && { pops: pops.map(toBase58) }),
      verdict,
      check,
      ...(times && { times }),
      ...answers({ verdict, check, waived: rest.waive_expiry }),
      ...told,
    });
  }

  // A case on one of the shared bases.
  on(base, name, about, fields, verdict, check = null) {
    this.base(base);
    this.add(name, about, { base, ...VectorFile.question(singleNamed(base)), ...fields }, verdict, check);
  }

  // A case with its own committee: certificate, committee and PoPs are all replaced.
  of(batch, name, about, { index = 0, certificate, pops, ...fields }, verdict, check = null) {
    this.base("n1");
    const { committee } = batch;
    const replaced = { certificate: certificate ?? batch.certify(index), committee: committee.encoding, pops: pops ?? committee.pops };
    this.add(name, about, { base: "n1", ...VectorFile.question(batch, index), ...replaced, ...fields }, verdict, check);
  }

  // One case per line, so that a diff shows the changed cases.
  toString() {
    const lines = (items) => items.map((item) => `\n    ${item}`).join(",") + (items.length > 0 ? "\n  " : "");
    const bases = Object.entries(this.bases).map(([name, text]) => `${JSON.stringify(name)}: ${JSON.stringify(text)}`);
    const cases = this.cases.map((one) => JSON.stringify(one));
    return `{\n  "description": ${JSON.stringify(this.description)},\n  "bases": {${lines(bases)}},\n  "cases": [${lines(cases)}]\n}\n`;
  }
}
