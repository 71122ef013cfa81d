// A cluster of child processes, which can be killed, stopped and restarted. They end with this process.
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./until.mjs";

/** The program under test: VOUCH_PROGRAM, or the one that `make build` built. */
export const PROGRAM = process.env.VOUCH_PROGRAM ?? fileURLToPath(new URL("../../../target/debug/vouch", import.meta.url));

const cleanups = new Set();
process.on("exit", () => cleanups.forEach((clean) => clean()));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

/** A folder that is removed when this process exits. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "vouch-browser-"));
  cleanups.add(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function requireProgram() {
  if (!existsSync(PROGRAM)) throw new Error(`there is no ${PROGRAM}; run \`make build\``);
  return PROGRAM;
}

/** The variables of a command: `home` is its home folder, and no variable or file of the user who runs the tests configures it. */
function environmentIn(home, more) {
  const own = ([name]) => !name.startsWith("VOUCH_") && !["XDG_CONFIG_HOME", "XDG_DATA_HOME", "STATE_DIRECTORY"].includes(name);
  return { ...Object.fromEntries(Object.entries(process.env).filter(own)), HOME: home, VOUCH_CONFIG: "/dev/null", ...more };
}

/** Runs a command of the program to its end, with its own home folder. */
export const runProgram = (folder, ...args) => runProgramIn(folder, {}, ...args);

/** The same, with more environment variables. */
export function runProgramIn(folder, environment, ...args) {
  const { status, stdout, stderr, error } = spawnSync(requireProgram(), args, { cwd: folder, env: environmentIn(folder, environment), encoding: "utf8", timeout: 60_000 });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** One process with its arguments, data folder, log and environment variables. */
class Node {
  #child;
  #log;

  constructor(root, name, folder, args, environment) {
    Object.assign(this, { root, name, folder: join(root, folder), args, environment });
    this.#log = `${this.folder}.log`;
  }

  start() {
    if (this.#child) throw new Error(`${this.name} runs already`);
    const log = openSync(this.#log, "a");
    const child = spawn(requireProgram(), [...this.args, "--data", this.folder], { cwd: this.root, env: environmentIn(this.root, this.environment), stdio: ["ignore", log, log] });
    closeSync(log);
    const kill = () => child.kill("SIGKILL");
    cleanups.add(kill);
    child.once("exit", () => cleanups.delete(kill));
    child.unref(); // a test that forgets to stop it still ends
    this.#child = child;
  }

  get log() {
    return readFileSync(this.#log, "utf8");
  }

  get running() {
    return this.#child !== undefined;
  }

  /** Kills it (SIGKILL). */
  async kill() {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.ref();
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  /** Asks it to stop (SIGTERM). */
  terminate() {
    this.#child.kill("SIGTERM");
  }

  /** Suspends it (SIGSTOP); its connections stay open. */
  pause() {
    this.#child.kill("SIGSTOP");
  }

  resume() {
    this.#child.kill("SIGCONT");
  }
}

/** One server and its replicas. */
class Cluster {
  #operator;

  constructor(folder, server, { authority, operator = [] } = {}) {
    Object.assign(this, { folder, server, authority, replicas: [] });
    this.#operator = operator;
  }

  /** `host:port` of the server. */
  get address() {
    return /^listening on (\S+)\n/m.exec(this.server.log)?.[1];
  }

  /** Over TLS, the certificate is for `localhost`. */
  get url() {
    return this.authority ? `https://localhost:${this.address.split(":").at(-1)}/` : `http://${this.address}/`;
  }

  /** What commands are given to reach the server. */
  get reachedBy() {
    return this.authority ? [this.url, "--tls-ca", this.authority] : [this.address];
  }

  addReplica(name, address = this.reachedBy[0]) {
    const more = this.reachedBy.slice(1);
    const replica = new Node(this.folder, name, `replica-${this.replicas.length}`, ["replica", address, ...more, "--name", name, ...this.#operator], this.server.environment);
    replica.start();
    this.replicas.push(replica);
    return replica;
  }

  /** The text at a path of the server. */
  async text(path) {
    const url = new URL(path, this.url);
    if (!this.authority) return (await fetch(url)).text();
    const answer = await new Promise((resolve, reject) => {
      request(url, { ca: readFileSync(this.authority) }, resolve).on("error", reject).end();
    });
    return (await answer.toArray()).join("");
  }

  async status() {
    return JSON.parse(await this.text("/v1/cluster"));
  }

  /** Waits until exactly these members are connected; by default, all that run. */
  async untilConnected(count = this.replicas.filter((replica) => replica.running).length) {
    await until(`${count} replicas are connected`, async () => (await this.status()).connected === count);
  }

  /** The cluster identity; waits until the committee is founded. */
  async identity() {
    return until("the committee is founded", async () => (await this.status()).cluster);
  }

  /** Restarts the server on the same port. */
  async startServer() {
    this.server.args[1] = this.address;
    this.server.start();
    await until("the server answers", async () => (await this.text("/healthz")) === "ok\n");
  }

  async stop() {
    await Promise.all([this.server, ...this.replicas].map((node) => node.kill()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/**
 * Starts a server and replicas of these names, connected and founded as one committee. `via(address, name)` gives the address that a replica
 * dials instead of the server's. `tls`: the server has a certificate for `localhost` and these names. `operator`: the public key of the one who
 * decides about members. `environment`: more variables for each process.
 */
export async function startCluster({ names = ["replica-1", "replica-2", "replica-3", "replica-4"], serverArguments = [], via = (address) => address, tls, operator, environment } = {}) {
  const folder = temporaryFolder();
  const file = (name) => join(folder, name);
  if (tls) runProgram(folder, "certs", "dev", "localhost", ...tls, "--out", folder);
  const secured = tls ? ["--tls-cert", file("server.pem"), "--tls-key", file("server.key")] : [];
  const operated = operator ? ["--operator", operator] : [];
  const server = new Node(folder, "server", "server", ["server", "127.0.0.1:0", "--replicas", `${names.length}`, ...secured, ...operated, ...serverArguments], environment);
  const cluster = new Cluster(folder, server, { authority: tls && file("ca.pem"), operator: operated });
  server.start();
  await until("the server listens", () => cluster.address);
  const page = await cluster.text("/");
  if (!page.includes("<script")) throw new Error(`${PROGRAM} was built without the page; run \`make build\``);
  for (const name of names) cluster.addReplica(name, await via(cluster.reachedBy[0], name));
  await cluster.identity();
  await cluster.untilConnected();
  return cluster;
}
