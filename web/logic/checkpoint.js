// Checkpoints: a committee as EPOCH:COMMITTEE, its epoch and its digest.

// The longest epoch has 16 digits. A digest of 32 bytes has 32 to 44 digits.
const FORM = /^(0|[1-9][0-9]{0,15}):([1-9A-HJ-NP-Za-km-z]{32,44})$/;
const DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

// Whether a base58 text stands for 32 bytes: each leading 1 is a byte of zeros.
function isDigest(text) {
  const [zeros] = /^1*/.exec(text);
  let value = 0n;
  for (const digit of text) value = value * 58n + BigInt(DIGITS.indexOf(digit));
  const bytes = value === 0n ? 0 : Math.ceil(value.toString(16).length / 2);
  return zeros.length + bytes === 32;
}

export const checkpointOf = ({ epoch, committee }) => `${epoch}:${committee}`;

/** `{ epoch, committee }`, or null for anything else than a checkpoint in its usual form. */
export function parseCheckpoint(text) {
  const [, epoch, committee] = (typeof text === "string" && FORM.exec(text)) || [];
  return epoch !== undefined && Number.isSafeInteger(Number(epoch)) && isDigest(committee) ? { epoch: Number(epoch), committee } : null;
}

/** Whether these committees, `[{ epoch, committee }]`, contain this one. */
export const contains = (committees, { epoch, committee }) => committees.some((one) => one.epoch === epoch && one.committee === committee);
