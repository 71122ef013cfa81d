// Verdicts on what the log says. The client's wasm module decides.
import { bundleBytes, checkTrust, expectText, expectType, heldBundle, readOptions, secondsOf } from "./api.js";

const OP_OPTIONS = ["bundle", "cluster", "checkpoint", "op", "now"];
const HEIGHT_OPTIONS = ["bundle", "cluster", "checkpoint", "height", "now"];

/** `load` resolves to the module. */
export function createLogApi(load) {
  let verifier;

  // `wanted` is what is asked for. Everything is read before the first await, so that the caller can no longer change it.
  async function judge(own, wanted, judgeWith) {
    checkTrust(own);
    const { cluster, checkpoint } = own;
    const [bundle, now] = [heldBundle(own.bundle), secondsOf(own.now)];
    const wasm = await load();
    verifier ??= new wasm.LogVerifier();
    const question = new wasm.LogQuestion(cluster ?? undefined, checkpoint ?? undefined, now);
    return JSON.parse(judgeWith(verifier, bundleBytes(wasm, bundle), question, wanted ?? undefined));
  }

  const heightOf = (own) => {
    expectType("height", own.height, "number");
    return own.height;
  };

  return {
    async verifyOp(options) {
      const own = readOptions(options, OP_OPTIONS);
      expectText("op", own.op, "; give its base58 or hex text");
      return judge(own, own.op, (log, ...asked) => log.judgeOp(...asked));
    },

    async verifyHead(options) {
      const own = readOptions(options, HEIGHT_OPTIONS);
      return judge(own, heightOf(own), (log, ...asked) => log.judgeHead(...asked));
    },

    async verifyBlock(options) {
      const own = readOptions(options, HEIGHT_OPTIONS);
      return judge(own, heightOf(own), (log, ...asked) => log.judgeBlock(...asked));
    },
  };
}
