// The Debian package: what it installs, into an empty folder, and that this works. `make package-test` builds it first.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";

const root = new URL("../..", import.meta.url).pathname;
const version = readFileSync(join(root, "Cargo.toml"), "utf8").match(/^version = "(.*)"$/m)[1];
const built = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debian");
const [name] = readdirSync(built).filter((name) => name.startsWith(`vouch_${version}`) && name.endsWith(".deb")).sort().slice(-1);
const deb = join(built, name);
const installed = mkdtempSync(join(tmpdir(), "vouch-deb-"));
after(() => rmSync(installed, { recursive: true }));
execFileSync("dpkg-deb", ["--extract", deb, installed]);
execFileSync("dpkg-deb", ["--control", deb, join(installed, "DEBIAN")]);

const path = (...names) => join(installed, ...names);
const read = (...names) => readFileSync(path(...names), "utf8");
const vouch = (...given) => execFileSync(path("usr/bin/vouch"), given, { encoding: "utf8" });
const modeOf = (...names) => (statSync(path(...names)).mode & 0o777).toString(8);
const has = (tool) => spawnSync(tool, ["--version"]).error === undefined;

function files(folder, prefix = "") {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const name = prefix + entry.name;
    return entry.isDirectory() ? files(join(folder, entry.name), `${name}/`) : [name];
  });
}

test("the package has these files and no other", () => {
  const found = files(installed).filter((name) => !name.startsWith("DEBIAN/")).sort();
  const pages = found.filter((name) => name.startsWith("usr/share/man/"));
  assert.deepEqual(found.filter((name) => !pages.includes(name)), [
    "etc/default/vouch-replica",
    "etc/default/vouch-server",
    "etc/vouch/config.toml",
    "usr/bin/vouch",
    "usr/lib/systemd/system/vouch-replica.service",
    "usr/lib/systemd/system/vouch-server.service",
    "usr/lib/sysusers.d/vouch.conf",
    "usr/share/bash-completion/completions/vouch",
    "usr/share/doc/vouch/README.md",
    ...readdirSync(join(root, "docs")).map((name) => `usr/share/doc/vouch/docs/${name}`).sort(),
    "usr/share/doc/vouch/copyright",
    "usr/share/doc/vouch/shared/PROTOCOL.md",
    "usr/share/fish/vendor_completions.d/vouch.fish",
    "usr/share/zsh/vendor-completions/_vouch",
  ].sort());
  // The manual pages are those of the installed program.
  const names = pages.map((page) => page.match(/^usr\/share\/man\/man1\/(vouch[a-z-]*)\.1\.gz$/)[1]);
  assert.ok(names.includes("vouch") && names.includes("vouch-committee-add") && names.length > 30, names.join(" "));
  for (const name of names) {
    const page = gunzipSync(readFileSync(path("usr/share/man/man1", `${name}.1.gz`))).toString();
    assert.equal(vouch("man", ...name.split("-").slice(1)), page, name);
  }
});

test("the installed program runs, and its pages are readable", () => {
  assert.equal(vouch("--version"), `vouch ${version}\n`);
  assert.equal(modeOf("usr/bin/vouch"), "755");
  assert.equal(vouch("completions", "bash"), read("usr/share/bash-completion/completions/vouch"));
  execFileSync("bash", ["-n", path("usr/share/bash-completion/completions/vouch")]);
});

test("man shows a page", { skip: has("man") ? false : "man is not installed" }, () => {
  const page = path("usr/share/man/man1/vouch-server.1.gz");
  const { status, stdout, stderr } = spawnSync("man", ["--warnings", "-l", page], { encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8" } });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
  assert.match(stdout, /--stop-timeout/);
});

test("the package says what it is and what it needs", () => {
  const control = read("DEBIAN/control");
  for (const line of [/^Package: vouch$/m, /^Depends: .*libc6.*systemd-sysusers/m, /^Section: net$/m]) assert.match(control, line);
  assert.equal(read("DEBIAN/conffiles"), "/etc/default/vouch-server\n/etc/default/vouch-replica\n/etc/vouch/config.toml\n");
  assert.equal(modeOf("etc/default/vouch-replica"), "600", "it may have credentials");
  assert.match(read("usr/share/doc/vouch/copyright"), /Apache-2\.0[^]*Permission is hereby granted/);
});

test("the scripts make the users before systemd knows the services", () => {
  const script = read("DEBIAN/postinst");
  const [users, services] = ["systemd-sysusers ", "deb-systemd-"].map((text) => script.indexOf(text));
  assert.ok(users >= 0 && users < services, script);
  for (const name of files(path("DEBIAN"))) {
    if (readFileSync(path("DEBIAN", name), "utf8").startsWith("#!/bin/sh")) execFileSync("sh", ["-n", path("DEBIAN", name)]);
  }
});

const cannotInstall = process.getuid() !== 0 ? "only root installs packages" : has("systemd-sysusers") ? false : "systemd-sysusers is not installed";
test("dpkg installs it into an empty system, and removes it", { skip: cannotInstall }, () => {
  const system = mkdtempSync(join(tmpdir(), "vouch-system-"));
  after(() => rmSync(system, { recursive: true }));
  for (const folder of ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"]) {
    mkdirSync(join(system, folder), { recursive: true });
  }
  for (const file of ["status", "available"]) writeFileSync(join(system, "var/lib/dpkg", file), "");
  // The scripts run with the programs of this machine, on the other system's files. What the package depends on is not there.
  const dpkg = (...given) =>
    execFileSync("dpkg", [`--root=${system}`, `--log=${system}/log`, "--force-script-chrootless", "--force-depends", ...given], { stdio: "pipe" });
  const exists = (name) => existsSync(join(system, name));
  dpkg("--install", deb);
  const users = readFileSync(join(system, "etc/passwd"), "utf8");
  for (const user of ["vouch-server", "vouch-replica"]) {
    assert.match(users, new RegExp(`^${user}:.*:/var/lib/${user}:/usr/sbin/nologin$`, "m"));
    assert.ok(!exists(`etc/systemd/system/multi-user.target.wants/${user}.service`), "a service starts only when somebody has set it up");
  }
  assert.equal(execFileSync(join(system, "usr/bin/vouch"), ["--version"], { encoding: "utf8" }), `vouch ${version}\n`);
  writeFileSync(join(system, "etc/default/vouch-server"), "VOUCH_OPTIONS=9191\n");
  dpkg("--remove", "vouch");
  assert.ok(!exists("usr/bin/vouch"));
  assert.equal(readFileSync(join(system, "etc/default/vouch-server"), "utf8"), "VOUCH_OPTIONS=9191\n");
  dpkg("--purge", "vouch");
  assert.ok(!exists("etc/default/vouch-server"));
});

test("lintian finds no error", { skip: has("lintian") ? false : "lintian is not installed" }, () => {
  // The package is for people who build it, not for Debian's archive.
  const given = ["--fail-on", "none", "--allow-root", "--suppress-tags", "bogus-mail-host,no-changelog", deb];
  const { stdout } = spawnSync("lintian", given, { encoding: "utf8" });
  assert.deepEqual(stdout.split("\n").filter((line) => line.startsWith("E:")), [], stdout);
});
