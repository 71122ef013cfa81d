import { VectorFile } from "./file.mjs";
import { baseCertificate, committeeNamed } from "./world.mjs";

export function truncatedFile() {
  const file = new VectorFile("A certificate and a committee cut off at every length.");
  const certificate = baseCertificate("n4");
  for (let length = 0; length < certificate.length; length++) {
    file.on("n4", `certificate_cut_to_${length}`, `${length} of ${certificate.length} bytes.`, { certificate: certificate.slice(0, length) }, "invalid", "certificate");
  }
  const { encoding } = committeeNamed("n1");
  for (let length = 0; length < encoding.length; length++) {
    file.on("n1", `committee_cut_to_${length}`, `${length} of ${encoding.length} bytes.`, { committee: encoding.slice(0, length) }, "invalid", "committee");
  }
  return file;
}
