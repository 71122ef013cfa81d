//! Has a cluster decide a change of the rules of access: by its operator's signature, or by the approvals of its members.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use vouch_core::access::{AccessChange, AccessOp, Decision, NO_LIMIT};
use vouch_core::committee::{CommitteeRecord, Policy};
use vouch_core::digest::ClusterId;

use super::super::args::MaintainArgs;
use super::super::log_client::LogClient;
use super::super::token_args::DecideArgs;
use super::super::{Failure, maintain, operator, output};
use super::claims::Claims;
use crate::host::Host;
use crate::operator_key::OperatorKeyFile;
use crate::replica::control::{self, ControlError, Reply, Request};

/// How long the members' decision may take to be seen at the server.
const DECIDED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Maximum length of a change's text: more than any has.
const LONGEST: usize = 1024;

/// A decision to be made.
pub(super) struct Deciding<'a> {
    host: &'a Host,
    args: &'a DecideArgs,
    client: LogClient<'a>,
    committee: CommitteeRecord,
    claims: Claims,
}

impl<'a> Deciding<'a> {
    /// Verifies the cluster, and asks for the rules that the change begins with.
    pub(super) async fn begin(host: &'a Host, args: &'a DecideArgs) -> Result<Self, Failure> {
        let mut client = LogClient::new(host, (&args.servers).into(), &args.trust)?;
        let chain = client.chain().await?;
        let committee = chain.current().record().clone();
        match (committee.policy(), &args.operator_key) {
            (Policy::Operator(key), None) => {
                return Err(Failure::new(format_args!(
                    "the operator of this cluster, with the key {key}, decides this"
                ))
                .with_note("Name the file of the operator's key with --operator-key FILE."));
            }
            (Policy::Open, Some(_)) => {
                return Err(Failure::new("this cluster has no operator: its members decide")
                    .with_note("Run the command where replicas run, without --operator-key."));
            }
            (Policy::Operator(_), Some(_)) | (Policy::Open, None) => {}
        }
        let claims = Claims::of(&client, chain.cluster()).await?;
        Ok(Self { host, args, client, committee, claims })
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.committee.cluster()
    }

    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Has the decision made. `json`: what else is printed about it.
    pub(super) async fn decide(&mut self, decision: Decision, json: Value) -> Result<u8, Failure> {
        // The number is the server's claim. If it is wrong, the log says which one it expects.
        let number = self.claims.changes.saturating_add(1);
        let change = AccessChange { cluster: self.cluster(), number, decision };
        match &self.args.operator_key {
            Some(key) => self.sign(key, &change, json).await,
            None => self.have_approved(&change, json).await,
        }
    }

    /// The operator signs.
    async fn sign(&mut self, key: &Path, change: &AccessChange, mut json: Value) -> Result<u8, Failure> {
        let file = OperatorKeyFile::read(self.host, key)?;
        let passphrase = || operator::passphrase(self.host, key, self.args.passphrase_file.as_deref());
        let signature = change.sign_as_operator(&self.committee, &file.secret(passphrase)?);
        let op = AccessOp::Decide { operator: signature, change: *change };
        let shown = self.client.decide(&self.cluster(), op.kind(), op.body()).await?;
        let effect = output::effect_text(&shown.effect);
        if !effect.starts_with("access change ") {
            return Err(Failure::new(output::harmless(&effect))
                .with_note(format_args!("The log decided so in block {}.", shown.height)));
        }
        if self.args.json {
            json["change"] = change.number.into();
            json["decided"] = true.into();
            json["height"] = shown.height.into();
            output::json(&json);
        } else {
            output::line(format_args!("{}, in block {}", output::harmless(&effect), shown.height));
        }
        Ok(0)
    }

    /// The members whose replicas run here approve.
    async fn have_approved(&mut self, change: &AccessChange, mut json: Value) -> Result<u8, Failure> {
        let text = change_text(change);
        let folders = folders(self.host, &self.args.data).unwrap_or_default();
        let approved = ask_all(self.host, &folders, change).await?;
        let quorum = usize::from(self.committee.quorum());
        let is_decided = approved.len() >= quorum && self.is_decided(change.number).await?;
        if self.args.json {
            json["change"] = change.number.into();
            json["decided"] = is_decided.into();
            json["approved_by"] = approved.iter().map(String::as_str).collect::<Vec<_>>().into();
            json["needed"] = quorum.into();
            json["change_text"] = text.into();
            output::json(&json);
            return Ok(0);
        }
        describe(change);
        for name in &approved {
            output::line(format_args!("approved   by {}", output::harmless(name)));
        }
        if is_decided {
            output::line(format_args!("decided    change {}", change.number));
        } else {
            output::line(format_args!("waits for  {} of {quorum} approvals by members", approved.len()));
            output::line(format_args!("On the machine of each other member, its operator approves with:"));
            output::line(format_args!("  vouch token approve {text} --data FOLDER"));
        }
        Ok(0)
    }

    /// Waits until the server has heard of the change.
    async fn is_decided(&mut self, number: u64) -> Result<bool, Failure> {
        let until = self.host.monotonic() + DECIDED_WITHIN;
        loop {
            self.claims = Claims::of(&self.client, self.cluster()).await?;
            if self.claims.changes >= number {
                return Ok(true);
            }
            if self.host.monotonic() >= until {
                return Ok(false);
            }
            self.host.sleep(LOOK_EVERY).await;
        }
    }
}

/// The folders of the replicas that approve.
pub(super) fn folders(host: &Host, named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if named.is_empty() {
        return maintain::folders(host, &MaintainArgs { data: None, json: false });
    }
    let each = |folder: &PathBuf| maintain::folders(host, &MaintainArgs { data: Some(folder.clone()), json: false });
    named.iter().map(each).collect::<Result<Vec<_>, _>>().map(|folders| folders.concat())
}

/// Has each replica approve. Returns the names of those that did; one that does not run is no error.
async fn ask_all(host: &Host, folders: &[PathBuf], change: &AccessChange) -> Result<Vec<String>, Failure> {
    let mut approved = Vec::new();
    for folder in folders {
        let request = Request::ApproveAccess(change_text(change));
        match control::ask(host, folder, request, drop).await {
            Ok(Reply::AccessApproved(name)) => approved.push(name),
            Ok(other) => return Err(maintain::unexpected(folder, &other)),
            Err(ControlError::NotRunning(_)) => {}
            Err(error) => {
                return Err(Failure::new(format_args!("{}: {error}", output::name(folder))));
            }
        }
    }
    Ok(approved)
}

/// `vouch token approve`.
pub(super) async fn approve_with(
    host: &Host,
    folders: &[PathBuf],
    change: &AccessChange,
    is_json: bool,
) -> Result<u8, Failure> {
    if !is_json {
        describe(change);
    }
    let approved = ask_all(host, folders, change).await?;
    if approved.is_empty() {
        return Err(Failure::new("no replica runs here that could approve; name the folder of one with --data"));
    }
    match is_json {
        true => output::json(&json!({ "change": change.number, "approved_by": approved })),
        false => {
            approved.iter().for_each(|name| output::line(format_args!("approved   by {}", output::harmless(name))))
        }
    }
    Ok(0)
}

/// The change as one line.
pub(super) fn change_text(change: &AccessChange) -> String {
    Base64UrlUnpadded::encode_string(&change.encode())
}

/// The change that a line is.
pub(super) fn parse_change(text: &str) -> Result<AccessChange, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(format_args!("{why}"))
            .with_note("Expected a change: one line of base64url, as the command that began it printed it.")
    };
    if text.len() > LONGEST {
        return Err(wrong(&"this is too long for a change"));
    }
    let bytes = Base64UrlUnpadded::decode_vec(text.trim()).map_err(|_| wrong(&"this is not base64url"))?;
    AccessChange::decode(&bytes).map_err(|error| wrong(&error))
}

/// What the change does. It may come from others, so each line is made harmless.
fn describe(change: &AccessChange) {
    let mut lines = vec![format!("change     {} of cluster {}", change.number, change.cluster)];
    match &change.decision {
        Decision::Rules(rules) => {
            lines.push(format!("put        {}", rules.put));
            lines.push(format!("read       {}", rules.read));
        }
        Decision::Grant(key, grant) => {
            let limit =
                |name: &str, value: u64, text: String| (value != NO_LIMIT).then(|| format!("{name:<10} {text}"));
            lines.push(format!("grants     token {key} of {}", grant.name));
            lines.extend(limit("max size", grant.largest, output::bytes(grant.largest)));
            lines.extend(limit("rate", grant.rate, format!("{} per second", output::bytes(grant.rate))));
            lines.extend(limit("quota", grant.quota, output::bytes(grant.quota)));
            lines.extend(limit("expires", grant.expires_at, output::time(grant.expires_at)));
        }
        Decision::Revoke(key) => lines.push(format!("revokes    token {key}")),
    }
    lines.iter().for_each(|line| output::line(format_args!("{}", output::harmless(line))));
}
