//! The cluster identity that a put or a get trusts: from `--cluster`, from the record of the first contact, or, at first contact,
//! from the server itself.

use vouch_core::digest::ClusterId;
use vouch_core::session::SessionError;
use vouch_core::trust::{IdentitySource, KnownIdentities, decide};

use super::{Failure, ForgetArgs, TrustArgs, output};
use crate::client::ClientError;
use crate::host::Host;
use crate::known_clusters::{KnownClusters, is_loopback};
use crate::link::LinkError;

/// The trusted identity of one server's cluster, and where it is from.
pub(super) struct Trust {
    pub(super) server: String,
    /// The identity that the server must show. `None`: first contact.
    pub(super) pinned: Option<ClusterId>,
    known: KnownIdentities<ClusterId>,
    /// The file in which to record the identity that the server shows at first contact.
    record_in: Option<KnownClusters>,
    /// ` --known-clusters FILE` if the user gave it, for the command that an error suggests; or nothing.
    file_flag: String,
}

impl Trust {
    pub(super) fn new(host: &Host, server: &str, args: &TrustArgs) -> Result<Self, Failure> {
        let record_in = match &args.known_clusters {
            _ if args.cluster.is_some() => None,
            Some(path) => Some(KnownClusters::at(host.shared_disk(), path.clone())),
            None if is_loopback(server) => None,
            None => Some(KnownClusters::of_user(host.shared_disk()).map_err(Failure::new)?),
        };
        let remembered = match &record_in {
            Some(known) => known.identity(server).map_err(Failure::new)?,
            None => None,
        };
        let known = KnownIdentities { given: args.cluster, remembered, ..KnownIdentities::default() };
        let file_flag = match &args.known_clusters {
            Some(path) => format!(" --known-clusters {}", output::shell_word(path)),
            None => String::new(),
        };
        let pinned = decide(&known).identity;
        Ok(Self { server: server.to_owned(), pinned, known, record_in, file_flag })
    }

    /// Records the identity after a successful first contact, and says so.
    pub(super) fn record(&self, cluster: ClusterId) -> Result<(), Failure> {
        let decision = decide(&KnownIdentities { shown: Some(cluster), ..self.known.clone() });
        let Some(known) = self.record_in.as_ref().filter(|_| decision.record) else { return Ok(()) };
        known.record(&self.server, cluster).map_err(Failure::new)?;
        output::error_line(format_args!(
            "first contact with {}: its cluster {cluster} is recorded in {}, and later contacts are compared with it",
            self.server,
            output::name(known.path())
        ));
        Ok(())
    }

    /// A client's error, with what to do about it.
    pub(super) fn explain(&self, error: ClientError) -> Failure {
        let cause = match &error {
            ClientError::Ended(cause) => cause,
            _ => &error,
        };
        let is_another = match cause {
            ClientError::Session(SessionError::AnotherCluster { .. }) => true,
            ClientError::Session(SessionError::Refused { failed, .. })
            | ClientError::Link(LinkError::Refused(failed)) => failed.code == vouch_core::message::Code::AnotherCluster,
            _ => false,
        };
        let source = decide(&self.known).source;
        match self.pinned {
            Some(recorded) if is_another && source == Some(IdentitySource::Remembered) => Failure::new(error)
                .with_note(format_args!(
                    "The identity recorded for {} at first contact is {recorded}. Either the server now serves another cluster, or \
                     somebody intercepts the connection.",
                    self.server
                ))
                .with_note(format_args!(
                    "If you know why it changed, forget the old identity with: vouch forget {}{}",
                    self.server, self.file_flag
                )),
            Some(pinned) if is_another => {
                Failure::new(error).with_note(format_args!("The identity given with --cluster is {pinned}."))
            }
            _ => Failure::new(error),
        }
    }
}

pub(super) fn forget(host: &Host, args: ForgetArgs) -> Result<u8, Failure> {
    let known = match args.known_clusters {
        Some(path) => KnownClusters::at(host.shared_disk(), path),
        None => KnownClusters::of_user(host.shared_disk()).map_err(Failure::new)?,
    };
    match known.forget(&args.server).map_err(Failure::new)? {
        Some(identity) => {
            output::line(format_args!("forgot {} of {}", identity, args.server));
            Ok(0)
        }
        None => {
            Err(Failure::new(format_args!("nothing is recorded for {} in {}", args.server, output::name(known.path()))))
        }
    }
}
