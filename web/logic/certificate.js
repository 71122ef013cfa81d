// The certificate of a file of which only the digest is known, from the server that made it.

const PATIENCE = 15_000;

const failed = (code, message) => Object.assign(new Error(message), { code });

/**
 * The bundle as a Blob; nothing of it is verified. `limits` is the package's. Rejects with the code "connection", or "no-certificate".
 */
export async function bundleOf(digest, { server, fetch, limits, signal }) {
  // One byte beyond the limit is enough for the verifier to see that a bundle is too long.
  const bytesRead = (await limits()).bundle + 1;
  const late = AbortSignal.timeout(PATIENCE);
  try {
    const response = await fetch(`${server}/v1/certificates/${digest}`, {
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.any([signal, late]),
    });
    if (response.status !== 200) throw failed("no-certificate", `the server answered ${response.status}`);
    const parts = [];
    let size = 0;
    for (const reader = response.body.getReader(); size < bytesRead; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
    }
    return new Blob(parts);
  } catch (error) {
    signal.throwIfAborted();
    throw error.code === "no-certificate" ? error : failed("connection", error.message);
  }
}
