// The worked example in the specification: the certificate and the genesis committee of case "n4", field by field.
import { blake3 } from "@noble/hashes/blake3.js";
import { encodeReceipt } from "../../independent/certificate.mjs";
import { statementIdentity } from "../../independent/statement.mjs";
import { toBase58, toHex } from "../../independent/text.mjs";
import { EXPIRES, ISSUED, baseCertificate, committeeNamed, fileOf, singleNamed } from "./world.mjs";

const BEGIN = /<!-- example:begin[^\n]*-->\n/;
const END = "<!-- example:end -->";

const date = (seconds) => new Date(seconds * 1000).toISOString().replace(".000", "");

// Cuts `bytes` into the fields given as [size, name, decoded value]; they must cover it exactly.
function table(bytes, fields) {
  let at = 0;
  const rows = fields.map(([size, name, value]) => {
    const row = [`${at}`, toHex(bytes.slice(at, at + size)), name, value];
    at += size;
    return row;
  });
  if (at !== bytes.length) throw new Error(`the fields cover ${at} of ${bytes.length} bytes`);
  const width = Math.max(...rows.map(([, , name]) => name.length));
  return rows.map(([offset, hex, name, value]) => `${offset.padStart(4)}  ${name.padEnd(width)}  ${hex}${value === undefined ? "" : `  = ${value}`}`.trimEnd()).join("\n");
}

function certificateTable(certificate, receipt, committee) {
  return table(certificate, [
    [5, "tag", '"vouch"'],
    [1, "version", "1"],
    [2, "statement kind", "1, stored"],
    [8, "epoch", "0"],
    [32, "committee digest", toBase58(committee.digest)],
    [8, "issued_at", `${ISSUED}, ${date(ISSUED)}`],
    [4, "count", "1"],
    [4, "index", "0"],
    [1, "receipt kind", "1, whole blob"],
    [16, "salt"],
    [32, "digest", toBase58(receipt.digest)],
    [8, "length", `${receipt.length}`],
    [8, "expires_at", `${EXPIRES}, ${date(EXPIRES)}`],
    [2, "n", "4"],
    [1, "bitmap", "members 0, 1 and 3"],
    [96, "signature"],
  ]);
}

function committeeTable(committee) {
  const members = committee.members.flatMap(({ name }, i) => [
    [32, `node key ${i}`],
    [48, `vote key ${i}`],
    [24, `name ${i}`, JSON.stringify(name)],
  ]);
  return table(committee.encoding, [
    [7, "tag", '"vouchcm"'],
    [1, "version", "1"],
    [8, "epoch", "0"],
    [32, "cluster", "none, a genesis"],
    [32, "previous committee", "none, a genesis"],
    [16, "genesis nonce"],
    [1, "policy", "0, open"],
    [1, "fault rule", "1"],
    [2, "n", "4"],
    [48, "operator key", "none"],
    ...members,
  ]);
}

function statementTable(batch) {
  return table(batch.statement, [
    [1, "first byte"],
    [15, "tag", '"vouch/statement"'],
    [2, "version", "1"],
    [2, "kind", "1, stored"],
    [4, "body length", "44"],
    [8, "epoch", "0"],
    [32, "cluster identity"],
    [32, "committee digest", "the same, in epoch 0"],
    [8, "issued_at"],
    [4, "count", "1"],
    [32, "root", "the receipt's leaf hash"],
  ]);
}

function example() {
  const batch = singleNamed("n4");
  const { committee } = batch;
  const [receipt] = batch.receipts;
  const certificate = baseCertificate("n4");
  const file = fileOf("n4");
  if (toHex(blake3(file)) !== toHex(receipt.digest) || encodeReceipt(receipt).length !== 65) throw new Error("the example is not about its file");
  const fence = (body) => `\`\`\`text\n${body}\n\`\`\`\n`;
  const shown = new TextDecoder().decode(file).trimEnd();
  return [
    fence(certificateTable(certificate, receipt, committee)),
    `The file is the ${file.length} bytes \`${shown}\` and a line feed. The members sign these ${batch.statement.length} bytes; the statement`,
    `identity is \`${toHex(statementIdentity(batch.statement))}\`:\n`,
    fence(statementTable(batch)),
    "<details>",
    `<summary>The genesis committee, ${committee.encoding.length} bytes, and its proofs of possession</summary>\n`,
    `Its digest is the cluster's identity, \`${toBase58(committee.digest)}\`,`,
    `in hex \`${toHex(committee.digest)}\`.\n`,
    fence(committeeTable(committee)),
    "The proofs of possession, in member order:\n",
    fence(committee.pops.map(toBase58).join("\n")),
    "</details>\n",
  ].join("\n");
}

export function withExample(page) {
  const begin = BEGIN.exec(page);
  const end = page.indexOf(END);
  if (begin === null || end < begin.index) throw new Error("the specification has no place for the example");
  return page.slice(0, begin.index) + begin[0] + example() + page.slice(end);
}
