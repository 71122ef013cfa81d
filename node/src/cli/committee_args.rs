//! The arguments of `vouch committee`, and their help texts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use vouch_core::bls::VoteSignature;
use vouch_core::committee::MemberName;
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::membership::AddedMember;

use super::args::{MaintainArgs, seconds};
use super::connection_args::{ClusterArgs, TransportArgs};

#[derive(Debug, Args)]
pub(super) struct CommitteeArgs {
    #[command(subcommand)]
    pub(super) command: CommitteeCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CommitteeCommand {
    /// Show the members, and the epochs up to now
    Show(ClusterArgs),
    /// Propose that replicas join
    Add(CommitteeAddArgs),
    /// Propose that members leave
    Remove(CommitteeRemoveArgs),
    /// Propose that one replica takes the place of a member
    Replace(CommitteeReplaceArgs),
    /// Propose that all members stay, and get new vote keys
    Rotate(CommitteeRotateArgs),
    /// Propose several joins and leaves as one change
    Change(CommitteeChangeArgs),
    /// Propose a change that was written with --out
    Propose(CommitteeProposeArgs),
    /// Approve a proposed change as a member: the replica runs on this machine
    Approve(CommitteeApproveArgs),
    /// Show what is proposed and under way, as a replica on this machine knows it
    Pending(MaintainArgs),
}

impl CommitteeCommand {
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Approve(args) => args.replica.json,
            Self::Pending(args) => args.json,
            _ => self.server().is_some_and(|server| server.json),
        }
    }

    /// How the server is reached, if there is one.
    pub(super) fn transport(&self) -> Option<&TransportArgs> {
        self.server().map(|server| &server.trust.transport)
    }

    fn server(&self) -> Option<&ClusterArgs> {
        match self {
            Self::Show(args) => Some(args),
            Self::Add(args) => Some(&args.build.send.server),
            Self::Remove(args) => Some(&args.build.send.server),
            Self::Replace(args) => Some(&args.build.send.server),
            Self::Rotate(args) => Some(&args.build.send.server),
            Self::Change(args) => Some(&args.build.send.server),
            Self::Propose(args) => Some(&args.send.server),
            Self::Approve(_) | Self::Pending(_) => None,
        }
    }
}

/// How a new change is made.
#[derive(Debug, Args)]
pub(super) struct ChangeBuildArgs {
    /// Let the change take effect before the next committee holds every file
    #[arg(long)]
    pub(super) force: bool,
    /// Write the change to this file instead of proposing it, as one line that `vouch operator sign` and `vouch committee propose`
    /// read; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) send: ProposalSendArgs,
}

/// How a change is proposed.
#[derive(Debug, Args)]
pub(super) struct ProposalSendArgs {
    /// Only show what the change would do
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not wait until the change has taken effect
    #[arg(long)]
    pub(super) no_wait: bool,
    /// How long to wait until the change has taken effect; it goes on afterwards
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = seconds, conflicts_with = "no_wait")]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) server: ClusterArgs,
}

#[derive(Debug, Args)]
pub(super) struct CommitteeAddArgs {
    /// Replicas that join: the node key, as `vouch keygen` prints it, and a name of at most 24 bytes
    #[arg(value_name = "NODEKEY=NAME", required = true)]
    pub(super) joins: Vec<JoiningReplica>,
    #[command(flatten)]
    pub(super) build: ChangeBuildArgs,
}

#[derive(Debug, Args)]
pub(super) struct CommitteeRemoveArgs {
    /// Members that leave, by name or node key
    #[arg(value_name = "MEMBER", required = true)]
    pub(super) leaves: Vec<String>,
    #[command(flatten)]
    pub(super) build: ChangeBuildArgs,
}

#[derive(Debug, Args)]
pub(super) struct CommitteeReplaceArgs {
    /// Member that leaves, by name or node key
    #[arg(value_name = "MEMBER")]
    pub(super) leaves: String,
    /// Replica that joins
    #[arg(value_name = "NODEKEY=NAME")]
    pub(super) joins: JoiningReplica,
    #[command(flatten)]
    pub(super) build: ChangeBuildArgs,
}

#[derive(Debug, Args)]
pub(super) struct CommitteeRotateArgs {
    #[command(flatten)]
    pub(super) build: ChangeBuildArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true).args(["joins", "leaves"]))]
pub(super) struct CommitteeChangeArgs {
    /// Replica that joins; may be repeated
    #[arg(long = "add", value_name = "NODEKEY=NAME")]
    pub(super) joins: Vec<JoiningReplica>,
    /// Member that leaves, by name or node key; may be repeated
    #[arg(long = "remove", value_name = "MEMBER")]
    pub(super) leaves: Vec<String>,
    #[command(flatten)]
    pub(super) build: ChangeBuildArgs,
}

#[derive(Debug, Args)]
pub(super) struct CommitteeProposeArgs {
    /// File with the change, as --out wrote it; - is standard input
    #[arg(value_name = "CHANGE")]
    pub(super) change: OsString,
    /// The operator's signature on the change, as `vouch operator sign` printed it
    #[arg(long, value_name = "SIGNATURE", value_parser = operator_signature)]
    pub(super) operator_signature: Option<VoteSignature>,
    #[command(flatten)]
    pub(super) send: ProposalSendArgs,
}

#[derive(Debug, Args)]
pub(super) struct CommitteeApproveArgs {
    /// Identity of the change, base58 or hex
    #[arg(value_name = "CHANGE")]
    pub(super) change: ChangeId,
    #[command(flatten)]
    pub(super) replica: OneReplicaArgs,
}

/// The running replica of one member.
#[derive(Debug, Args)]
pub(super) struct OneReplicaArgs {
    /// Data folder of the replica [default: the one replica-N in ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// A replica that joins: its node key, an equals sign and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JoiningReplica(pub(super) AddedMember);

impl FromStr for JoiningReplica {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, name) =
            text.split_once('=').ok_or("expected the node key, an equals sign and a name, such as Hf2…9s=replica-5")?;
        let node_key: NodeKey = key.parse().map_err(|error| format!("node key: {error}"))?;
        if node_key == NodeKey::ANONYMOUS {
            return Err("node key: all bytes are zero, which is no key".into());
        }
        let name = MemberName::new(name).map_err(|error| error.to_string())?;
        Ok(Self(AddedMember { node_key, name }))
    }
}

/// Parses a signature: base58 of 96 bytes.
fn operator_signature(text: &str) -> Result<VoteSignature, String> {
    // Decoding is quadratic, so refuse long texts first: 96 bytes are at most 132 characters.
    let bytes = if text.len() > 140 { None } else { bs58::decode(text).into_vec().ok() };
    let bytes = bytes.ok_or("expected a signature in base58, as `vouch operator sign` prints it")?;
    let bytes = bytes.try_into().map_err(|bytes: Vec<u8>| format!("expected 96 bytes, got {}", bytes.len()))?;
    Ok(VoteSignature(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joining_replica_has_a_key_and_a_name() {
        let key = NodeKey([7; 32]);
        let hex = "07".repeat(32);
        for text in [format!("{key}=five"), format!("{hex}=five")] {
            let JoiningReplica(member) = text.parse().unwrap();
            assert_eq!((member.node_key, member.name.as_str()), (key, "five"));
        }
        let JoiningReplica(member) = format!("{key}=a=b").parse().unwrap();
        assert_eq!(member.name.as_str(), "a=b");
        let refusal = |text: String| text.parse::<JoiningReplica>().unwrap_err();
        assert!(refusal(key.to_string()).contains("an equals sign"));
        assert!(refusal("0=five".into()).starts_with("node key: "));
        assert!(refusal(format!("{}=five", NodeKey::ANONYMOUS)).contains("no key"));
        assert!(refusal(format!("{key}=")).contains("at least one character"));
        assert!(refusal(format!("{key}={}", "n".repeat(25))).contains("at most 24 bytes"));
    }

    #[test]
    fn a_signature_has_96_bytes() {
        let signature = VoteSignature([3; 96]);
        assert_eq!(operator_signature(&signature.to_string()), Ok(signature));
        assert!(operator_signature("0").unwrap_err().contains("base58"));
        assert!(operator_signature(&"1".repeat(141)).unwrap_err().contains("base58"));
        assert_eq!(operator_signature(&"1".repeat(95)), Err("expected 96 bytes, got 95".into()));
    }
}
