// Intermediate values, for authors of other implementations.
import { ed25519 } from "@noble/curves/ed25519.js";
import { POP_DST, STATEMENT_DST } from "../../independent/bls.mjs";
import { concat, derive, digestOf, utf8 } from "../../independent/bytes.mjs";
import { encodeReceipt } from "../../independent/certificate.mjs";
import { faulty, quorum } from "../../independent/committee.mjs";
import { ROLES, authBytes, encodeAskTime, encodeAuth, encodeHello, encodeSignedTime, peerFrameBytes, peerHello, peerMessage, timeBytes } from "../../independent/link.mjs";
import { leafHash, nodeHash, pathOf, rootOf } from "../../independent/merkle.mjs";
import { statementIdentity } from "../../independent/statement.mjs";
import { toBase58, toHex } from "../../independent/text.mjs";
import { baseCertificate, batchOf, committeeNamed, fileOf, makeMembers, nodeSecret, singleNamed } from "./world.mjs";

const CONTEXTS = ["vouch committee v1", "vouch statement v1", "vouch receipt leaf v1", "vouch receipt node v1", "vouch hello v1"];

function committees() {
  return ["n1", "n4", "n7"].map((name) => {
    const { encoding, digest, members, pops } = committeeNamed(name);
    const about = members.map(({ label, node, vote, secret, name: shown }, i) => ({
      label,
      name: shown,
      node_secret: toHex(nodeSecret(label)),
      node_key: toHex(node),
      vote_secret: toHex(secret),
      vote_key: toHex(vote),
      pop: toHex(pops[i]),
      pop_base58: toBase58(pops[i]),
    }));
    return { name, encoding: toHex(encoding), digest: toHex(digest), digest_base58: toBase58(digest), members: about };
  });
}

function statements() {
  return ["n1", "n4", "n7"].map((name) => {
    const batch = singleNamed(name);
    const [receipt] = batch.receipts;
    return {
      committee: name,
      file: new TextDecoder().decode(fileOf(name)),
      receipt: toHex(encodeReceipt(receipt)),
      leaf: toHex(batch.leaves[0]),
      statement: toHex(batch.statement),
      identity: toHex(statementIdentity(batch.statement)),
      votes: batch.committee.members.map((_, i) => toHex(batch.vote(i))),
      certificate: toHex(baseCertificate(name)),
    };
  });
}

function merkle() {
  const receipts = batchOf(4096).receipts.slice(0, 9).map(encodeReceipt);
  const leaves = receipts.map(leafHash);
  const trees = leaves.map((_, i) => {
    const part = leaves.slice(0, i + 1);
    return { count: i + 1, root: toHex(rootOf(part)), paths: part.map((_, index) => pathOf(part, index).map(toHex)) };
  });
  return { receipts: receipts.map(toHex), leaves: leaves.map(toHex), node_of_first_two_leaves: toHex(nodeHash(leaves[0], leaves[1])), trees };
}

function auth(dialerRole, exporter) {
  const [replica] = makeMembers("n4", 4).filter(({ label }) => label === "n4/0");
  const serverSecret = nodeSecret("server");
  const zero = new Uint8Array(32);
  const nonce = (label) => derive("vouch test nonce v1", utf8(label));
  const isReplica = dialerRole === "replica";
  const { digest: cluster } = committeeNamed("n4");
  const dialer = { role: ROLES[dialerRole], cluster: isReplica ? cluster : zero, epoch: 0, node: isReplica ? replica.node : zero, nonce: nonce(`${dialerRole} hello`) };
  const listener = { role: ROLES.server, cluster, epoch: 0, node: ed25519.getPublicKey(serverSecret), nonce: nonce("server hello") };
  const dialerHello = encodeHello(dialer);
  const listenerHello = encodeHello(listener);
  const signed = (role, secret) => {
    const bytes = authBytes({ dialerHello, listenerHello, signerRole: ROLES[role], exporter });
    return { role, node_secret: toHex(secret), signed: toHex(bytes), auth: toHex(encodeAuth(ed25519.sign(bytes, secret))) };
  };
  return {
    dialer: dialerRole,
    dialer_hello: toHex(dialerHello),
    listener_hello: toHex(listenerHello),
    dialer_hello_hash: toHex(derive("vouch hello v1", dialerHello)),
    listener_hello_hash: toHex(derive("vouch hello v1", listenerHello)),
    exporter: exporter ? toHex(exporter) : "",
    auths: [signed("server", serverSecret), ...(isReplica ? [signed("replica", nodeSecret(replica.label))] : [])],
  };
}

// Member 1 answers member 0.
function signedTime(time) {
  const [asker, member] = makeMembers("n4", 4);
  const { digest: cluster } = committeeNamed("n4");
  const nonce = derive("vouch test nonce v1", utf8("time question"));
  const secret = nodeSecret(member.label);
  const signed = timeBytes({ cluster, asker: asker.node, nonce, time });
  const signature = ed25519.sign(signed, secret);
  return {
    cluster: toHex(cluster),
    asker: toHex(asker.node),
    nonce: toHex(nonce),
    member: 1,
    node_secret: toHex(secret),
    time,
    signed: toHex(signed),
    question: toHex(encodeAskTime({ stream: 1, asker: asker.node, nonce })),
    answer: toHex(encodeSignedTime({ stream: 1, member: 1, time, signature })),
  };
}

// Member 0 sends member 1 a hello without and with an echo, and a message.
function peerFrames() {
  const [sender, peer] = makeMembers("n4", 4);
  const { digest: cluster } = committeeNamed("n4");
  const session = (label) => derive("vouch test nonce v1", utf8(label)).slice(0, 16);
  const header = { from: sender.node, to: peer.node, session: session("session of the sender") };
  const receiver = session("session of the receiver");
  const secret = nodeSecret(sender.label);
  const frame = (content, bytes, signedFor) => {
    const signed = peerFrameBytes({ cluster, frame: bytes, receiver: signedFor });
    return { ...content, signed: toHex(signed), frame: toHex(concat(bytes, ed25519.sign(signed, secret))) };
  };
  const message = utf8("a message");
  const address = "replica-1.example:9091";
  return {
    cluster: toHex(cluster),
    node_secret: toHex(secret),
    to: toHex(peer.node),
    session: toHex(header.session),
    receiver: toHex(receiver),
    hello: frame({ number: 1, asks: true }, peerHello({ ...header, number: 1, asks: true })),
    hello_with_echo: frame({ number: 2, address, asks: false }, peerHello({ ...header, number: 2, echo: receiver, address })),
    message: frame({ number: Number.MAX_SAFE_INTEGER, message: toHex(message) }, peerMessage({ ...header, number: Number.MAX_SAFE_INTEGER, message }), receiver),
  };
}

export function buildingBlocks() {
  const abc = utf8("abc");
  const blocks = {
    description:
      "Intermediate values; bytes in hex. The secrets are for tests only: a vote secret is derive(\"vouch test vote key v1\", label) with its two highest bits cleared, a 32-byte big-endian number; a node secret is the ed25519 seed derive(\"vouch test node key v1\", label). The statement in `statements` covers one receipt.",
    digest_of_abc: toHex(digestOf(abc)),
    derive_of_abc: Object.fromEntries(CONTEXTS.map((context) => [context, toHex(derive(context, abc))])),
    dst: { statement: STATEMENT_DST, possession: POP_DST },
    thresholds: [1, 2, 3, 4, 5, 6, 7, 10, 13, 31, 100, 1000].map((n) => ({ n, f: faulty(n), quorum: quorum(n), honest: n - 2 * faulty(n) })),
    committees: committees(),
    statements: statements(),
    merkle: merkle(),
    links: [auth("replica"), auth("client"), auth("replica", digestOf(utf8("TLS exporter")))],
    signed_times: [signedTime(1_790_000_000), signedTime(0), signedTime(Number.MAX_SAFE_INTEGER)],
    peer_frames: peerFrames(),
  };
  return `${JSON.stringify(blocks, null, 1)}\n`;
}
