//! Makes a change of members, says what it does, and proposes it to the log.

use std::path::Path;

use serde_json::Value;
use vouch_core::bls::VoteSignature;
use vouch_core::committee::{CommitteeRecord, Policy};
use vouch_core::membership::{CommitteeChange, MembershipOp, verify_operator};

use super::super::committee_args::{ChangeBuildArgs, CommitteeProposeArgs, ProposalSendArgs};
use super::super::log_client::LogClient;
use super::super::{Failure, change_text, output, target_to_write};
use super::choosing::Wanted;
use super::outlook::Outlook;
use super::size;
use super::waiting::{self, Proposed};
use crate::host::Host;
use crate::host::files::Target;
use crate::host::source::Source;

/// Everybody may read a change: it is public in the log.
const CHANGE_MODE: u32 = 0o644;

/// `vouch committee change` and its short forms.
pub(super) async fn change(host: &Host, args: &ChangeBuildArgs, wanted: &Wanted<'_>) -> Result<u8, Failure> {
    let place = args.out.as_deref().map(ChangePlace::new).transpose()?;
    let send = &args.send;
    let mut client = LogClient::new(host, (&send.server.servers).into(), &send.server.trust)?;
    let chain = client.chain().await?;
    let committee = chain.current().record();
    let change = wanted.change(committee, host.random(), args.force)?;
    let outlook = Outlook::new(&change, committee);
    if let Some(place) = place {
        // Standard output may be for the change alone.
        if !send.server.json {
            outlook.lines().iter().for_each(|line| output::error_line(format_args!("{line}")));
        }
        place.write(&change)?;
        if send.server.json && !place.is_stdout() {
            output::json(&outlook.as_json());
        }
        return Ok(0);
    }
    announce(&outlook, send);
    let json = outlook.as_json();
    if send.dry_run {
        return dry_run(send, &json);
    }
    check_operator(committee, &change, None)?;
    submit(client, send, committee, change, None, json).await
}

/// `vouch committee propose`.
pub(super) async fn propose(host: &Host, args: &CommitteeProposeArgs) -> Result<u8, Failure> {
    let send = &args.send;
    let change = change_text::read(&Source::parse(&args.change))?;
    let mut client = LogClient::new(host, (&send.server.servers).into(), &send.server.trust)?;
    let chain = client.chain().await?;
    let committee = chain.current().record();
    change.check(committee).map_err(|error| {
        let failure = Failure::new(error);
        match change.epoch == committee.epoch() && change.cluster == committee.cluster() {
            true => failure,
            false => failure.with_note(format_args!(
                "The change is one of epoch {}, and the cluster is in epoch {}: make a new change.",
                change.epoch,
                committee.epoch()
            )),
        }
    })?;
    let outlook = Outlook::new(&change, committee);
    announce(&outlook, send);
    let json = outlook.as_json();
    if send.dry_run {
        return dry_run(send, &json);
    }
    let signature = args.operator_signature;
    check_operator(committee, &change, signature.as_ref())?;
    submit(client, send, committee, change, signature, json).await
}

fn announce(outlook: &Outlook<'_>, send: &ProposalSendArgs) {
    if !send.server.json {
        outlook.lines().iter().for_each(|line| output::line(format_args!("{line}")));
    }
}

fn dry_run(send: &ProposalSendArgs, json: &Value) -> Result<u8, Failure> {
    match send.server.json {
        true => output::json(json),
        false => output::line(format_args!("Nothing was proposed (--dry-run).")),
    }
    Ok(0)
}

/// Where a change is written that is not proposed yet.
struct ChangePlace<'a> {
    path: &'a Path,
    /// `None`: standard output.
    target: Option<Target>,
}

impl<'a> ChangePlace<'a> {
    /// Checks before the work that the file can be written.
    fn new(path: &'a Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self { path, target: None });
        }
        let target = target_to_write(path)?;
        if matches!(target, Target::Regular(_)) {
            let name = output::name(path);
            return Err(Failure::new(format_args!("{name} exists; name another file with --out")));
        }
        Ok(Self { path, target: Some(target) })
    }

    fn is_stdout(&self) -> bool {
        self.target.is_none()
    }

    fn write(&self, change: &CommitteeChange) -> Result<(), Failure> {
        let text = change_text::encode(change);
        let Some(target) = &self.target else {
            output::line(format_args!("{text}"));
            return Ok(());
        };
        target.write(format!("{text}\n").as_bytes(), CHANGE_MODE).map_err(Failure::new)?;
        output::error_line(format_args!(
            "Nothing was proposed. Propose the change with: vouch committee propose {}",
            output::shell_word(self.path)
        ));
        Ok(())
    }
}

/// Checks the operator's signature as the members will: otherwise the log would refuse the proposal.
fn check_operator(
    committee: &CommitteeRecord,
    change: &CommitteeChange,
    signature: Option<&VoteSignature>,
) -> Result<(), Failure> {
    match (committee.policy(), signature) {
        (Policy::Open, None) => Ok(()),
        (Policy::Open, Some(_)) => {
            Err(Failure::new("this cluster has no operator: its members alone decide on changes")
                .with_note("Propose the change without a signature."))
        }
        (Policy::Operator(key), Some(signature)) => verify_operator(&key, change, signature).map_err(|error| {
            Failure::new(error.comparison().within("operator's signature"))
                .with_note(format_args!("The operator of this cluster has the key {key}."))
        }),
        (Policy::Operator(_), None) => Err(Failure::new("the operator of this cluster must sign a change of members")
            .with_note("Write the change with --out change.txt,")
            .with_note("have the operator sign it with: vouch operator sign change.txt")
            .with_note("and then propose it with: vouch committee propose change.txt --operator-signature SIGNATURE")),
    }
}

/// Has the proposal decided by the log, and waits for the change, if the user wants.
async fn submit(
    mut client: LogClient<'_>,
    send: &ProposalSendArgs,
    committee: &CommitteeRecord,
    change: CommitteeChange,
    operator: Option<VoteSignature>,
    mut json: Value,
) -> Result<u8, Failure> {
    let is_signed = operator.is_some();
    let op = MembershipOp::Propose { change: change.clone(), operator };
    let shown = client.decide(&committee.cluster(), op.kind(), op.body()).await?;
    let effect = output::effect_text(&shown.effect);
    if effect != format!("proposed {}", change.id()) {
        return Err(Failure::new(effect).with_note(format_args!("The log decided so in block {}.", shown.height)));
    }
    json["proposed"] = true.into();
    json["op"] = shown.id.to_string().into();
    json["height"] = shown.height.into();
    json["active"] = false.into();
    if !send.server.json {
        output::line(format_args!("{effect}, in block {}", shown.height));
    }
    if send.no_wait {
        match send.server.json {
            true => output::json(&json),
            // The operator's signature is all that members need.
            false if is_signed => {}
            false => output::line(format_args!(
                "Each member's operator approves it with: vouch committee approve {} --data FOLDER",
                change.id()
            )),
        }
        return Ok(0);
    }
    let proposed = Proposed { change: &change, committee, height: shown.height };
    let chain = waiting::until_active(client, &proposed, send.timeout).await?;
    let record = chain.current().record();
    if send.server.json {
        json["active"] = true.into();
        json["next"] = size(record);
        json["committee"] = super::as_json(&chain);
        output::json(&json);
    } else {
        output::line(format_args!("epoch {} is active", record.epoch()));
        super::print(&chain);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::VoteSecretKey;

    use super::super::choosing::tests::four;
    use super::*;

    #[test]
    fn only_a_signature_that_the_policy_needs_is_sent() {
        let open = four();
        let change = CommitteeChange::new(&open, [1; 16], false, Vec::new(), Vec::new()).unwrap();
        let (key, other) = (VoteSecretKey::generate(&[1; 32]).unwrap(), VoteSecretKey::generate(&[2; 32]).unwrap());
        let signature = change.sign_as_operator(&key);
        assert!(check_operator(&open, &change, None).is_ok());
        assert!(check_operator(&open, &change, Some(&signature)).is_err());
        let members = open.members().to_vec();
        let policy = Policy::Operator(key.vote_key());
        let owned = CommitteeRecord::genesis_under(policy, [0; 16], members).unwrap();
        let change = CommitteeChange::new(&owned, [1; 16], false, Vec::new(), Vec::new()).unwrap();
        assert!(check_operator(&owned, &change, None).unwrap_err().notes.concat().contains("vouch operator sign"));
        assert!(check_operator(&owned, &change, Some(&change.sign_as_operator(&key))).is_ok());
        for wrong in [signature, change.sign_as_operator(&other)] {
            assert!(check_operator(&owned, &change, Some(&wrong)).is_err());
        }
    }
}
