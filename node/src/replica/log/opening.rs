//! Opens the log of a member: reads its files, and makes the core from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_core::log::Op;
use vouch_node_core::cluster_state::ClusterState;
use vouch_node_core::log::applied::Applied;
use vouch_node_core::log::interface::{LogOutput, WalState};
use vouch_node_core::log::members::LogMembers;
use vouch_node_core::log::state_transfer::KEPT_BLOCKS;
use vouch_node_core::log::{LogConfig, LogCore};
use vouch_node_core::membership::Membership;
use vouch_node_core::replica::Event;
use vouch_node_core::replica::log_calls::OpCallers;

use super::answers::Answers;
use super::conversion;
use super::task::LogTask;
use super::{Call, LogContext, ReplicaLog, evidence};
use crate::host::Host;
use crate::log::LogOwner;
use crate::log::disk::{LogDisk, OpenedLog, WalFound};
use crate::notices::Notice;
use crate::replica::peers::{PeerEvents, PeerNetwork};

/// Number of decided blocks that the core begins with, so that most answers to nodes behind need no read.
const RECENT: u64 = 32;

/// Waits until the replica is a member of a committee, or follows the cluster that it wants to join.
pub(super) async fn membership(context: &LogContext) -> CommitteeChain {
    let mut committees = context.identity.committees.follow();
    loop {
        if let Some(chain) = committees.see()
            && (context.joins || context.identity.position(chain.current()).is_some())
        {
            return chain;
        }
        if committees.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Opens the log. The error is a text for the operator.
pub(super) async fn open(
    context: &Arc<LogContext>,
    chain: &CommitteeChain,
    log: Arc<ReplicaLog>,
    (calls, ops): (mpsc::Receiver<Call>, mpsc::Receiver<Op>),
    (network, events): (PeerNetwork, PeerEvents),
) -> Result<LogTask, String> {
    let host = context.storage.host.clone();
    let opening = {
        let (context, genesis, host) = (context.clone(), chain.first().clone(), host.clone());
        host.clone().spawn_blocking(move || {
            let kept = evidence::kept(&context).map_err(|error| error.to_string())?;
            Ok((kept, open_blocking(&context, &genesis, &host)?))
        })
    };
    let opened: Result<_, String> = opening.await.map_err(|error| error.to_string())?;
    let (kept, Opened { opened, core, outputs }) = opened?;
    log.status.change(|status| status.evidence = kept);
    let OpenedLog { disk, completions, wal, replaced, .. } = opened;
    if let Some(replaced) = replaced {
        context.trouble(format!("{replaced}; the log's blocks are fetched from the other members"));
    }
    if let WalFound::Lost(loss) = &wal {
        let voting = "this replica votes in the log again once it cannot contradict what it may have signed before";
        context.reports.report(Event::Trouble(format!("log: {loss}; {voting}")));
    }
    let nodes = nodes_of(core.applied().machine().membership(), chain);
    network.join(context.identity.keys.node.clone(), chain.cluster(), nodes.clone());
    // Set once: the log opens once in a process.
    let _ = log.blocks.set(disk.blocks().clone());
    let answers = Answers::new(context.clone(), chain.cluster(), disk.blocks().clone());
    let (reads, read) = mpsc::channel(super::task::READS);
    let mut task = LogTask {
        context: context.clone(),
        log,
        core: Some(Box::new(core)),
        disk,
        completions,
        calls,
        ops,
        committees: context.identity.committees.follow(),
        nodes,
        network,
        events,
        answers,
        callers: OpCallers::default(),
        links: BTreeMap::new(),
        reads,
        read,
        misbehaved: Notice::default(),
        expire_at: Duration::ZERO,
    };
    task.begin(outputs);
    Ok(task)
}

/// The nodes that exchange messages about the log: the members, and those that join. Those that leave stay until the handoff is signed. A
/// node that is behind also asks the members of the newest committee that it knows.
pub(super) fn nodes_of(membership: &Membership, chain: &CommitteeChain) -> Vec<NodeKey> {
    let committee = membership.committee().record();
    let newest = chain.current().record().members();
    let members = committee.members().iter().chain(newest).map(|member| member.node_key);
    let next = membership.running().map(|running| running.members(committee)).unwrap_or_default();
    let mut nodes: Vec<_> = members.chain(next.into_iter().map(|member| member.node_key)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

struct Opened {
    opened: OpenedLog,
    core: LogCore<ClusterState>,
    outputs: Vec<LogOutput>,
}

fn open_blocking(context: &LogContext, committee: &Arc<Committee>, host: &Host) -> Result<Opened, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (identity, folder) = (&context.identity, context.folder());
    let owner = LogOwner { cluster: committee.cluster(), node_key: identity.node_key() };
    let mut opened = LogDisk::open(host, &folder, owner).map_err(|error| text(&error))?;
    let keys = committee.record().members().iter().map(|member| member.node_key);
    let founders = LogMembers::new(committee.record().epoch(), keys).ok_or("the committee has no members")?;
    let applied = match opened.applied.take() {
        None => Applied::genesis(owner.cluster, founders, ClusterState::founded(committee.clone())),
        Some(found) => Applied::decode(&found.state, owner.cluster, founders).map_err(|error| text(&error))?,
    };
    let from = (applied.height() + 1).saturating_sub(RECENT).max(1);
    let recent = opened.disk.blocks().blocks(from, RECENT).map_err(|error| text(&error))?;
    let recent = recent.into_iter().map(conversion::decided).collect::<Result<_, _>>().map_err(|error| text(&error))?;
    let wal = match &opened.wal {
        WalFound::Fresh => WalState::Fresh,
        WalFound::Records { records, .. } => WalState::Records(records.clone()),
        WalFound::Lost(_) => WalState::Lost,
    };
    let key = identity.keys.node.clone();
    let config = LogConfig { key, applied, recent, wal, may_recover: context.may_recover, kept_blocks: KEPT_BLOCKS };
    let clock = context.clock();
    let (core, outputs) = LogCore::open(config, clock);
    Ok(Opened { opened, core, outputs })
}
