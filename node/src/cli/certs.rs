//! `vouch certs`: TLS certificates for servers of a closed network.

use serde_json::json;

use super::args::{CertsArgs, CertsCommand, DevCertsArgs};
use super::{Failure, output};
use crate::host::Host;
use crate::tls::{DevCertificates, create_dev_certificates};

pub(super) fn certs(host: &Host, args: &CertsArgs) -> Result<u8, Failure> {
    match &args.command {
        CertsCommand::Dev(args) => dev(host, args),
    }
}

fn dev(host: &Host, args: &DevCertsArgs) -> Result<u8, Failure> {
    host.disk().create_folder_durably(&args.out, 0o700).map_err(Failure::new)?;
    let DevCertificates { authority, authority_key, certificate, key, is_known } =
        create_dev_certificates(host, &args.out, &args.names).map_err(Failure::new)?;
    if args.json {
        let mut json = json!({ "names": args.names, "new_authority": !is_known });
        let files = [("ca", &authority), ("ca_key", &authority_key), ("certificate", &certificate), ("key", &key)];
        files.into_iter().for_each(|(name, path)| output::put_name(&mut json, name, path));
        output::json(&json);
        return Ok(0);
    }
    let age = if is_known { "as before" } else { "new" };
    output::line(format_args!("names       {}", args.names.join(", ")));
    output::line(format_args!("authority   {} ({age})", output::name(&authority)));
    output::line(format_args!("certificate {}", output::name(&certificate)));
    output::line(format_args!("key         {}", output::name(&key)));
    output::line(format_args!(
        "Start the server with --tls-cert {} --tls-key {}. Give {} to every replica and client, for --tls-ca; keep {} where nobody else \
         reads it, away from the server.",
        output::name(&certificate),
        output::name(&key),
        output::name(&authority),
        output::name(&authority_key)
    ));
    Ok(0)
}
