//! `vouch server`, `vouch replica` and `vouch keygen`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use vouch_core::committee::Committee;
use vouch_core::digest::ClusterId;

use super::metrics::{self, MetricsListener};
use super::service::Service;
use super::token_args::WhoWord;
use super::{Failure, KeygenArgs, ReplicaArgs, ServerArgs, data_folders, log_lines, members, output, streams};
use crate::data_dir::DataDir;
use crate::host::Host;
use crate::host::objects::Credentials;
use crate::replica::{self, Data, Replica, ReplicaConfig};
use crate::server::{self, Server, WantedCommittee};
use crate::tls::{CertificateFiles, ServerTls, is_loopback, is_loopback_host};

pub(super) async fn server(host: &Host, args: ServerArgs) -> Result<u8, Failure> {
    log_lines::start(args.service.log_format)?;
    let address = args.listen;
    let tls = args.tls_cert.zip(args.tls_key).map(|(certificate, key)| CertificateFiles { certificate, key });
    if tls.is_none() && !args.insecure && !is_on_this_machine(&address) {
        let problem = format!("{address}: without TLS, others on the way read and change what clients send");
        return Err(Failure::new(problem).with_note(
            "Give a certificate with --tls-cert and --tls-key; `vouch certs dev` makes one. If a proxy speaks TLS, listen on loopback. \
             Or allow it with --insecure.",
        ));
    }
    metrics::check(args.metrics.as_deref(), tls.is_some(), args.insecure, metrics::FOR_SERVERS)?;
    let data = args.data.map_or_else(data_folders::server, Ok)?;
    let mut config = server::ServerConfig::new(data.clone());
    config.wanted = WantedCommittee {
        replicas: args.replicas,
        members: args.members.as_deref().map(members::read).transpose()?,
        cluster: args.cluster,
        operator: args.operator,
    };
    config.allow_open = args.allow_open;
    config.needs_tokens = match args.put {
        Some(who) => who == WhoWord::Tokens,
        // Strangers can reach it.
        None => !is_on_this_machine(&address),
    };
    config.allowed_origins = args.allowed_origins;
    config.trusted_proxies = args.trusted_proxies;
    config.tls = tls;
    config.binds_links = !args.no_tls_exporter;
    config.stop_timeout = args.service.stop_timeout;
    let wanted = config.wanted.clone();
    // Set before the first event that needs it.
    let page = Arc::new(OnceLock::new());
    let page_of_events = page.clone();
    let report = move |event| print_server_event(&event, page_of_events.get().map_or("", String::as_str));
    let server = Server::open(host.clone(), config, Arc::new(report)).map_err(Failure::new)?;
    let folder = host.disk().absolute(&data).map_err(Failure::new)?;
    let listener = host.listen(&address).await.map_err(|error| {
        let next = "choose another with `vouch server PORT` or `vouch server ADDRESS:PORT`";
        Failure::new(format_args!("cannot listen on {address}: {error}; {next}"))
    })?;
    let address = listener.local_addr().map_err(Failure::new)?;
    let metrics = MetricsListener::open(host, args.metrics.as_deref(), server.shared_tls()).await?;
    let page = page.get_or_init(|| page_at(address, server.tls()));
    let server_address = server_address(address, server.tls());
    // Programs that start a server on port 0 parse this line.
    output::line(format_args!("listening on {address}"));
    output::line(format_args!("server identity: {}", server.node_key()));
    output::line(format_args!("data in {}", output::name(&folder)));
    if let Some(metrics) = metrics {
        metrics.serve(host, server.metrics());
    }
    let chain = server.chain();
    match (&chain, wanted.replicas) {
        (Some(chain), _) => print_committee(chain.current(), page),
        (None, None) if wanted.cluster.is_some() => {
            output::line(format_args!(
                "waiting for a member of the cluster; start one with `vouch replica {server_address}`"
            ));
        }
        (None, None) if wanted.members.is_some() => {
            let n = wanted.members.map_or(0, |members| members.len());
            output::line(format_args!("the committee forms when the {n} listed replicas have joined"));
        }
        (None, Some(n)) => output::line(format_args!("the committee forms when {n} replicas have joined")),
        (None, None) => output::line(format_args!(
            "the committee forms at the first put, from the replicas connected then; start some with `vouch replica {server_address}`"
        )),
    }
    if chain.is_none() {
        output::line(format_args!("page {page}"));
    }
    // Write these lines before the first line of the log.
    streams::flush();
    let stop_timeout = args.service.stop_timeout;
    let service = Service { pulse: server.pulse(), status: server.summary(), stop_timeout };
    let running = service.run(host, |asked| Box::pin(server.run(listener, async { drop(asked.await) })));
    // `None`: a second signal ended it.
    running.await.transpose().map_err(Failure::new)?;
    Ok(0)
}

fn print_committee(committee: &Committee, page: &str) {
    output::line(format_args!("cluster {}", committee.cluster()));
    output::line(format_args!("{}", server::tolerance(committee)));
    output::line(format_args!("page {}", page_of(page, committee.cluster())));
}

/// Whether only this machine reaches an address to listen on, `HOST:PORT`.
pub(super) fn is_on_this_machine(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, _)| is_loopback_host(host))
}

/// The address of a server that listens on `address`, for a client on this machine. With TLS, under a name of the certificate if it has one.
fn server_address(address: SocketAddr, tls: Option<&ServerTls>) -> String {
    let port = address.port();
    let host = match address.ip().is_unspecified() {
        true => format!("127.0.0.1:{port}"),
        false => address.to_string(),
    };
    match tls {
        None => host,
        Some(tls) => {
            let host = tls.dns_name().map_or(host, |name| format!("{name}:{port}"));
            format!("https://{host}")
        }
    }
}

/// The page's address for a browser on this machine, if the server listens on `address`.
fn page_at(address: SocketAddr, tls: Option<&ServerTls>) -> String {
    let server = server_address(address, tls);
    if tls.is_some() { format!("{server}/") } else { format!("http://{server}/") }
}

/// The page's address with the cluster identity to trust.
pub(super) fn page_of(page: &str, cluster: ClusterId) -> String {
    format!("{page}#cluster={cluster}")
}

/// Prints on standard output what programs parse, in lines of a fixed format. The rest goes to the log.
fn print_server_event(event: &server::Event, page: &str) {
    if let server::Event::Formed(committee) = event {
        print_committee(committee, page);
    }
    log_lines::server(event);
}

/// Completes when the user or a supervisor asks the process to stop.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => {
            if result.is_err() {
                terminate.recv().await;
            }
        }
        _ = terminate.recv() => {}
    }
}

pub(super) async fn replica(host: &Host, args: ReplicaArgs) -> Result<u8, Failure> {
    log_lines::start(args.service.log_format)?;
    metrics::check(args.metrics.as_deref(), false, args.transport.insecure, metrics::FOR_REPLICAS)?;
    let metrics = MetricsListener::open(host, args.metrics.as_deref(), None).await?;
    let data = args.data.map_or_else(data_folders::replica, |folder| Ok(Data::Folder(folder)))?;
    let unless_told = are_all_on_loopback(&args.servers);
    let mut config = ReplicaConfig::new(data, args.servers);
    config.joins = args.join.unwrap_or(unless_told);
    config.takes_joiners = args.approve_joins.unwrap_or(unless_told);
    config.name = args.name;
    config.operator = args.operator;
    config.abandon_founding = args.abandon_founding;
    config.recover_log = args.recover_log;
    config.location = args.store;
    config.credentials = Credentials::from_environment();
    config.store.quota = args.quota;
    config.listen = args.listen;
    config.advertise = args.advertise;
    config.stop_timeout = args.service.stop_timeout;
    let opening = Replica::open(host.clone(), config, Arc::new(|event| log_lines::replica(&event)));
    let replica = opening.await.map_err(Failure::new)?;
    output::line(format_args!(
        "replica {} ({}), data in {}",
        replica.name(),
        replica.node_key(),
        output::name(replica.folder())
    ));
    if let Some(address) = replica.listening() {
        // Programs that start a replica on port 0 parse this line.
        output::line(format_args!("listening for other members on {address}"));
    }
    if let Some(metrics) = metrics {
        metrics.serve(host, replica.metrics());
    }
    streams::flush();
    let stop_timeout = args.service.stop_timeout;
    let service = Service { pulse: replica.pulse(), status: replica.summary(), stop_timeout };
    service.run(host, |asked| Box::pin(replica.run(async { drop(asked.await) }))).await;
    Ok(0)
}

/// Whether a replica of these servers joins by itself, and lets others join: everybody on its machine is its owner. Nodes of other machines
/// reach it only through a server that is not on loopback.
fn are_all_on_loopback(servers: &[String]) -> bool {
    servers.iter().all(|server| is_loopback(server))
}

pub(super) fn keygen(host: &Host, args: &KeygenArgs) -> Result<u8, Failure> {
    let folder = args.data.clone().map_or_else(data_folders::first_replica, Ok)?;
    let data = DataDir::open(host.disk(), &folder).map_err(Failure::new)?;
    let keys = replica::keys_of(host, data.path()).map_err(Failure::new)?;
    let (node, vote) = (keys.node.node_key(), keys.vote.vote_key());
    let possession = keys.vote.prove_possession();
    if args.json {
        let mut json = json!({});
        output::put_name(&mut json, "folder", data.path());
        json["node_key"] = node.to_string().into();
        json["vote_key"] = vote.to_string().into();
        json["possession"] = possession.to_string().into();
        output::json(&json);
    } else {
        output::line(format_args!("folder     {}", output::name(data.path())));
        output::line(format_args!("node key   {node}"));
        output::line(format_args!("vote key   {vote}"));
        output::line(format_args!("possession {possession}"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_replica_of_servers_on_loopback_joins_unasked_and_lets_others_join() {
        let addresses = |of: &[&str]| of.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>();
        let own = addresses(&["127.0.0.1:9090", "127.8.0.1:1", "[::1]:9090", "localhost:9090"]);
        let mixed = addresses(&["127.0.0.1:9090", "10.0.0.1:9090"]);
        assert!(are_all_on_loopback(&own) && !are_all_on_loopback(&mixed));
    }

    #[test]
    fn only_a_loopback_address_needs_no_tls_to_listen_on() {
        for address in ["127.0.0.1:0", "127.0.0.1:9090", "127.8.0.1:1", "[::1]:0", "localhost:0", "LOCALHOST:9090"] {
            assert!(is_on_this_machine(address), "{address}");
        }
        // `[::0]` are all addresses.
        for address in
            ["0.0.0.0:0", "[::]:0", "[::0]:0", "[::0]:9090", "10.0.0.1:0", "[2001:db8:0::1]:0", "a.example:1"]
        {
            assert!(!is_on_this_machine(address), "{address}");
        }
    }

    #[test]
    fn pages_are_found_where_a_server_listens() {
        for (address, page) in [
            ("127.0.0.1:9090", "http://127.0.0.1:9090/"),
            ("[::1]:9090", "http://[::1]:9090/"),
            ("0.0.0.0:80", "http://127.0.0.1:80/"),
            ("[::]:9090", "http://127.0.0.1:9090/"),
        ] {
            assert_eq!(page_at(address.parse().unwrap(), None), page);
        }
    }
}
