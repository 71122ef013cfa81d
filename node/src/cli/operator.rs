//! `vouch operator`: the key of a cluster's operator. It opens no socket.

use std::path::Path;

use serde_json::{Value, json};
use vouch_core::membership::{AddedMember, CommitteeChange};
use zeroize::Zeroizing;

use super::operator_args::{OperatorArgs, OperatorCommand, OperatorInitArgs, OperatorKeyArgs, OperatorSignArgs};
use super::{Failure, change_text, output};
use crate::host::Host;
use crate::host::source::Source;
use crate::operator_key::{OperatorKeyError, OperatorKeyFile};
use crate::passphrase::{self, PassphraseError};

impl From<OperatorKeyError> for Failure {
    fn from(error: OperatorKeyError) -> Self {
        Self::new(error)
    }
}

impl From<PassphraseError> for Failure {
    fn from(error: PassphraseError) -> Self {
        Self::new(error)
    }
}

pub(super) fn operator(host: &Host, args: &OperatorArgs) -> Result<u8, Failure> {
    match &args.command {
        OperatorCommand::Init(args) => init(host, args),
        OperatorCommand::Show(args) => show(&args.key, &OperatorKeyFile::read(host, &args.key.key)?),
        OperatorCommand::Sign(args) => sign(host, args),
    }
}

fn init(host: &Host, args: &OperatorInitArgs) -> Result<u8, Failure> {
    let path = &args.key.key;
    // before anybody types a passphrase
    if host.disk().exists(path).map_err(Failure::new)? {
        return Err(OperatorKeyError::Exists { path: path.clone() }.into());
    }
    let passphrase = match &args.passphrase_file {
        Some(file) => Some(passphrase::read_file(host, file)?),
        None if args.passphrase => Some(passphrase::ask_twice("Passphrase for the key: ")?),
        None => None,
    };
    OperatorKeyFile::create(host, path, passphrase.as_deref().map(String::as_str))?;
    let file = OperatorKeyFile::read(host, path)?;
    let code = show(&args.key, &file)?;
    if !args.key.json {
        if !file.is_encrypted() {
            output::error_line(format_args!(
                "Whoever can read the file can sign. A key made with --passphrase is of no use without the passphrase."
            ));
        }
        let public = file.public();
        output::error_line(format_args!(
            "Found a cluster with `vouch server --operator {public}`, and start each replica with the same option. Its members can \
             then never change without this key: keep a copy of the file."
        ));
    }
    Ok(code)
}

fn show(args: &OperatorKeyArgs, file: &OperatorKeyFile) -> Result<u8, Failure> {
    let (public, is_encrypted) = (file.public().to_string(), file.is_encrypted());
    if args.json {
        let mut json = json!({});
        output::put_name(&mut json, "file", &args.key);
        json["public_key"] = public.into();
        json["encrypted"] = is_encrypted.into();
        output::json(&json);
    } else {
        output::line(format_args!("file       {}", output::name(&args.key)));
        output::line(format_args!("public key {public}"));
        output::line(format_args!("encrypted  {}", if is_encrypted { "yes" } else { "no" }));
    }
    Ok(0)
}

fn sign(host: &Host, args: &OperatorSignArgs) -> Result<u8, Failure> {
    let file = OperatorKeyFile::read(host, &args.key.key)?;
    let source = Source::parse(&args.change);
    let change = change_text::read(&source)?;
    // Standard output has the signature only, so that it can be piped.
    if !args.key.json || !args.yes {
        change_text::describe(&change).iter().for_each(|line| output::error_line(format_args!("{line}")));
    }
    if !args.yes {
        confirm(&source)?;
    }
    let passphrase = || passphrase(host, &args.key.key, args.passphrase_file.as_deref());
    let signature = change.sign_as_operator(&file.secret(passphrase)?).to_string();
    if args.key.json {
        let mut json = as_json(&change);
        json["operator"] = file.public().to_string().into();
        json["signature"] = signature.into();
        output::json(&json);
    } else {
        output::line(format_args!("{signature}"));
    }
    Ok(0)
}

/// The passphrase of a key: from a file, or from the person at the terminal.
pub(super) fn passphrase(host: &Host, key: &Path, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    match file {
        Some(file) => Ok(passphrase::read_file(host, file)?),
        None => ask_for_the_passphrase(key),
    }
}

fn as_json(change: &CommitteeChange) -> Value {
    let joins = |member: &AddedMember| json!({ "node_key": member.node_key.to_string(), "name": member.name.as_str() });
    json!({
        "change": change.id(),
        "cluster": change.cluster,
        "epoch": change.epoch,
        "committee": change.committee,
        "leaves": change.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "joins": change.added.iter().map(joins).collect::<Vec<_>>(),
        "forced": change.is_forced,
    })
}

/// Asks whether to sign what was shown.
fn confirm(source: &Source) -> Result<(), Failure> {
    let term = passphrase::terminal().filter(|_| !matches!(source, Source::Stdin)).ok_or_else(|| {
        Failure::new("nobody is asked whether to sign: this needs a terminal, and the change in a file")
            .with_note("Read what the change does, above. To sign it without being asked, add --yes.")
    })?;
    let answer = term
        .write_str("Sign this change? [y/N] ")
        .and_then(|()| term.read_line())
        .map_err(|error| PassphraseError::Terminal(error.to_string()))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("not signed")),
    }
}

fn ask_for_the_passphrase(key: &Path) -> Result<Zeroizing<String>, Failure> {
    let without_terminal = |error| match error {
        PassphraseError::NoTerminal => Failure::new(format_args!("{} is encrypted, and {error}", output::name(key))),
        error => error.into(),
    };
    passphrase::ask(&format!("Passphrase of {}: ", output::name(key))).map_err(without_terminal)
}
