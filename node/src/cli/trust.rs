//! What a command trusts that connects: the cluster identity from `--cluster`, from the record of the first contact, or, at first contact,
//! from the server itself; and the newest committee of that cluster that an earlier command has verified.

use vouch_core::chain::{Checkpoint, CommitteeChain};
use vouch_core::digest::ClusterId;
use vouch_core::session::{SessionError, check_pinned};
use vouch_core::trust::{IdentitySource, KnownIdentities, decide};
use vouch_core::verify;

use super::{Failure, ForgetArgs, TrustArgs, output};
use crate::client::{ClientError, Servers};
use crate::host::Host;
use crate::known_clusters::{KnownClusters, KnownClustersError};
use crate::link::LinkError;
use crate::tls::is_loopback;

/// What to trust of the servers' cluster, and where it is from.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    pub(super) servers: Servers,
    /// The identity that the server must show. `None`: first contact.
    pub(super) pinned: Option<ClusterId>,
    /// The newest committee of that cluster that was verified. `None`: the genesis, or nothing is recorded.
    newest: Option<Checkpoint>,
    known: KnownIdentities<ClusterId>,
    /// The file with what is known, and in which to record what the server shows.
    file: Option<KnownClusters>,
    /// Whether the user named the file. Otherwise servers on loopback are not recorded.
    is_file_given: bool,
    /// ` --known-clusters FILE` if the user gave it, for the command that an error suggests; or nothing.
    file_flag: String,
}

impl Trust {
    pub(super) fn new(host: &Host, servers: impl Into<Servers>, args: &TrustArgs) -> Result<Self, Failure> {
        let servers = servers.into();
        let file = match &args.known_clusters {
            Some(path) => Some(KnownClusters::at(host, path.clone())),
            None if servers.iter().all(is_loopback) => None,
            None => match KnownClusters::of_user(host) {
                // Nothing needs to be recorded.
                Err(KnownClustersError::NoHome) if args.cluster.is_some() => None,
                file => Some(file.map_err(Failure::new)?),
            },
        };
        let remembered = match &file {
            Some(file) if args.cluster.is_none() => recorded_of(file, &servers)?,
            _ => None,
        };
        let known = KnownIdentities { given: args.cluster, remembered, ..KnownIdentities::default() };
        let file_flag = match &args.known_clusters {
            Some(path) => format!(" --known-clusters {}", output::shell_word(path)),
            None => String::new(),
        };
        let pinned = decide(&known).identity;
        let newest = match (&file, pinned) {
            (Some(file), Some(cluster)) => file.newest(cluster).map_err(Failure::new)?,
            _ => None,
        };
        let is_file_given = args.known_clusters.is_some();
        Ok(Self { servers, pinned, newest, known, file, is_file_given, file_flag })
    }

    /// What a link to the server must show.
    pub(super) fn of_link(&self) -> verify::Trust {
        verify::Trust { cluster: self.pinned, checkpoint: self.newest }
    }

    /// Where the identity is from that the server must show.
    pub(super) fn source(&self) -> Option<IdentitySource> {
        decide(&self.known).source
    }

    /// Refuses committees if an earlier command has seen newer ones, or others in their place. A link to a known cluster makes the same check in
    /// its handshake. A link at first contact cannot, and a bundle from the log comes without a handshake.
    pub(super) fn check(&self, chain: &CommitteeChain) -> Result<(), Failure> {
        let newest = match (&self.file, self.pinned) {
            (Some(file), None) => file.newest(chain.cluster()).map_err(Failure::new)?,
            _ => self.newest,
        };
        let Some(newest) = newest else { return Ok(()) };
        check_pinned(chain, newest).map_err(|error| self.contradicted(&error.into(), chain.cluster()))
    }

    /// Records what the command has verified: at first contact with this server the identity, which it says, and the newest committee.
    pub(super) async fn record(&mut self, server: &str, chain: &CommitteeChain) -> Result<(), Failure> {
        let cluster = chain.cluster();
        if let Some(file) = self.file.clone() {
            if self.pinned.is_none() {
                self.newest = file.newest(cluster).map_err(Failure::new)?;
            }
            // The identity may be recorded for another of the servers only. One that the user names is not taken from the server.
            let is_first = self.known.given.is_none()
                && (self.is_file_given || !is_loopback(server))
                && file.identity(server).map_err(Failure::new)?.is_none();
            let recorded = match is_first {
                true => file.record(server, chain).await,
                false => file.raise(chain).await,
            };
            recorded.map_err(|error| match error {
                KnownClustersError::Contradiction(error) => self.contradicted(&(*error).into(), cluster),
                error => Failure::new(error),
            })?;
            if is_first {
                output::error_line(format_args!(
                    "first contact with {server}: its cluster {cluster} is recorded in {}, and later contacts are compared with it",
                    output::name(file.path())
                ));
            }
        }
        self.known.taken.get_or_insert(cluster);
        self.pinned.get_or_insert(cluster);
        Ok(())
    }

    /// A client's error, with what to do about it.
    pub(super) fn explain(&self, error: ClientError) -> Failure {
        let ClientError::EveryServer(errors) = error else { return self.explain_at(self.servers.first(), &error) };
        let mut failure = Failure::new(format_args!("none of the servers {} could do it", self.servers));
        for (server, error) in errors {
            let of_server = self.explain_at(&server, &error);
            failure = failure.with_note(format_args!("{server}: {}", of_server.message));
            failure.notes.extend(of_server.notes);
        }
        failure
    }

    /// The error of one server, with what to do about it.
    fn explain_at(&self, server: &str, error: &ClientError) -> Failure {
        let cause = cause(error);
        let is_another = is_another_cluster(error);
        let is_contradicted = match cause {
            // Otherwise the command itself has seen the newer committee.
            ClientError::Session(SessionError::OldEpoch { expected, .. }) => {
                self.newest.is_some_and(|newest| newest.epoch == *expected)
            }
            ClientError::Session(SessionError::AnotherCommittee { .. }) => true,
            _ => false,
        };
        let source = decide(&self.known).source;
        match self.pinned {
            Some(recorded) if is_another && source == Some(IdentitySource::Remembered) => Failure::new(error)
                .with_note(format_args!(
                    "The identity recorded for {server} at first contact is {recorded}. Either the server now serves another cluster, or \
                     somebody intercepts the connection."
                ))
                .with_note(format_args!(
                    "If you know why it changed, forget the old identity with: vouch forget {server}{}",
                    self.file_flag
                )),
            Some(pinned) if is_another => {
                Failure::new(error).with_note(format_args!("The identity given with --cluster is {pinned}."))
            }
            Some(cluster) if is_contradicted => self.contradicted(error, cluster),
            _ if matches!(cause, ClientError::NoCommittee { .. }) => Failure::new(error).with_note(
                "A server founds the committee with the first put, or once all replicas have joined that it was told of.",
            ),
            _ => Failure::new(error),
        }
    }

    /// The server's committees are not those that are recorded of its cluster.
    fn contradicted(&self, error: &ClientError, cluster: ClusterId) -> Failure {
        let is_old = matches!(cause(error), ClientError::Session(SessionError::OldEpoch { .. }));
        let failure = Failure::new(error);
        let Some(file) = &self.file else { return failure };
        let (Ok(Some(newest)), Ok(servers)) = (file.newest(cluster), file.servers(cluster)) else { return failure };
        let why = match is_old {
            true => {
                "This server is behind, or somebody shows you the cluster as it was, with keys of members that have left."
            }
            false => {
                "A committee never has two successors, so somebody forged one of them. Rely on neither before you know which: \
                 `vouch compare` shows from two bundles where they part."
            }
        };
        let forget: Vec<_> = servers.iter().map(|server| format!("vouch forget {server}{}", self.file_flag)).collect();
        failure
            .with_note(format_args!(
                "The newest committee of cluster {cluster} that you have seen is {newest}, recorded in {}. {why}",
                output::name(file.path())
            ))
            .with_note(format_args!("If you know that the record is wrong, forget it with: {}", forget.join(" && ")))
    }
}

/// The identity recorded for the servers, if one is. They are said to be of one cluster, so there is only one.
fn recorded_of(file: &KnownClusters, servers: &Servers) -> Result<Option<ClusterId>, Failure> {
    let mut found: Option<(&str, ClusterId)> = None;
    for server in servers.iter() {
        let Some(cluster) = file.identity(server).map_err(Failure::new)? else { continue };
        let (first, expected) = *found.get_or_insert((server, cluster));
        if cluster != expected {
            return Err(Failure::new(format_args!(
                "the servers are of different clusters: {first} of {expected}, {server} of {cluster}, as recorded in {}",
                output::name(file.path())
            ))
            .with_note("Name only servers of one cluster with --server."));
        }
    }
    Ok(found.map(|(_, cluster)| cluster))
}

/// Whether a server is of another cluster than the trusted one.
pub(super) fn is_another_cluster(error: &ClientError) -> bool {
    match cause(error) {
        ClientError::Session(SessionError::AnotherCluster { .. }) => true,
        ClientError::Session(SessionError::Refused { failed, .. }) | ClientError::Link(LinkError::Refused(failed)) => {
            failed.code == vouch_core::message::Code::AnotherCluster
        }
        _ => false,
    }
}

/// The error of the last attempt.
fn cause(error: &ClientError) -> &ClientError {
    match error {
        ClientError::Ended(error) => cause(error),
        ClientError::GaveUp { error, .. } | ClientError::ReadOnce(error) => cause(error),
        error => error,
    }
}

pub(super) async fn forget(host: &Host, args: ForgetArgs) -> Result<u8, Failure> {
    let known = match args.known_clusters {
        Some(path) => KnownClusters::at(host, path),
        None => KnownClusters::of_user(host).map_err(Failure::new)?,
    };
    match known.forget(&args.server).await.map_err(Failure::new)? {
        Some(identity) => {
            output::line(format_args!("forgot {} of {}", identity, args.server));
            Ok(0)
        }
        None => {
            Err(Failure::new(format_args!("nothing is recorded for {} in {}", args.server, output::name(known.path()))))
        }
    }
}
