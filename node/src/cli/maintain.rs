//! `vouch status`, `vouch du` and `vouch scrub`: commands about a replica, running or not.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vouch_node_core::peers::{FRAMES_PER_SECOND, MIB_PER_SECOND};

use super::{Failure, MaintainArgs, output};
use crate::data_dir;
use crate::host::Host;
use crate::replica::AtRest;
use crate::replica::control::{self, ControlError, Reply, Request};
use crate::replica::repair::Repair;
use crate::replica::scrub::{self, Scrubbed};
use crate::replica::status::{HeldBackMember, LogStatus, ServerLink, Status, Votes};
use crate::store::{self, Usage};

/// The folder with the data folders of replicas that were started without `--data`.
pub(super) const ROOT: &str = "./.vouch";

/// The replicas' data folders that the command applies to.
pub(super) fn folders(host: &Host, args: &MaintainArgs) -> Result<Vec<PathBuf>, Failure> {
    if let Some(folder) = &args.data {
        if !store::is_in(host.disk(), folder) {
            return Err(Failure::new(format_args!(
                "{} holds no replica's data; name the folder that `vouch replica --data` was given",
                output::name(folder)
            )));
        }
        return Ok(vec![folder.clone()]);
    }
    let found = data_dir::replicas(host.disk(), Path::new(ROOT)).map_err(Failure::new)?;
    let found: Vec<_> = found.into_iter().filter(|folder| store::is_in(host.disk(), folder)).collect();
    if found.is_empty() {
        return Err(Failure::new(format_args!("no replica has its data in {ROOT}; name its folder with --data")));
    }
    Ok(found)
}

fn name(folder: &Path) -> String {
    output::name(folder.file_name().unwrap_or_default())
}

/// One JSON object about a folder.
pub(super) fn print_json(folder: &Path, fields: &impl serde::Serialize) -> Result<(), Failure> {
    let mut object = json!({});
    output::put_name(&mut object, "folder", folder);
    if let (Some(object), Value::Object(fields)) =
        (object.as_object_mut(), serde_json::to_value(fields).map_err(Failure::new)?)
    {
        object.extend(fields);
    }
    output::json(&object);
    Ok(())
}

/// Shows the status of each replica.
pub(super) async fn status(host: &Host, args: &MaintainArgs) -> Result<u8, Failure> {
    let mut code = 0;
    for folder in folders(host, args)? {
        let error = match control::ask(host, &folder, Request::Status, drop).await {
            Ok(Reply::Status(status)) => {
                code |= u8::from(status.index_failed.is_some());
                match args.json {
                    true => print_json(&folder, &status)?,
                    false => show_status(&folder, &status, host.unix_seconds()),
                }
                continue;
            }
            Ok(other) => unexpected(&folder, &other).message,
            Err(ControlError::NotRunning(_)) => {
                code = 1;
                match args.json {
                    true => print_json(&folder, &json!({ "running": false }))?,
                    false => output::line(format_args!("{}: not running", name(&folder))),
                }
                continue;
            }
            Err(error) => error.to_string(),
        };
        // Go on with the other replicas.
        code = 1;
        match args.json {
            true => print_json(&folder, &json!({ "running": true, "error": error }))?,
            false => output::line(format_args!("{}: {error}", name(&folder))),
        }
    }
    Ok(code)
}

pub(super) fn unexpected(folder: &Path, reply: &Reply) -> Failure {
    Failure::new(format_args!("the replica on {} sent an unexpected answer: {reply:?}", output::name(folder)))
}

/// `now`: seconds since 1970.
fn show_status(folder: &Path, status: &Status, now: u64) {
    let membership = match (&status.cluster, status.member) {
        (Some(cluster), Some(member)) => format!("member {} of cluster {cluster}", member + 1),
        (Some(cluster), None) => format!("standby of cluster {cluster}, not a member"),
        (None, _) => "not a member of a cluster yet".to_owned(),
    };
    output::line(format_args!("{}: {membership}, data in {}", status.name, output::name(folder)));
    if let Some(founding) = &status.founding {
        output::line(format_args!("  founding  {founding}"));
    }
    for server in &status.servers {
        output::line(format_args!("  server    {}, {}", server.address, link_state(server)));
    }
    show_votes(status);
    if let Some(usage) = &status.usage {
        show_usage(usage);
    }
    if let Some(why) = &status.index_failed {
        output::line(format_args!("  index     cannot be read, so it signs nothing: {why}"));
    }
    if let Some(why) = &status.storage_failed {
        output::line(format_args!(
            "  storage failed, so it no longer stores or votes: {why}; repair the disk and restart the replica"
        ));
    }
    if let Some(why) = &status.clock.reason {
        output::line(format_args!(
            "  clock     in doubt, so it signs and deletes nothing: {why}; set the clock of this computer"
        ));
    }
    show_log(&status.log, now);
    for member in &status.held_back {
        output::line(format_args!("  peers     {}", held_back(member)));
    }
    output::line(format_args!("  scrubbed  {}", scrubbed(&status.scrubbed)));
    let Repair { lacking, lacking_bytes, unavailable, fetched, fetched_bytes, failed } = status.repair;
    let lacking = match (lacking, lacking_bytes) {
        (Some(blobs), Some(bytes)) if unavailable > 0 => {
            let all = output::count(blobs, "blob");
            format!("{all} lacking, {}, of which no member holds {unavailable}", output::bytes(bytes))
        }
        (Some(blobs), Some(bytes)) => format!("{} lacking, {}", output::count(blobs, "blob"), output::bytes(bytes)),
        _ => "lacking blobs not known yet: the lists of certificates have not been read".to_owned(),
    };
    output::line(format_args!(
        "  repair    {lacking}; fetched {}, {}; {failed} failed",
        output::count(fetched, "blob"),
        output::bytes(fetched_bytes)
    ));
}

/// What was held back of a member that sends too much.
fn held_back(member: &HeldBackMember) -> String {
    let HeldBackMember { name, pauses, dropped, .. } = member;
    let (pauses, dropped) = (output::count(*pauses, "pause"), output::count(*dropped, "relayed message"));
    format!(
        "{name} sends more than {FRAMES_PER_SECOND} messages or {MIB_PER_SECOND} MiB a second: {pauses} in reading from it, {dropped} dropped"
    )
}

/// Shows how far the log is here, and whether this replica signs in it.
fn show_log(log: &LogStatus, now: u64) {
    let height = match log.height {
        0 => "no block yet".to_owned(),
        height => {
            format!("block {height} of {} ({} ago)", output::time(log.time), output::age(now.saturating_sub(log.time)))
        }
    };
    let waiting = output::count(log.waiting as u64, "op");
    output::line(format_args!("  log       {height}, {waiting} waiting"));
    if let Some(why) = &log.abstains {
        output::line(format_args!("  log       signs nothing: {why}"));
    }
    if let Some(why) = &log.stopped {
        output::line(format_args!("  log       stopped: {why}; restart the replica"));
    }
    for file in &log.evidence {
        output::line(format_args!("  log       evidence against a member: {file}; check it with `vouch verify`"));
    }
}

/// The state of a link, and this replica's status at that server.
fn link_state(server: &ServerLink) -> String {
    match (&server.reason, server.counted) {
        (Some(why), _) => format!("not connected: {why}"),
        (None, true) => "connected, as a member".to_owned(),
        (None, false) => {
            let why = server.standing.as_deref().unwrap_or("the server has not sent a status yet");
            format!("connected, not as a member: {why}")
        }
    }
}

/// Shows whether this replica signs, and when it last did.
fn show_votes(status: &Status) {
    let Votes { last_vote, last_refusal, refused_because } = &status.votes;
    let last = last_vote.map_or("nothing since it started".to_owned(), |at| format!("last at {}", output::time(at)));
    match &status.signs_nothing {
        None => output::line(format_args!("  signs     yes; {last}")),
        Some(why) => output::line(format_args!("  signs     no: {}; {last}", why)),
    }
    if let (Some(at), Some(why)) = (last_refusal, refused_because) {
        output::line(format_args!("  refused   last at {}: {}", output::time(*at), why));
    }
}

fn show_usage(usage: &Usage) {
    let Usage { blobs, bytes, small, large, damaged, partials, partial_bytes, quota, free } = *usage;
    output::line(format_args!(
        "  holds     {}, {}; {small} in the index, {large} beside it",
        output::count(blobs, "blob"),
        output::bytes(bytes)
    ));
    if damaged > 0 {
        output::line(format_args!("  damaged   {}, to be fetched again", output::count(damaged, "blob")));
    }
    if partials > 0 {
        output::line(format_args!(
            "  partial   {}, {}, of interrupted puts",
            output::count(partials, "blob"),
            output::bytes(partial_bytes)
        ));
    }
    if let Some(quota) = quota {
        output::line(format_args!("  quota     {}", output::bytes(quota)));
    }
    output::line(format_args!("  free      {}", output::bytes(free)));
}

fn scrubbed(scrubbed: &Scrubbed) -> String {
    let Scrubbed { blobs, bytes, damaged } = *scrubbed;
    format!("{}, {}; {damaged} damaged", output::count(blobs, "blob"), output::bytes(bytes))
}

pub(super) async fn du(host: &Host, args: MaintainArgs) -> Result<u8, Failure> {
    let mut code = 0;
    for folder in folders(host, &args)? {
        match usage(host, &folder).await {
            Ok(usage) if args.json => print_json(&folder, &usage)?,
            Ok(usage) => {
                output::line(format_args!("{}", name(&folder)));
                show_usage(&usage);
            }
            Err(failure) => code = print_failure(&args, &folder, &failure)?,
        }
    }
    Ok(code)
}

/// Opens the store of a replica that is not running. A damaged index is moved aside, with a message.
fn at_rest(host: &Host, folder: &Path) -> Result<AtRest, Failure> {
    let replica = AtRest::open(host, folder).map_err(Failure::new)?;
    if let Some(replaced) = replica.store.replaced() {
        output::error_line(format_args!(
            "vouch: {replaced}; start the replica: it finds its blobs on its disk, or fetches them from the others"
        ));
    }
    Ok(replica)
}

async fn usage(host: &Host, folder: &Path) -> Result<Usage, Failure> {
    match control::ask(host, folder, Request::Usage, drop).await {
        Ok(Reply::Usage(usage)) => Ok(usage),
        Ok(other) => Err(unexpected(folder, &other)),
        Err(ControlError::NotRunning(_)) => at_rest(host, folder)?.store.usage().map_err(Failure::new),
        Err(error) => Err(Failure::new(error)),
    }
}

/// Prints a failure about one replica, so that the command can continue with the others. Returns the exit code.
pub(super) fn print_failure(args: &MaintainArgs, folder: &Path, failure: &Failure) -> Result<u8, Failure> {
    match args.json {
        true => print_json(folder, &json!({ "error": failure.message }))?,
        false => output::error_line(format_args!("vouch: {}: {}", name(folder), failure.message)),
    }
    Ok(1)
}

pub(super) async fn scrub(host: &Host, args: MaintainArgs) -> Result<u8, Failure> {
    let mut code = 0;
    for folder in folders(host, &args)? {
        let bar = output::bar("scrubbing", None);
        let scrubbing = scrub_one(host, &folder, |so_far| bar.set_position(so_far.bytes)).await;
        bar.finish_and_clear();
        let (result, next) = match scrubbing {
            Ok(done) => done,
            Err(failure) => {
                code = print_failure(&args, &folder, &failure)?;
                continue;
            }
        };
        code |= u8::from(result.damaged > 0);
        if args.json {
            print_json(&folder, &result)?;
            continue;
        }
        output::line(format_args!("{}: {}", name(&folder), scrubbed(&result)));
        if result.damaged > 0 {
            output::line(format_args!("  {next}; see `vouch status`"));
        }
    }
    Ok(code)
}

/// Scrubs one replica. Returns the result, and what happens to damaged blobs.
async fn scrub_one(host: &Host, folder: &Path, show: impl Fn(Scrubbed)) -> Result<(Scrubbed, &'static str), Failure> {
    let answer = control::ask(host, folder, Request::Scrub, |reply| {
        if let Reply::Scrubbing(so_far) = reply {
            show(so_far);
        }
    });
    match answer.await {
        Ok(Reply::Scrubbed(result)) => Ok((result, "damaged blobs are fetched again")),
        Ok(other) => Err(unexpected(folder, &other)),
        Err(ControlError::NotRunning(_)) => {
            let replica = at_rest(host, folder)?;
            let result = scrub::offline(host, replica.store.clone(), show).await.map_err(Failure::new)?;
            Ok((result, "start the replica: it fetches damaged blobs again"))
        }
        Err(error) => Err(Failure::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_sends_too_much_is_named() {
        let (name, node_key) = ("replica-2".to_owned(), String::new());
        let member = HeldBackMember { name, node_key, pauses: 12, dropped: 1 };
        let expected = "replica-2 sends more than 4096 messages or 16 MiB a second: 12 pauses in reading from it, 1 relayed message dropped";
        assert_eq!(held_back(&member), expected);
    }
}
