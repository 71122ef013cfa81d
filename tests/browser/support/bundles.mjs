// Forged bundles made from a valid one, and valid bundles by a committee whose keys the tests have.
import { NEVER, digestOf } from "../../independent/bytes.mjs";
import { decodeBundle } from "../../independent/bundle.mjs";
import { decodeCertificate, encodeBitmap, encodeCertificate, encodeReceipt } from "../../independent/certificate.mjs";
import { fromBase64url, toBase64url } from "../../independent/text.mjs";
import { bundleObject, makeBatch, saltOf } from "../../vectors/generator/world.mjs";
import { Cluster } from "../../vectors/generator/epoch_bundles.mjs";
import { makeEpochs } from "../../vectors/generator/epochs.mjs";
import { fileOf } from "../../vectors/generator/world.mjs";
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

/** A file that was certified in epoch 0 of a cluster, its bundle after the cluster reached epoch 12, and the cluster's identity. */
export function certifiedLongAgo() {
  const cluster = new Cluster(makeEpochs("long ago", [1, 4, 4, 5, 5, 4, 4, 7, 7, 7, 7, 6, 4], [1, ...Array(12).fill(0)], { receipt: { expiresAt: NEVER } }));
  const { certificate } = cluster.certified(0);
  return { bytes: fileOf("long ago 0/0"), bundle: JSON.stringify(cluster.bundle(certificate, { links: cluster.links(0, 12) })), identity: cluster.identity };
}
