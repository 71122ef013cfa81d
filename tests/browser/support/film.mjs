// A small film encoded by the browser, in a WebM container (RFC 9559) written here, with an index and padding, so that
// its ends are megabytes apart.
import { launch } from "./chromium.mjs";

// Runs in a page. Two frames per second in changing colours; the first of each second is a key frame.
async function encodeFrames(seconds) {
  const frames = [];
  const encoder = new VideoEncoder({
    output(chunk) {
      const bytes = new Uint8Array(chunk.byteLength);
      chunk.copyTo(bytes);
      frames.push({ at: chunk.timestamp / 1000, isKey: chunk.type === "key", bytes: Array.from(bytes) });
    },
    error: (error) => console.error(error),
  });
  encoder.configure({ codec: "vp8", width: 160, height: 90, bitrate: 50_000, framerate: 2 });
  const canvas = new OffscreenCanvas(160, 90);
  const context = canvas.getContext("2d");
  for (let i = 0; i < seconds * 2; i++) {
    context.fillStyle = `hsl(${(i * 360) / (seconds * 2)} 80% 45%)`;
    context.fillRect(0, 0, 160, 90);
    context.fillStyle = "white";
    context.font = "48px sans-serif";
    context.fillText(`${i / 2} s`, 20, 62);
    const frame = new VideoFrame(canvas, { timestamp: i * 500_000, duration: 500_000 });
    encoder.encode(frame, { keyFrame: i % 2 === 0 });
    frame.close();
  }
  await encoder.flush();
  return frames;
}

const size = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value) | (1n << 56n));
  return bytes;
};
const element = (id, ...content) => {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from(id, "hex"), size(body.length), body]);
};
const number = (id, value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return element(id, bytes);
};
const float = (id, value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return element(id, bytes);
};
const text = (id, value) => element(id, Buffer.from(value));

function clusterOf(second, frames, padding) {
  const blocks = frames.map(({ at, isKey, bytes }) => {
    const head = Buffer.from([0x81, 0, 0, isKey ? 0x80 : 0]);
    head.writeInt16BE(at - second * 1000, 1);
    return element("a3", head, Buffer.from(bytes));
  });
  return Buffer.concat([element("1f43b675", number("e7", second * 1000), ...blocks), element("ec", padding)]);
}

// No two offsets have the same padding, so that misplaced bytes are detected.
function paddingOf(bytes, seed) {
  const words = new Uint32Array(bytes / 4);
  for (let i = 0, state = seed + 1; i < words.length; i++) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Buffer.from(words.buffer);
}

let encoded;

// Seconds that a player reads before it starts, regardless of the padding between frames.
const KNOWN_AFTER = 50;
const SHORT = 32 << 10;

/** A film of `seconds` seconds, each followed by padding: `padding` bytes after the first seconds. */
export async function makeFilm({ seconds = 75, padding = 1 << 20 } = {}) {
  encoded ??= {};
  encoded[seconds] ??= (async () => {
    const context = await (await launch()).newContext();
    const page = await context.newPage();
    // Encoders need a secure context; no server has to answer.
    await page.route("http://localhost/**", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
    await page.goto("http://localhost/");
    const frames = await page.evaluate(encodeFrames, seconds);
    await context.close();
    return frames;
  })();
  const frames = await encoded[seconds];
  const clusters = Array.from({ length: seconds }, (_, second) =>
    clusterOf(second, frames.filter(({ at }) => Math.floor(at / 1000) === second), paddingOf(second < KNOWN_AFTER ? Math.min(SHORT, padding) : padding, second)),
  );
  const info = element("1549a966", number("2ad7b1", 1_000_000), float("4489", seconds * 1000), text("4d80", "vouch tests"), text("5741", "vouch tests"));
  const video = element("e0", number("b0", 160), number("ba", 90));
  const tracks = element("1654ae6b", element("ae", number("d7", 1), number("73c5", 1), number("83", 1), number("9c", 0), number("23e383", 500_000_000), text("86", "V_VP8"), video));
  const cuesOf = (first) => {
    let at = first;
    const points = clusters.map((cluster, second) => {
      const point = element("bb", number("b3", second * 1000), element("b7", number("f7", 1), number("f1", at)));
      at += cluster.length;
      return point;
    });
    return element("1c53bb6b", ...points);
  };
  const first = info.length + tracks.length + cuesOf(0).length; // every number is encoded in a fixed size
  const segment = element("18538067", info, tracks, cuesOf(first), ...clusters);
  const header = element("1a45dfa3", number("4286", 1), number("42f7", 1), number("42f2", 4), number("42f3", 8), text("4282", "webm"), number("4287", 4), number("4285", 2));
  return Buffer.concat([header, segment]);
}
