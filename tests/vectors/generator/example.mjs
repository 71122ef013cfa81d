// The worked examples in the specification, field by field: the certificate and the genesis committee of case "n4", a proof of an op, and what links later
// committees.
import { blake3 } from "@noble/hashes/blake3.js";
import { encodeReceipt } from "../../independent/certificate.mjs";
import { encodeSealPath } from "../../independent/epochs.mjs";
import { statementIdentity } from "../../independent/statement.mjs";
import { toBase58, toHex } from "../../independent/text.mjs";
import { theEpochs } from "./epochs.mjs";
import { certifyHead, headOf, headStatement, proofOf, theLog } from "./log_world.mjs";
import { EXPIRES, ISSUED, baseCertificate, committeeNamed, fileOf, singleNamed } from "./world.mjs";

const BEGIN = /<!-- example:begin[^\n]*-->\n/;
const END = "<!-- example:end -->";
const LOG_BEGIN = /<!-- log-example:begin[^\n]*-->\n/;
const LOG_END = "<!-- log-example:end -->";
const EPOCHS_BEGIN = /<!-- epochs-example:begin[^\n]*-->\n/;
const EPOCHS_END = "<!-- epochs-example:end -->";

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

// A certificate, with the fields of its claim between those that every kind has.
function certificateOf(certificate, { kind, epoch, committee, n, signers }, claim) {
  return table(certificate, [
    [5, "tag", '"vouch"'],
    [1, "version", "1"],
    [2, "statement kind", kind],
    [8, "epoch", `${epoch}`],
    [32, "committee digest", toBase58(committee.digest)],
    ...claim,
    [2, "n", `${n}`],
    [1, "bitmap", signers],
    [96, "signature"],
  ]);
}

function certificateTable(certificate, receipt, committee) {
  return certificateOf(certificate, { kind: "1, stored", epoch: 0, committee, n: 4, signers: "members 0, 1 and 3" }, [
    [8, "issued_at", `${ISSUED}, ${date(ISSUED)}`],
    [4, "count", "1"],
    [4, "index", "0"],
    [1, "receipt kind", "1, whole blob"],
    [16, "salt"],
    [32, "digest", toBase58(receipt.digest)],
    [8, "length", `${receipt.length}`],
    [8, "expires_at", `${EXPIRES}, ${date(EXPIRES)}`],
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

function proofTable(blocks, proof) {
  const block = blocks[3];
  const op = block.ops[2];
  const text = (bytes) => JSON.stringify(new TextDecoder().decode(bytes));
  return table(proof, [
    [7, "tag", '"vouchop"'],
    [1, "version", "1"],
    [7, "block: tag", '"vouchlb"'],
    [1, "version", "1"],
    [32, "cluster identity"],
    [8, "epoch", "0"],
    [8, "height", "4"],
    [32, "parent", "the digest of block 3"],
    [32, "author", "member 0"],
    [8, "time", `${block.fields.time}, ${date(block.fields.time)}`],
    [32, "log root", "over the blocks 1 to 3"],
    [4, "number of ops", "5"],
    [32, "ops digest"],
    [32, "results root"],
    [32, "state digest"],
    [4, "index", "2"],
    [32, "submitter", "member 2"],
    [1, "op: version", "1"],
    [2, "kind", "0"],
    [16, "nonce"],
    [8, "expires_at", `${block.fields.time + 60}, ${date(block.fields.time + 60)}`],
    [2, "body length", "8"],
    [8, "body", text(op.encoding.slice(29))],
    [2, "effect length", "10"],
    [10, "effect", text(op.effect)],
    [32, "path of the result", "op 3"],
    [32, "", "ops 0 and 1"],
    [32, "", "op 4"],
    [32, "path of the block", "block 3"],
    [32, "", "blocks 1 and 2"],
    [32, "", "blocks 5, 6 and 7"],
  ]);
}

function headTable(certificate, committee, head) {
  return certificateOf(certificate, { kind: "4, log head", epoch: 0, committee, n: 4, signers: "members 0, 1 and 3" }, [
    [8, "height", `${head.height}`],
    [32, "block digest"],
    [32, "log root", "over the blocks 1 to 7"],
    [8, "time", `${head.time}, ${date(head.time)}`],
  ]);
}

function logExample() {
  const { committee, blocks } = theLog();
  const head = headOf(blocks);
  const fence = (body) => `\`\`\`text\n${body}\n\`\`\`\n`;
  const certificate = certifyHead(committee, head, { signers: [0, 1, 3] });
  return [
    fence(proofTable(blocks, proofOf(blocks, 4, 2))),
    `The op's identity is \`${toHex(blocks[3].ops[2].identity)}\`, the block's digest \`${toHex(blocks[3].digest)}\`.`,
    "The certificate of the log head; the committee is that of the first example:\n",
    fence(headTable(certificate, committee, head)),
    `The statement that the members signed has 176 bytes and the identity \`${toHex(statementIdentity(headStatement(committee, head)))}\`.`,
    "",
  ].join("\n");
}

function handoffTable(committee, { closing, height, certificate }) {
  return certificateOf(certificate, { kind: "2, handoff", epoch: 2, committee, n: 7, signers: "members 0 to 4" }, [
    [8, "closing", `${closing}, ${date(closing)}`],
    [32, "next committee", "the digest of the committee above"],
    [8, "log height", `${height}`],
    [32, "log root"],
  ]);
}

function sealTable(committee, certificate) {
  return certificateOf(certificate, { kind: "9, seal", epoch: 1, committee, n: 4, signers: "members 0 to 2" }, [
    [8, "sealed epoch", "0"],
    [32, "its committee", "the genesis, so this is the cluster identity"],
    [8, "count", "5"],
    [32, "root"],
  ]);
}

function epochsExample() {
  const { epochs } = theEpochs();
  const [genesis, first, second, third] = epochs;
  const fence = (body) => `\`\`\`text\n${body}\n\`\`\`\n`;
  const header = table(third.committee.encoding.slice(0, 180), [
    [7, "tag", '"vouchcm"'],
    [1, "version", "1"],
    [8, "epoch", "3"],
    [32, "cluster", toBase58(genesis.committee.digest)],
    [32, "previous committee", toBase58(second.committee.digest)],
    [16, "nonce", "none, only a genesis has one"],
    [1, "policy", "0, open"],
    [1, "fault rule", "1"],
    [2, "n", "4"],
    [48, "operator key", "none"],
    [32, "history"],
  ]);
  const { tree } = genesis.seal;
  const path = tree.path(genesis.statements[0]);
  const pathTable = table(encodeSealPath(path), [
    [7, "tag", '"vouchsp"'],
    [1, "version", "1"],
    [8, "count", `${path.count}`],
    [8, "index", `${path.index}`],
    ...path.path.map((_, i) => [32, i === 0 ? "path" : ""]),
  ]);
  return [
    `The committee of epoch 3 has ${third.committee.encoding.length} bytes, and the digest \`${toHex(third.committee.digest)}\`. Its first 180 bytes; the members follow:\n`,
    fence(header),
    "Its history follows from these three, in this order:\n",
    fence([`history of epoch 2               ${toHex(second.history)}`, `handoff from epoch 1 to epoch 2  ${toHex(first.handoff.identity)}`, `seal of epoch 1                  ${toHex(first.seal.identity)}`].join("\n")),
    `The certificate of the handoff from epoch 2 to epoch 3. The statement has the identity \`${toHex(second.handoff.identity)}\`:\n`,
    fence(handoffTable(second.committee, second.handoff)),
    `The certificate of the seal of epoch 0, by the committee of epoch 1. The statement has the identity \`${toHex(genesis.seal.identity)}\`:\n`,
    fence(sealTable(first.committee, genesis.seal.certificate)),
    `The path of the statement \`${toHex(genesis.statements[0])}\` in that seal:\n`,
    fence(pathTable),
  ].join("\n");
}

function between(page, begin, end, text) {
  const from = begin.exec(page);
  const to = page.indexOf(end);
  if (from === null || to < from.index) throw new Error("the specification has no place for the example");
  return page.slice(0, from.index) + from[0] + text + page.slice(to);
}

export function withExample(page) {
  const parts = [
    [BEGIN, END, example],
    [LOG_BEGIN, LOG_END, logExample],
    [EPOCHS_BEGIN, EPOCHS_END, epochsExample],
  ];
  return parts.reduce((text, [begin, end, make]) => between(text, begin, end, make()), page);
}
