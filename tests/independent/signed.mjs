// What a committee must have signed, whatever the kind of statement.
import { G1, STATEMENT_DST, decodeKey, decodeSignature, sum, verifySignature } from "./bls.mjs";
import { quorum } from "./committee.mjs";
import { invalid } from "./failure.mjs";
import { encodeStatement } from "./statement.mjs";
import { toHex } from "./text.mjs";

export function checkSigners(certificate, committee) {
  if (certificate.n !== committee.n) throw invalid("another number of members", { expected: `${committee.n}`, got: `${certificate.n}` });
  const threshold = quorum(committee.n);
  if (certificate.signers.length < threshold) throw invalid("too few signers", { expected: `${threshold} of ${committee.n}`, got: `${certificate.signers.length}` });
}

// Returns the statement that was signed.
export function checkSignature(certificate, committee, cluster) {
  const signature = decodeSignature(certificate.signature);
  if (signature === null) throw invalid("the signature is not a valid point", { got: toHex(certificate.signature) });
  const key = sum(G1, certificate.signers.map((i) => decodeKey(committee.members[i].vote)));
  if (key.is0()) throw invalid("the signers' vote keys add up to infinity");
  const { kind, epoch, body } = certificate;
  const statement = encodeStatement({ kind, epoch, cluster, committee: certificate.committee, body });
  if (!verifySignature(signature, statement, key, STATEMENT_DST)) throw invalid("the signature is not the signers' over this statement", { got: toHex(certificate.signature) });
  return statement;
}
