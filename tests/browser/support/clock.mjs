// The wall clock of child processes, which a test moves. Needs Linux and a C compiler.
import { execFileSync } from "node:child_process";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("../../support/wrong_clock.c", import.meta.url));

/** A clock that is off by some seconds. Processes with its `environment` read it. */
export class MovableClock {
  #file;
  #seconds = 0;

  /** `folder`: for its files. */
  constructor(folder, seconds) {
    this.#file = join(folder, "clock.seconds");
    const library = join(folder, "clock.so");
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, SOURCE]);
    this.environment = { LD_PRELOAD: library, WRONG_CLOCK: this.#file };
    this.forward(seconds);
  }

  /** Sets it forward, for every process at once. */
  forward(seconds) {
    this.#seconds += seconds;
    // Renamed into place: otherwise a process could read a part of it.
    writeFileSync(`${this.#file}.new`, `${this.#seconds}`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
