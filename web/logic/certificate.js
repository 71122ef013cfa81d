// The certificate of a file of which only the digest is known, from the server that made it.

import { downloadBundle } from "./bundle_download.js";

/**
 * The bundle as a Blob; nothing of it is verified. `source` is as for `downloadBundle`, with the server's address. Rejects with the code
 * "connection", or "no-certificate".
 */
export async function bundleOf(digest, { server, ...source }) {
  const { status, bundle } = await downloadBundle(`${server}/v1/certificates/${digest}`, source);
  if (bundle === null) throw Object.assign(new Error(`the server answered ${status}`), { code: "no-certificate" });
  return bundle;
}
