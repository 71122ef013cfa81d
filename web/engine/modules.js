// The WebAssembly modules, with the SHA-256 of the very bytes that were compiled. Hashing what a second request brings would prove nothing: a
// dishonest server could answer it differently.

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The SHA-256 in hex; null where the browser does not hash: on pages over plain HTTP from other machines. */
export async function sha256(bytes, crypto = globalThis.crypto) {
  if (crypto?.subtle === undefined) return null;
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

/** A module that is loaded at its first use. `read()` gives its bytes, `compile(bytes)` compiles them. */
export class HashedModule {
  #read;
  #compile;
  #loading;
  #fact;

  constructor(name, read, compile) {
    this.#read = read;
    this.#compile = compile;
    this.#fact = { name, size: null, sha256: null };
  }

  /** What `compile` answers. After a failure, the next call tries again. */
  load() {
    return (this.#loading ??= this.#start().catch((error) => {
      this.#loading = undefined;
      throw error;
    }));
  }

  /** `{ name, size, sha256 }` of the bytes that were compiled. */
  async fact() {
    await this.load();
    return this.#fact;
  }

  async #start() {
    const bytes = await this.#read();
    this.#fact = { ...this.#fact, size: bytes.length, sha256: await sha256(bytes) };
    return await this.#compile(bytes);
  }
}

/** Fetches a module. */
export async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`failed to fetch Wasm: ${response.status} ${response.statusText} fetching '${response.url}'`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The functions with these names, which wait until the modules are loaded: without that, they would load them themselves. */
export const loading = (api, names, ...modules) =>
  Object.fromEntries(
    names.map((name) => [
      name,
      async (...args) => {
        await Promise.all(modules.map((module) => module.load()));
        return api[name](...args);
      },
    ]),
  );

/** The task that tells what was compiled. */
export const moduleTasks = (...modules) => ({ modules: () => Promise.all(modules.map((module) => module.fact())) });
