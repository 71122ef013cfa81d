// Forged bundles made from a valid one, and valid bundles by a committee whose keys the tests have.
import { NEVER, digestOf } from "../../independent/bytes.mjs";
import { decodeBundle } from "../../independent/bundle.mjs";
import { decodeCertificate, encodeBitmap, encodeCertificate, encodeReceipt } from "../../independent/certificate.mjs";
import { fromBase64url, toBase64url } from "../../independent/text.mjs";
import { bundleObject, makeBatch, saltOf } from "../../vectors/generator/world.mjs";
import { honest } from "./lying_server.mjs";

/** The decoded certificate of a bundle. */
export const certificateOf = (text) => decodeCertificate(decodeBundle(Buffer.from(text)).certificate);

/** The bundle with its certificate altered: `change` gets the decoded certificate and returns the changed fields. */
export function altered(text, change) {
  const bundle = JSON.parse(text);
  const certificate = decodeCertificate(fromBase64url(bundle.certificate));
  const { receipt = {}, signers = certificate.signers, ...fields } = change(certificate);
  const encoded = encodeCertificate({
    ...certificate,
    bitmap: encodeBitmap(signers, certificate.n),
    receipt: encodeReceipt({ ...certificate.receipt, ...receipt }),
    ...fields,
  });
  return JSON.stringify({ ...bundle, certificate: toBase64url(encoded) });
}

/** A valid bundle for these bytes, by the committee of `lying_server.mjs`. */
export function bundleFor(bytes, { issuedAt = Math.floor(Date.now() / 1000), expiresAt = NEVER, committee = honest } = {}) {
  const receipt = { salt: saltOf("page"), digest: digestOf(bytes), length: bytes.length, expiresAt };
  return JSON.stringify(bundleObject(committee, makeBatch(committee, [receipt], { issuedAt }).certify()));
}
