// Bundles from the server. Nothing of them is verified here.

const PATIENCE = 15_000;

const lost = (message) => Object.assign(new Error(message), { code: "connection" });

/**
 * `{ status, bundle }`: the HTTP status, and the body as a Blob if it is 200, otherwise null. `limits` is the package's, `patience` in
 * milliseconds. Rejects with the code "connection", or with the reason of `signal`.
 */
export async function downloadBundle(url, { fetch, limits, signal, patience = PATIENCE }) {
  const late = AbortSignal.timeout(patience);
  try {
    const response = await fetch(url, {
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.any([signal, late]),
    });
    if (response.status === 200) return { status: 200, bundle: await bundleIn(response.body, (await limits()).bundle) };
    await response.body?.cancel();
    return { status: response.status, bundle: null };
  } catch (error) {
    signal.throwIfAborted();
    throw lost(late.aborted ? `the server did not finish its answer within ${patience / 1000} s` : error.message);
  }
}

// One byte beyond the limit is enough for the verifier to see that a bundle is too long.
async function bundleIn(body, limit) {
  const parts = [];
  let size = 0;
  const reader = body.getReader();
  while (size <= limit) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts);
    parts.push(value);
    size += value.length;
  }
  await reader.cancel();
  return new Blob(parts);
}
