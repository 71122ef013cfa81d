// Verifies the certificate of the module's sample, in Node.js and in Chromium alike.

/** A function that verifies it once more, and says whether the verdict is "valid". */
export function verifying(wasm, sample) {
  const verifier = new wasm.Verifier();
  const [bundle, cluster, digest, now] = [new TextEncoder().encode(sample.bundle()), sample.cluster(), sample.digest(), sample.now()];
  return () => {
    const judged = verifier.judge(bundle, cluster, now, false);
    judged.holdAgainst(digest, 5);
    const isValid = judged.report().startsWith('{"verdict":"valid"');
    judged.free();
    return isValid;
  };
}
