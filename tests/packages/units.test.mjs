// The systemd units and the files beside them, as far as they can be checked without starting them.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const root = new URL("../..", import.meta.url).pathname;
const program = process.env.VOUCH_PROGRAM ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/vouch");
const folder = mkdtempSync(join(tmpdir(), "vouch-units-"));
after(() => rmSync(folder, { recursive: true }));

const has = (tool) => spawnSync(tool, ["--version"]).error === undefined;
const skip = has("systemd-analyze") ? false : "systemd-analyze is not installed";

/** The most exposed that a unit may be, of 100: systemd calls up to 20 "OK". */
const MOST_EXPOSED = 15;

for (const kind of ["server", "replica"]) {
  const name = `vouch-${kind}.service`;
  const unit = readFileSync(join(root, "deploy/systemd", name), "utf8");
  const defaults = readFileSync(join(root, `deploy/default/vouch-${kind}`), "utf8");

  test(`${name}: systemd understands every line`, { skip }, () => {
    // The program and the manual page are not installed here.
    const local = unit.replaceAll("/usr/bin/vouch", program).replace(/^Documentation=.*\n/m, "");
    writeFileSync(join(folder, name), local);
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", join(folder, name)], { encoding: "utf8" });
    assert.deepEqual({ status, stderr: stderr.split("\n").filter((line) => line.includes(name)) }, { status: 0, stderr: [] });
  });

  test(`${name}: the service is confined`, { skip }, () => {
    const file = join(root, "deploy/systemd", name);
    const arguments_ = ["security", "--offline=true", `--threshold=${MOST_EXPOSED}`, "--no-pager", file];
    const { status, stdout, stderr } = spawnSync("systemd-analyze", arguments_, { encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
  });

  test(`${name}: the program takes its command line, with the options of the package`, () => {
    const [, line] = unit.match(/^ExecStart=(.*)$/m);
    const [, options] = defaults.match(/^VOUCH_OPTIONS="(.*)"$/m);
    const [path, ...given] = line.replace("%S", folder).replace("$VOUCH_OPTIONS", options).split(" ");
    assert.equal(path, "/usr/bin/vouch");
    // An option that the program does not know is refused before the help is shown.
    assert.match(execFileSync(program, [...given, "--help"], { encoding: "utf8" }), new RegExp(`^Usage: vouch ${kind} `, "m"));
    for (const [, options] of defaults.matchAll(/^# +VOUCH_OPTIONS="(.*)"$/gm)) {
      execFileSync(program, [kind, ...options.split(" "), "--help"]);
    }
    assert.equal(spawnSync(program, [...given, "--unknown", "--help"]).status, 2);
  });

  test(`${name}: its options may all be in the file of the package`, () => {
    const config = join(root, "deploy/config.toml");
    const shown = execFileSync(program, ["--config", config, "config", "show", "--json", kind], { encoding: "utf8", env: { PATH: process.env.PATH, HOME: folder } });
    assert.ok(JSON.parse(shown).options.some(({ key }) => key === "data"), shown);
    // The folder of the service is that of systemd, unless the file names another.
    assert.ok(!unit.includes("--data"), unit);
  });

  test(`${name}: puts in progress have time to finish before systemd kills the service`, () => {
    const [, seconds] = unit.match(/^TimeoutStopSec=(\d+)$/m);
    const help = execFileSync(program, [kind, "--help"], { encoding: "utf8" }).replaceAll(/\s+/g, " ");
    const [, timeout] = help.match(/--stop-timeout <DURATION> .*?\[default: (\d+)s\]/);
    assert.ok(Number(seconds) > Number(timeout) + 10, `${seconds} s and ${timeout} s`);
  });

  test(`${name}: its user and its folder exist, and nobody else reads it`, () => {
    const users = readFileSync(join(root, "deploy/systemd/vouch.sysusers"), "utf8");
    const [, user] = unit.match(/^User=(.*)$/m);
    assert.match(users, new RegExp(`^u ${user} +- .* /var/lib/${user}$`, "m"));
    assert.match(unit, new RegExp(`^StateDirectory=${user}$`, "m"));
    for (const line of ["StateDirectoryMode=0700", "UMask=0077", "LimitCORE=0"]) assert.ok(unit.includes(`\n${line}\n`), line);
  });
}
