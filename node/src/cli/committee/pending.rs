//! `vouch committee pending` and `vouch committee approve`: what a running replica knows of the changes, and its operator's approval.

use std::path::{Path, PathBuf};

use super::super::args::MaintainArgs;
use super::super::committee_args::{CommitteeApproveArgs, OneReplicaArgs};
use super::super::{Failure, maintain, output};
use crate::host::Host;
use crate::replica::control::{self, Reply, Request};
use crate::replica::status::{
    ApprovedChange, ChangeStatus, ChangeStep, MembershipStatus, NamedNode, OwnPart, ProposalStatus, RunningStatus,
    SealStatus,
};

pub(super) async fn approve(host: &Host, args: &CommitteeApproveArgs) -> Result<u8, Failure> {
    let folder = folder(host, &args.replica)?;
    let request = Request::Approve(args.change.to_string());
    match control::ask(host, &folder, request, drop).await.map_err(Failure::new)? {
        Reply::Approved(approved) if args.replica.json => maintain::print_json(&folder, &approved)?,
        Reply::Approved(approved) => {
            approval_lines(&approved).iter().for_each(|line| output::line(format_args!("{line}")))
        }
        other => return Err(maintain::unexpected(&folder, &other)),
    }
    Ok(0)
}

/// The one replica that is meant: an approval is one member's.
fn folder(host: &Host, args: &OneReplicaArgs) -> Result<PathBuf, Failure> {
    let maintained = MaintainArgs { data: args.data.clone(), json: args.json };
    let folders = maintain::folders(host, &maintained)?;
    match folders.as_slice() {
        [folder] => Ok(folder.clone()),
        several => Err(Failure::new(format_args!(
            "{} replicas have their data here; name the folder of the one that approves with --data",
            several.len()
        ))),
    }
}

pub(super) async fn pending(host: &Host, args: &MaintainArgs) -> Result<u8, Failure> {
    let mut code = 0;
    for folder in maintain::folders(host, args)? {
        let failure = match control::ask(host, &folder, Request::Membership, drop).await {
            Ok(Reply::Membership(status)) => {
                match args.json {
                    true => maintain::print_json(&folder, &status)?,
                    false => print(&folder, &status),
                }
                continue;
            }
            Ok(other) => maintain::unexpected(&folder, &other),
            Err(error) => Failure::new(error),
        };
        // Go on with the other replicas.
        code = maintain::print_failure(args, &folder, &failure)?;
    }
    Ok(code)
}

fn print(folder: &Path, status: &MembershipStatus) {
    let name = output::name(folder.file_name().unwrap_or_default());
    output::line(format_args!("{name}: {}", own_text(status)));
    lines(status).iter().for_each(|line| output::line(format_args!("  {line}")));
}

/// What the replica itself is.
fn own_text(status: &MembershipStatus) -> String {
    let epoch = status.epoch;
    match status.own {
        OwnPart::Member { leaves: false } => format!("a member in epoch {epoch}"),
        OwnPart::Member { leaves: true } => format!("a member in epoch {epoch}, which leaves with the running change"),
        OwnPart::Proposed => "proposed to join; the change is not approved yet".into(),
        OwnPart::CatchingUp { lacking: Some(blobs) } => {
            format!("joins with the running change; catching up, {} lacking", output::count(blobs, "blob"))
        }
        OwnPart::CatchingUp { lacking: None } => {
            "joins with the running change; catching up, the lists of certificates have not been read yet".into()
        }
        OwnPart::Ready => "joins with the running change; ready, it holds every blob".into(),
        OwnPart::Outside => format!("not a member in epoch {epoch}, and no change makes it one"),
    }
}

fn lines(status: &MembershipStatus) -> Vec<String> {
    let MembershipStatus { cluster, epoch, members, quorum, proposals, running, seal, .. } = status;
    let members = output::count((*members).into(), "member");
    let mut lines =
        vec![format!("cluster   {cluster}"), format!("epoch     {epoch}, {members}; {quorum} approve a change")];
    let is_running =
        |proposal: &&ProposalStatus| running.as_ref().is_some_and(|one| one.change.id == proposal.change.id);
    for proposal in proposals.iter().filter(|proposal| !is_running(proposal)) {
        lines.extend(proposal_lines(proposal, *quorum));
    }
    match running {
        Some(running) => lines.extend(running_lines(running, *epoch)),
        None if proposals.is_empty() => lines.push("changes   none is proposed".into()),
        None => {}
    }
    lines.extend(seal.iter().map(seal_line));
    lines
}

fn named(nodes: &[NamedNode]) -> String {
    match nodes {
        [] => "nobody".into(),
        nodes => nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn change_lines(change: &ChangeStatus) -> Vec<String> {
    let ChangeStatus { joins, leaves, forced, .. } = change;
    let node = |what: &str, node: &NamedNode| format!("{what:<9} {:<24} node {}", node.name, node.node_key);
    let mut lines: Vec<String> = joins.iter().map(|one| node("joins", one)).collect();
    lines.extend(leaves.iter().map(|one| node("leaves", one)));
    if joins.is_empty() && leaves.is_empty() {
        lines.push("members   all stay, and get new vote keys".into());
    }
    if *forced {
        lines.push("forced    yes: it does not wait until the next committee holds every file".into());
    }
    lines
}

fn proposal_lines(proposal: &ProposalStatus, needed: u16) -> Vec<String> {
    let ProposalStatus { change, operator_signed, approved_by, approved_here, .. } = proposal;
    let mut lines = vec![format!("proposed  {}", change.id)];
    lines.extend(change_lines(change));
    lines.push(format!("approvals {} of {needed}: {}", approved_by.len(), named(approved_by)));
    lines.push(match (operator_signed, approved_here) {
        (true, _) => {
            "here      the operator signed it; the members approve the latest such change by themselves".into()
        }
        (false, true) => "here      approved".into(),
        (false, false) => format!("here      not approved; approve it with: vouch committee approve {}", change.id),
    });
    lines
}

fn running_lines(running: &RunningStatus, epoch: u64) -> Vec<String> {
    let RunningStatus { change, step, next_members, offers_missing, accepted_by, stopped, closing, signed_by, .. } =
        running;
    let mut lines = vec![format!("running   {}, to epoch {}", change.id, epoch + 1)];
    lines.extend(change_lines(change));
    let (accepts, signatures) = (running.accepts_needed, running.signatures_needed);
    lines.push(match step {
        ChangeStep::Offers => format!("step      waits for the vote keys of {}", named(offers_missing)),
        ChangeStep::Seal => format!("step      waits until epoch {} is sealed", epoch.saturating_sub(1)),
        ChangeStep::Accepts => format!(
            "step      waits until {accepts} of the next {} accept; {} did: {}",
            output::count((*next_members).into(), "member"),
            accepted_by.len(),
            named(accepted_by)
        ),
        ChangeStep::Stops => format!(
            "step      decided; waits until {signatures} members stop; {} did: {}",
            stopped.len(),
            named(stopped)
        ),
        ChangeStep::Handoff => format!(
            "step      epoch {epoch} closes at {}; waits until {signatures} members sign the handoff; {} did: {}",
            closing.map_or_else(String::new, output::time),
            signed_by.len(),
            named(signed_by)
        ),
    });
    lines
}

fn seal_line(seal: &SealStatus) -> String {
    let SealStatus { epoch, closing, sealed, ready, signed, needed } = seal;
    match (sealed, signed) {
        (true, _) => format!("seal      epoch {epoch} is sealed"),
        (false, 0) => format!(
            "seal      epoch {epoch}, which closed {}, is not sealed yet; {ready} of {needed} members are ready to",
            output::time(*closing)
        ),
        (false, signed) => format!("seal      epoch {epoch} is being sealed; {signed} of {needed} members signed"),
    }
}

fn approval_lines(approved: &ApprovedChange) -> Vec<String> {
    let ApprovedChange { proposal, needed, approves_already } = approved;
    let mut lines = vec![format!("approved  {}", proposal.change.id)];
    lines.extend(change_lines(&proposal.change));
    lines.push(format!(
        "approvals {} of {needed} in the log before: {}",
        proposal.approved_by.len(),
        named(&proposal.approved_by)
    ));
    if let Some(another) = approves_already {
        lines.push(format!(
            "This member approved {another} before. It approves one change at a time, so this one takes its place."
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NamedNode {
        NamedNode { name: name.into(), node_key: format!("key-of-{name}") }
    }

    fn status() -> MembershipStatus {
        let change = ChangeStatus { id: "C1".into(), joins: vec![node("five")], leaves: Vec::new(), forced: false };
        let proposal = ProposalStatus {
            change,
            height: 3,
            operator_signed: false,
            approved_by: vec![node("one")],
            approved_here: false,
        };
        let (cluster, own) = ("X".to_owned(), OwnPart::Member { leaves: false });
        MembershipStatus {
            cluster,
            epoch: 1,
            members: 4,
            quorum: 3,
            proposals: vec![proposal],
            running: None,
            seal: None,
            own,
        }
    }

    fn running(step: ChangeStep) -> RunningStatus {
        RunningStatus {
            change: status().proposals[0].change.clone(),
            since: 7,
            step,
            next_members: 5,
            offers_missing: vec![node("five")],
            accepted_by: vec![node("one"), node("two")],
            stopped: vec![node("three")],
            closing: Some(60),
            signed_by: Vec::new(),
            accepts_needed: 4,
            signatures_needed: 3,
        }
    }

    #[test]
    fn a_proposal_is_shown_until_it_runs() {
        let mut status = status();
        let text = lines(&status).join("\n");
        for part in ["proposed  C1", "joins     five", "approvals 1 of 3: one", "vouch committee approve C1"] {
            assert!(text.contains(part), "{text}");
        }
        status.running = Some(running(ChangeStep::Offers));
        let text = lines(&status).join("\n");
        assert!(!text.contains("proposed  C1") && text.contains("running   C1, to epoch 2"), "{text}");
        status.running = None;
        status.proposals[0].approved_here = true;
        assert!(lines(&status).contains(&"here      approved".to_owned()));
        status.proposals.clear();
        assert!(lines(&status).contains(&"changes   none is proposed".to_owned()));
    }

    #[test]
    fn each_step_names_what_is_missing() {
        for (step, text) in [
            (ChangeStep::Offers, "step      waits for the vote keys of five"),
            (ChangeStep::Seal, "step      waits until epoch 0 is sealed"),
            (ChangeStep::Accepts, "step      waits until 4 of the next 5 members accept; 2 did: one, two"),
            (ChangeStep::Stops, "step      decided; waits until 3 members stop; 1 did: three"),
            (
                ChangeStep::Handoff,
                "step      epoch 1 closes at 1970-01-01T00:01:00Z; waits until 3 members sign the handoff; 0 did: nobody",
            ),
        ] {
            assert_eq!(running_lines(&running(step), 1).last().unwrap(), text);
        }
    }

    #[test]
    fn the_replica_says_what_it_is() {
        let of = |own| own_text(&MembershipStatus { own, ..status() });
        assert_eq!(
            of(OwnPart::CatchingUp { lacking: Some(1) }),
            "joins with the running change; catching up, 1 blob lacking"
        );
        assert!(of(OwnPart::CatchingUp { lacking: None }).contains("not been read"));
        assert!(of(OwnPart::Ready).contains("ready"));
        assert!(of(OwnPart::Member { leaves: true }).contains("leaves"));
        assert!(of(OwnPart::Proposed).contains("not approved yet"));
    }
}
