//! `vouch committee`: shows a cluster's members, and changes them. What a server says counts only as far as the committees signed it.

mod choosing;
mod outlook;
mod pending;
mod proposing;
mod waiting;

use serde_json::{Value, json};
use vouch_core::chain::{Checkpoint, CommitteeChain};
use vouch_core::committee::{CommitteeRecord, Member};
use vouch_core::quorum;
use vouch_core::report::EpochView;

use super::committee_args::{CommitteeArgs, CommitteeCommand};
use super::connection_args::ClusterArgs;
use super::log_client::LogClient;
use super::{Failure, output};
use crate::host::Host;
use choosing::Wanted;

pub(super) async fn committee(host: &Host, args: CommitteeArgs) -> Result<u8, Failure> {
    match args.command {
        CommitteeCommand::Show(args) => show(host, &args).await,
        CommitteeCommand::Add(args) => {
            proposing::change(host, &args.build, &Wanted { joins: &args.joins, leaves: &[] }).await
        }
        CommitteeCommand::Remove(args) => {
            proposing::change(host, &args.build, &Wanted { joins: &[], leaves: &args.leaves }).await
        }
        CommitteeCommand::Replace(args) => {
            let wanted = Wanted { joins: &[args.joins], leaves: &[args.leaves] };
            proposing::change(host, &args.build, &wanted).await
        }
        CommitteeCommand::Rotate(args) => {
            proposing::change(host, &args.build, &Wanted { joins: &[], leaves: &[] }).await
        }
        CommitteeCommand::Change(args) => {
            proposing::change(host, &args.build, &Wanted { joins: &args.joins, leaves: &args.leaves }).await
        }
        CommitteeCommand::Propose(args) => proposing::propose(host, &args).await,
        CommitteeCommand::Approve(args) => pending::approve(host, &args).await,
        CommitteeCommand::Pending(args) => pending::pending(host, &args).await,
    }
}

async fn show(host: &Host, args: &ClusterArgs) -> Result<u8, Failure> {
    let mut client = LogClient::new(host, (&args.servers).into(), &args.trust)?;
    let chain = client.chain().await?;
    match args.json {
        true => output::json(&as_json(&chain)),
        false => print(&chain),
    }
    Ok(0)
}

/// Numbers of a committee.
fn size(record: &CommitteeRecord) -> Value {
    size_of(record.n())
}

fn size_of(n: u16) -> Value {
    json!({ "members": n, "tolerated_faults": quorum::tolerated_faults(n), "quorum": quorum::quorum(n) })
}

fn as_json(chain: &CommitteeChain) -> Value {
    let record = chain.current().record();
    let member = |member: &Member| json!({ "name": member.name.as_str(), "node_key": member.node_key.to_string() });
    json!({
        "cluster": chain.cluster(),
        "policy": record.policy().to_string(),
        "epoch": record.epoch(),
        "checkpoint": Checkpoint::from(chain),
        "committee": record.digest(),
        "size": size(record),
        "members": record.members().iter().map(member).collect::<Vec<_>>(),
        "epochs": EpochView::of_chain(chain),
    })
}

fn row(name: &str, value: impl std::fmt::Display) {
    output::line(format_args!("{name:<10} {value}"));
}

fn print(chain: &CommitteeChain) {
    let record = chain.current().record();
    row("cluster", chain.cluster());
    row("policy", record.policy());
    for view in EpochView::of_chain(chain) {
        let EpochView { epoch, committee, members, joined, left, closing } = view;
        let end = closing.map_or_else(|| "active".to_owned(), |closing| format!("closed {}", output::time(closing)));
        let members = output::count(members.into(), "member");
        row("epoch", format_args!("{epoch}, {members}, {end}, committee {committee}"));
        for (what, names) in [("joined", joined), ("left", left)] {
            if !names.is_empty() {
                row("", format_args!("{what} {}", names.join(", ")));
            }
        }
    }
    // As --checkpoint takes it.
    row("checkpoint", Checkpoint::from(chain));
    row("members", quorum::tolerance(record.n()));
    for member in record.members() {
        row("", format_args!("{:<24} node {}", member.name, member.node_key));
    }
}
