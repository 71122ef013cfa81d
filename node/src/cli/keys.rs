//! `vouch keys`: the passphrase of a node's keys.

use std::path::Path;

use serde_json::json;

use super::keys_args::{KeysArgs, KeysCommand};
use super::{Failure, output};
use crate::data_dir::DataDir;
use crate::host::Host;
use crate::keys;
use crate::passphrase::PassphraseSource;

pub(super) fn keys(host: &Host, args: &KeysArgs) -> Result<u8, Failure> {
    let args_of_folder = args.command.folder();
    let folder = &args_of_folder.data;
    // `protect` makes a folder for keys to come. The others need one with keys.
    if !matches!(args.command, KeysCommand::Protect(_)) && !host.disk().is_folder(folder) {
        return Err(Failure::new(format_args!(
            "there is no folder {}; name another with --data",
            output::name(folder)
        )));
    }
    // Locked: a node that runs would go on to write keys in the form that it found.
    let data = DataDir::open(host.disk(), folder).map_err(Failure::new)?;
    let folder = data.path();
    let source = host.passphrase();
    let (count, is_protected) = match &args.command {
        KeysCommand::Protect(_) => (Some(keys::protect(host, folder, source).map_err(Failure::new)?), true),
        KeysCommand::Unprotect(_) => (Some(keys::unprotect(host, folder, source).map_err(Failure::new)?), false),
        KeysCommand::Passphrase(args) => {
            let new = args.new_passphrase_file.clone().map_or(PassphraseSource::Terminal, PassphraseSource::File);
            keys::change_passphrase(host, folder, source, &new).map_err(Failure::new)?;
            (None, true)
        }
    };
    match args_of_folder.json {
        true => print_json(folder, count, is_protected),
        false => print(folder, count, is_protected),
    }
    Ok(0)
}

fn print_json(folder: &Path, count: Option<usize>, is_protected: bool) {
    let mut json = json!({});
    output::put_name(&mut json, "folder", folder);
    json["protected"] = is_protected.into();
    if let Some(count) = count {
        json["keys"] = count.into();
    }
    output::json(&json);
}

fn print(folder: &Path, count: Option<usize>, is_protected: bool) {
    let name = output::name(folder);
    if count == Some(0) && is_protected {
        output::line(format_args!("{name} has no keys yet; those that are made there are under the passphrase"));
        output::error_line(format_args!("Keep the passphrase: without it, the keys are lost."));
        return;
    }
    let Some(count) = count.map(|count| output::count(count as u64, "key")) else {
        output::line(format_args!("the keys in {name} are under the new passphrase"));
        output::error_line(format_args!(
            "A copy of keys.age from before is still opened by the old one: destroy such copies."
        ));
        return;
    };
    match is_protected {
        true => {
            output::line(format_args!("{count} in {name} under the passphrase, as is every key made there later"));
            output::error_line(format_args!(
                "Keep the passphrase: without it, the keys are lost. Earlier backups, and blocks that the disk has not overwritten, may still \
                 have the plain keys."
            ));
        }
        false => output::line(format_args!("{count} in {name} under no passphrase")),
    }
}
