/** A module as bundlers and Cloudflare Workers import it: for `init` and `initClient`. */
declare const module: import("./index.d.ts").CompiledModule;
export default module;
