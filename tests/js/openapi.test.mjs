// docs/openapi.yaml says what the server's HTTP interface is: the same paths, methods, statuses, headers and bodies as a running server.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { STATUS_CODES, request as httpRequest } from "node:http";
import { after, before, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv/dist/2020.js";
import { parse } from "yaml";
import { startCluster } from "../browser/support/cluster.mjs";
import { until } from "../browser/support/until.mjs";
import { tokenSecretText } from "../independent/access.mjs";
import { encodeOp } from "../independent/log.mjs";

const DOCUMENT = new URL("../../docs/openapi.yaml", import.meta.url);
const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const document = parse(readFileSync(DOCUMENT, "utf8"));

const FILE = Buffer.from("Vouch test file n4\n");
const DIGEST = "3af76f201fce282d063a73ebee443043263e844e69894ab5e397ee9b91ed0fab";
const ABSENT = "0".repeat(64);
const FOREIGN = { origin: "https://evil.example" };
/** Statuses that no request here brings about, and why. Tests in tests/cluster have them. */
const UNSEEN = [
  [/^(put|post) .* 408$/, "takes 30 s"],
  [/^put .* 413$/, "a token must have a limit"],
  [/ (500|507)$/, "a disk must fail"],
  [/ (502|504)$/, "a replica must lie, or be silent"],
  [/^(get|head) \/v1\/log\/head 204$/, "takes 25 s"],
  [/^(get|head) \/v1\/log\/head 404$/, "is over a moment after the founding"],
  [/^(get|head) \/v1\/log\/seals\/\{epoch\} 200$/, "two changes of the committee take a minute"],
  [/^(get|head|options) (\/healthz|\/v1\/link) 503$/, "comes from a server without room for another client behind a proxy"],
  [/^post \/v1\/log\/ops 404$/, "a member must decide an op and forget it"],
  [/^get \/v1\/link 400$/, "comes from two upgrades of one connection"],
];
/** Headers of every response, which the document does not list. */
const EVERYWHERE = ["date", "content-length", "content-type", "connection", "transfer-encoding"];

/** Follows a reference within the document. */
function resolve(value) {
  if (!value?.$ref) return value;
  return resolve(value.$ref.slice(2).split("/").reduce((at, key) => at[key], document));
}
const METHODS = ["get", "head", "put", "post", "options", "delete", "patch"];
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));

// A field that the document lacks fails this test, although clients must accept unknown fields.
function close(schema) {
  if (Array.isArray(schema)) return schema.map(close);
  if (schema === null || typeof schema !== "object") return schema;
  const closed = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, close(value)]));
  return closed.type === "object" && closed.properties ? { ...closed, additionalProperties: false } : closed;
}
const ajv = new Ajv({ strict: false, validateSchema: false, allErrors: true });
ajv.addSchema({ $id: "http://document/", components: close({ schemas: document.components.schemas }) });
const compiled = new Map();
function valid(schema, value, what) {
  if (!compiled.has(schema)) {
    const absolute = JSON.parse(JSON.stringify(close(schema)).replaceAll('"#/components/', '"http://document/#/components/'));
    compiled.set(schema, ajv.compile(absolute));
  }
  const check = compiled.get(schema);
  assert.ok(check(value), `${what}: ${JSON.stringify(check.errors)}\n${JSON.stringify(value)}`);
}

let cluster;
before(async () => {
  cluster = await startCluster({ names: ["replica-1"] });
});
after(() => cluster?.stop());

/** Sends one request on a connection of its own. */
function send(method, path, { headers = {}, body } = {}) {
  const [host, port] = cluster.address.split(":");
  return new Promise((done, fail) => {
    const request = httpRequest({ host, port, method, path, headers: { connection: "close", ...headers } });
    request.on("error", fail);
    request.on("upgrade", ({ statusCode, headers }, socket) => {
      socket.destroy();
      done({ status: statusCode, headers, body: Buffer.alloc(0) });
    });
    request.on("response", async (response) => {
      const body = Buffer.concat(await response.toArray());
      done({ status: response.statusCode, headers: response.headers, body });
    });
    request.end(body);
  });
}

const seen = new Set();
/** Sends a request, and checks that its response is the one that the document has for this status. */
async function expect(status, method, template, path, options = {}) {
  const { operation } = operations.find((one) => one.path === template && one.method === method) ?? {};
  assert.ok(operation, `${method} ${template} is not in the document`);
  const answer = await send(method.toUpperCase(), path, options);
  const what = `${method} ${path} ${answer.status}`;
  assert.equal(answer.status, status, `${what} ${answer.body}`);
  const response = resolve(operation.responses[status]);
  assert.ok(response, `${what} is not in the document`);
  for (const [name, reference] of Object.entries(response.headers ?? {})) {
    const { required, schema } = resolve(reference);
    const value = answer.headers[name.toLowerCase()];
    assert.ok(value !== undefined || !required, `${what}: no ${name}`);
    if (value !== undefined) valid(schema, value, `${what}: ${name}`);
  }
  // A 304 has the headers of the response that it stands for.
  const headers = { ...response.headers, ...(status === 304 ? resolve(operation.responses[200]).headers : {}) };
  const documented = new Set([...EVERYWHERE, ...Object.keys(headers).map((name) => name.toLowerCase())]);
  const inDocument = (name) => documented.has(name) || name.startsWith("access-control-") || (name === "vary" && template.startsWith("/v1/"));
  assert.deepEqual(Object.keys(answer.headers).filter((name) => !inDocument(name)), [], `${what}: headers that are not in the document`);
  const mediaType = answer.headers["content-type"]?.split(";")[0];
  if (method === "head" || !response.content) {
    assert.equal(answer.body.length, 0, what);
  } else {
    const content = response.content[mediaType];
    assert.ok(content, `${what}: ${mediaType}`);
    const value = mediaType.endsWith("json") ? JSON.parse(answer.body) : mediaType.startsWith("text/") ? `${answer.body}` : answer.body;
    if (content.schema) valid(content.schema, value, what);
  }
  seen.add(`${method} ${template} ${status}`);
  return answer;
}

test("the document is OpenAPI 3.1", async () => {
  const { valid, errors, specificationVersion } = await lint(document);
  assert.ok(valid, JSON.stringify(errors, null, 1));
  assert.equal(specificationVersion, "3.1");
  const spoiled = structuredClone(document);
  delete spoiled.paths["/healthz"].get.responses["200"].description;
  assert.ok(!(await lint(spoiled)).valid, "the tool finds no fault");
});

async function lint(value) {
  const validator = new Validator();
  const result = await validator.validate(structuredClone(value));
  return { ...result, specificationVersion: validator.version };
}

test("operations have names of their own, and every component is used", () => {
  const names = operations.map(({ operation }) => operation.operationId);
  assert.equal(new Set(names).size, names.length);
  const text = JSON.stringify(document);
  const { securitySchemes, ...referred } = document.components;
  // Operations name these; nothing refers to them.
  for (const name of Object.keys(securitySchemes)) {
    assert.ok(operations.some(({ operation }) => operation.security?.some((needed) => name in needed)), `${name} is not used`);
  }
  for (const [kind, components] of Object.entries(referred)) {
    for (const name of Object.keys(components)) assert.ok(text.includes(`"#/components/${kind}/${name}"`), `${kind}/${name} is not used`);
  }
  for (const [, reference] of text.matchAll(/"\$ref":"([^"]+)"/g)) assert.ok(resolve({ $ref: reference }), reference);
});

test("the paths are those of the router", () => {
  const [, source] = read("node/src/server/http/router.rs").match(/fn of\(path[^]*?\n    }\n/)[0].split("match path {");
  const between = [...source.matchAll(/under\("([^"]*)", "([^"]*)"\)/g)].map(([, folder, end]) => `${folder}*${end}`);
  const whole = [...source.matchAll(/"(\/[^"]*)" (?:=>|\|)|\| "(\/[^"]*)"/g)].map(([, first, second]) => first ?? second);
  const router = new Set([...whole, ...between, "/v1/link", "/"]);
  router.delete("/v1/blobs/"); // the same as without the slash
  assert.ok(source.includes("link::PATH"));
  assert.deepEqual(Object.keys(document.paths).map((path) => path.replace(/\{\w+\}/, "*")).sort(), [...router].sort());
});

test("the statuses and codes are those of the sources and of the protocol", () => {
  const folder = "node/src/server/http/";
  const sources = readdirSync(new URL(`../../${folder}`, import.meta.url)).map((name) => read(folder + name).split("#[cfg(test)]")[0]).join("\n");
  const numbers = Object.fromEntries(Object.entries(STATUS_CODES).map(([number, name]) => [name.toUpperCase().replace(/[ -]/g, "_"), number]));
  const used = new Set([...sources.matchAll(/StatusCode::([A-Z_]+)/g)].map(([, name]) => numbers[name] ?? name));
  const known = new Set(operations.flatMap(({ operation }) => Object.keys(operation.responses)));
  // No operation has it: it is the answer to a method that a path does not have.
  used.delete("405");
  assert.deepEqual([...known].sort(), [...used].sort());

  const protocol = read("shared/PROTOCOL.md");
  const table = protocol.match(/### Codes of `Failed`[^]*?\n### /)[0];
  const names = [...table.matchAll(/^\| \d+ \| ([a-z ]+)/gm)].map(([, name]) => name.trim().replaceAll(" ", "-"));
  const ofHttp = protocol.match(/`code` is the name in the table of codes with hyphens, or ([^]*?)\. The status is/)[1];
  const codes = [...names, ...[...ofHttp.matchAll(/`([a-z-]+)`/g)].map(([, code]) => code)];
  const { enum: documented } = document.components.schemas.Code;
  assert.equal(documented.length, codes.length);
  for (const code of codes) assert.ok(documented.includes(code), code);
  for (const [, code] of sources.matchAll(/StatusCode::[A-Z_]+, "([a-z-]+)"/g)) assert.ok(documented.includes(code), code);
});

test("a path has the methods of the document, and no other", async () => {
  for (const template of Object.keys(document.paths)) {
    const path = template.replace(/\{\w+\}/, DIGEST);
    const answer = await send("DELETE", path);
    assert.equal(answer.status, 405, path);
    const methods = operations.filter((one) => one.path === template).map(({ method }) => method.toUpperCase());
    assert.deepEqual(answer.headers.allow.split(", ").sort(), methods.sort(), path);
    valid(document.components.schemas.Problem, JSON.parse(answer.body), path);
    if (methods.includes("OPTIONS")) {
      const preflight = await expect(204, "options", template, path);
      assert.equal(preflight.headers.allow, answer.headers.allow);
      await expect(403, "options", template, path, { headers: FOREIGN });
    }
  }
});

test("blobs and certificates", async () => {
  const put = (status, path, options) => expect(status, "put", path === "/v1/blobs" ? path : "/v1/blobs/{name}", path, { body: FILE, ...options });
  for (const path of ["/v1/blobs", "/v1/blobs/report.pdf"]) {
    const { headers } = await put(201, `${path}`);
    assert.equal(headers.location, `/v1/blobs/${DIGEST}`);
    await put(400, path, { headers: { "content-range": "bytes 0-1/2" } });
    await put(403, path, { headers: FOREIGN });
  }
  const blob = (status, method, name, headers) => expect(status, method, "/v1/blobs/{name}", `/v1/blobs/${name}`, { headers });
  const slice = (status, method, name, query = "") => expect(status, method, "/v1/blobs/{digest}/slice", `/v1/blobs/${name}/slice${query}`);
  const certificate = (status, method, name, headers) => expect(status, method, "/v1/certificates/{digest}", `/v1/certificates/${name}`, { headers });
  for (const method of ["get", "head"]) {
    const { headers } = await blob(200, method, DIGEST);
    const bundle = await certificate(200, method, DIGEST);
    await blob(304, method, DIGEST, { "if-none-match": headers.etag });
    await certificate(304, method, DIGEST, { "if-none-match": bundle.headers.etag });
    await slice(200, method, DIGEST, "?start=1&end=5");
    for (const [status, name] of [[400, "nonsense"], [404, ABSENT]]) {
      await blob(status, method, name);
      await slice(status, method, name);
      await certificate(status, method, name);
    }
  }
  const { body } = await blob(206, "get", DIGEST, { range: "bytes=0-4" });
  assert.equal(`${body}`, "Vouch");
  await blob(416, "get", DIGEST, { range: "bytes=99-" });
  await slice(416, "get", DIGEST, "?start=99");
});

test("a token that the cluster does not know", async () => {
  const headers = { authorization: `Bearer ${tokenSecretText(randomBytes(32))}` };
  await expect(403, "put", "/v1/blobs", "/v1/blobs", { body: Buffer.from("of a stranger"), headers });
  await expect(403, "put", "/v1/blobs/{name}", "/v1/blobs/name", { body: Buffer.from("of a stranger"), headers });
  for (const method of ["get", "head"]) {
    await expect(403, method, "/v1/blobs/{name}", `/v1/blobs/${DIGEST}`, { headers });
    await expect(403, method, "/v1/blobs/{digest}/slice", `/v1/blobs/${DIGEST}/slice`, { headers });
  }
});

test("the log", async () => {
  const note = (body = Buffer.from("a note")) => encodeOp({ kind: 0, nonce: randomBytes(16), expiresAt: Math.floor(Date.now() / 1000) + 60, body });
  const submit = (status, body, options) => expect(status, "post", "/v1/log/ops", "/v1/log/ops", { body, ...options });
  // The log starts once the founding is complete.
  await until("the log runs", async () => (await send("POST", "/v1/log/ops", { body: note() })).status === 201);
  const { headers } = await submit(201, note());
  await submit(400, Buffer.from("no op"));
  await submit(403, note(), { headers: FOREIGN });
  await submit(413, Buffer.alloc(8000));
  const op = headers.location.split("/").at(-1);
  for (const method of ["get", "head"]) {
    const head = await expect(200, method, "/v1/log/head", "/v1/log/head");
    await expect(304, method, "/v1/log/head", "/v1/log/head", { headers: { "if-none-match": head.headers.etag } });
    await expect(400, method, "/v1/log/head", "/v1/log/head?after=x");
    for (const [template, there, absent] of [["/v1/log/ops/{op}", op, ABSENT], ["/v1/log/blocks/{height}", 1, 9007199254740991]]) {
      const at = (name) => template.replace(/\{\w+\}/, name);
      const { headers } = await expect(200, method, template, at(there));
      await expect(304, method, template, at(there), { headers: { "if-none-match": headers.etag } });
      await expect(400, method, template, at("x"));
      await expect(404, method, template, at(absent));
    }
    await expect(404, method, "/v1/log/seals/{epoch}", "/v1/log/seals/0");
    await expect(400, method, "/v1/log/seals/{epoch}", "/v1/log/seals/x");
  }
});

test("the state, the link and the page", async () => {
  for (const method of ["get", "head"]) {
    await expect(200, method, "/v1/cluster", "/v1/cluster");
    await expect(200, method, "/v1/access", "/v1/access");
    await expect(200, method, "/healthz", "/healthz");
    await expect(200, method, "/readyz", "/readyz");
    const { headers } = await expect(200, method, "/", "/");
    await expect(304, method, "/", "/", { headers: { "if-none-match": headers.etag } });
  }
  await expect(200, "get", "/readyz", "/readyz", { headers: { accept: "application/json" } });
  await expect(426, "get", "/v1/link", "/v1/link");
  const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
  await expect(101, "get", "/v1/link", "/v1/link", { headers: upgrade });
  await expect(403, "get", "/v1/link", "/v1/link", { headers: { ...upgrade, ...FOREIGN } });
});

test("without a quorum, and while the server shuts down", async () => {
  await cluster.replicas[0].kill();
  await until("the replica is missing", async () => (await send("GET", "/readyz")).status === 503);
  for (const accept of ["*/*", "text/plain", "application/json"]) await expect(503, "get", "/readyz", "/readyz", { headers: { accept } });
  await expect(503, "put", "/v1/blobs", "/v1/blobs", { body: FILE });
  await cluster.replicas[0].start();
  await cluster.untilConnected(1);
  // A put that does not end keeps the server from ending.
  const [host, port] = cluster.address.split(":");
  const open = httpRequest({ host, port, method: "PUT", path: "/v1/blobs", headers: { expect: "100-continue" } });
  open.on("error", () => {});
  open.flushHeaders();
  await once(open, "continue");
  open.write("a first byte");
  cluster.server.terminate();
  await until("the server shuts down", async () => (await send("GET", "/v1/cluster")).status === 503);
  await expect(200, "get", "/healthz", "/healthz");
  for (const { path, method } of operations.filter((one) => !["/healthz", "/v1/link"].includes(one.path))) {
    await expect(503, method, path, path.replace(/\{\w+\}/, DIGEST));
  }
  open.destroy();
});

test("every status of the document was seen, or is known to be rare", () => {
  const documented = operations.flatMap(({ path, method, operation }) => Object.keys(operation.responses).map((status) => `${method} ${path} ${status}`));
  const isRare = (name) => UNSEEN.some(([pattern]) => pattern.test(name));
  assert.deepEqual(documented.filter((name) => !seen.has(name) && !isRare(name)), []);
  assert.deepEqual([...seen].filter(isRare), [], "not rare at all");
  for (const [pattern, why] of UNSEEN) assert.ok(documented.some((name) => pattern.test(name)), `${pattern}: ${why}`);
});
