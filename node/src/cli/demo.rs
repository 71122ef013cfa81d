//! `vouch demo`: a whole cluster of processes on loopback, one file certified and verified, and one note in the log, step by step.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use vouch_core::digest::ClusterId;
use vouch_core::message::Code;
use vouch_core::receipt::NEVER;
use vouch_core::session::{Certified, SessionError};

use super::args::WantedOp;
use super::bundles::BundlePlace;
use super::log_args::{LogNoteArgs, LogServerArgs};
use super::trust::Trust;
use super::{DemoArgs, Failure, TrustArgs, VerifyArgs, config, log_commands, nodes, output, verify};
use crate::client::{self, ClientError, PutProgress};
use crate::data_dir::DataDir;
use crate::host::source::Source;
use crate::host::{Host, files};

/// How long the processes may take to start and connect.
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Where replicas accept connections of each other: a free port.
const LISTEN: &str = "127.0.0.1:0";
/// The file in the data folder with the proof of the note.
const NOTE: &str = "note.vouch";

pub(super) async fn demo(host: &Host, args: DemoArgs) -> Result<u8, Failure> {
    let keeps_serving = !args.once && std::io::stdout().is_terminal();
    let file = &args.file;
    Source::File(file.clone()).open().map_err(|error| {
        Failure::new(format_args!("cannot read {}: {error}; name another file: vouch demo FILE", output::name(file)))
    })?;
    let source = Source::File(file.clone());
    let place = BundlePlace::new(source.clone(), None, false);
    place.check(&source.id().into_iter().collect::<Vec<_>>())?;
    // One demo at a time uses the folder, which has all logs and data folders.
    let _held = DataDir::open(host.disk(), &args.data).map_err(Failure::new)?;
    step(
        1,
        format_args!(
            "Starting one server and {} replicas on loopback, each a process with its own folder.",
            args.replicas
        ),
    );
    // One future for all steps, so that no Ctrl-C is lost between two of them.
    let interrupted = nodes::interrupted();
    tokio::pin!(interrupted);
    let (mut cluster, address) = tokio::select! {
        started = Processes::start(host, &args) => started?,
        () = &mut interrupted => return Ok(130),
    };
    note(format_args!("server on {address}; data and logs in {}", output::name(&args.data)));
    note(format_args!("the replicas also reach each other directly, so their log goes on while no server runs"));

    step(
        2,
        format_args!(
            "Putting {}: hashed here, sent to the server, which sends it to every replica.",
            output::name(file)
        ),
    );
    let certified = tokio::select! {
        certified = put_when_ready(host, file, &address) => certified?,
        () = &mut interrupted => return Ok(130),
    };
    let bundle = place.write(&certified)?;
    explain(&certified, &bundle);

    let identity = certified.committee().cluster();
    step(4, format_args!("Verifying with this program, offline. Anyone who knows the cluster's identity can do this."));
    note(format_args!(
        "vouch verify {} {} --cluster {identity}",
        output::shell_word(file),
        output::shell_word(&bundle)
    ));
    let file_to_check = VerifyArgs { file: Some(file.clone().into_os_string()), ..to_verify(&bundle, identity) };
    let mut code = verify::verify(host, file_to_check)?;
    let mut number = 5;
    if let Some(command) = &args.verify_with {
        step(
            number,
            format_args!("Verifying with the WebAssembly verifier in Node.js: the same core on another runtime."),
        );
        code = code.max(verify_with(command, file, &bundle, &identity.to_string()).await?);
        number += 1;
    }
    if code != 0 {
        return Err(Failure::new("the verifiers did not agree that the certificate is valid"));
    }

    step(
        number,
        format_args!("Writing a note to the log: the replicas agree on its place, and sign how long the log is."),
    );
    let proof = args.data.join(NOTE);
    tokio::select! {
        written = write_note(host, file, &proof, &address, identity) => written?,
        () = &mut interrupted => return Ok(130),
    }
    number += 1;
    if keeps_serving {
        step(number, format_args!("The cluster keeps serving on {address} until Ctrl-C. Open its page in a browser:"));
        note(format_args!("{}", nodes::page_of(&format!("http://{address}/"), identity)));
        note(format_args!("or try, from another terminal:"));
        note(format_args!("vouch put FILE --server {address} --cluster {identity}"));
        note(format_args!("vouch get {} -o COPY --server {address} --cluster {identity}", output::shell_word(&bundle)));
        note(format_args!("vouch log follow --server {address} --cluster {identity}"));
        tokio::select! {
            () = &mut interrupted => {}
            died = cluster.any_exit() => return Err(Failure::new(format_args!("{died} ended; see its log"))),
        }
    }
    cluster.stop().await;
    Ok(0)
}

fn step(number: u8, text: std::fmt::Arguments<'_>) {
    output::line(format_args!(""));
    output::line(format_args!("{number}. {text}"));
}

fn note(text: std::fmt::Arguments<'_>) {
    output::line(format_args!("   {text}"));
}

fn explain(certified: &Certified, bundle: &Path) {
    let record = certified.committee().record();
    let certificate = &certified.certificate;
    let names: Vec<String> = certificate.signers.iter().map(|member| record.name(member)).collect();
    note(format_args!("digest {} (BLAKE3; `b3sum` prints it as hex)", certificate.claim.receipt.digest));
    note(format_args!("stored durably and signed by {}", names.join(", ")));
    step(
        3,
        format_args!(
            "The server aggregated their signatures into one certificate of {} bytes.",
            certificate.encode().len()
        ),
    );
    note(format_args!("written to {} with what is needed to check it", output::name(bundle)));
    note(format_args!("cluster identity {}", certified.committee().cluster()));
    note(format_args!("committee of {}", crate::server::tolerance(certified.committee())));
}

/// Puts, and tries again until the replicas have joined: before that, the server has no committee or too few members.
async fn put_when_ready(host: &Host, file: &Path, address: &str) -> Result<Certified, Failure> {
    let trust = Trust::new(host, address, &TrustArgs::default())?;
    let deadline = host.monotonic() + START_DEADLINE;
    loop {
        let request = client::Put {
            servers: address.into(),
            trusted: trust.of_link(),
            source: Source::File(file.into()),
            expires_at: NEVER,
            renew: false,
            token: None,
            retry: Duration::ZERO,
        };
        let error = match client::put(host, request, |_: PutProgress| {}).await {
            Ok(certified) => return Ok(certified),
            Err(error) => error,
        };
        let is_early = matches!(&error, ClientError::Session(SessionError::Refused { failed, .. })
            if matches!(failed.code, Code::NoCommittee | Code::NotEnoughReplicas));
        if !is_early || host.monotonic() > deadline {
            return Err(trust.explain(error));
        }
        host.sleep(POLL_INTERVAL).await;
    }
}

/// Has a note decided, and verifies the proof of it.
async fn write_note(host: &Host, file: &Path, proof: &Path, address: &str, identity: ClusterId) -> Result<(), Failure> {
    // Without the folders before it: a path may be longer than a note.
    let text = format!("{} is certified", output::name(file.file_name().unwrap_or_default()));
    let (word, proof_word) = (output::shell_word(Path::new(&text)), output::shell_word(proof));
    note(format_args!("vouch log note {word} -o {proof_word} --server {address} --cluster {identity}"));
    let server = LogServerArgs {
        servers: address.into(),
        trust: TrustArgs { cluster: Some(identity), ..TrustArgs::default() },
        json: false,
    };
    let written = LogNoteArgs { text, output: Some(proof.to_owned()), force: true, server };
    let op = log_commands::note_when_ready(host, &written).await?;
    note(format_args!("Its proof is checked offline, too: that it is in the log, and where."));
    note(format_args!("vouch verify --op {op} {proof_word} --cluster {identity}"));
    match verify::verify(host, VerifyArgs { op: Some(WantedOp(Some(op))), ..to_verify(proof, identity) })? {
        0 => Ok(()),
        _ => Err(Failure::new("the proof of the note is not valid")),
    }
}

/// The arguments to verify a bundle, whatever it is of.
fn to_verify(bundle: &Path, identity: ClusterId) -> VerifyArgs {
    VerifyArgs {
        file: None,
        digest: None,
        op: None,
        height: None,
        bundle: bundle.to_owned(),
        cluster: Some(identity),
        now: None,
        checkpoint: None,
        require_sealed: false,
        waive_expiry: false,
        json: false,
    }
}

async fn verify_with(command: &str, file: &Path, bundle: &Path, identity: &str) -> Result<u8, Failure> {
    note(format_args!("{command} {} {} --cluster {identity}", output::shell_word(file), output::shell_word(bundle)));
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::new("--verify-with: expected a command, got nothing"))?;
    let status = Command::new(program)
        .args(words)
        .arg(file)
        .arg(bundle)
        .args(["--cluster", identity])
        .stdin(Stdio::null())
        .status()
        .await
        .map_err(|error| Failure::new(format_args!("cannot run {program}: {error}")))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The demo's own processes; they end with it.
struct Processes {
    host: Host,
    children: Vec<(String, Child)>,
}

impl Processes {
    async fn start(host: &Host, args: &DemoArgs) -> Result<(Self, String), Failure> {
        let program = std::env::current_exe().map_err(Failure::new)?;
        let mut all = Self { host: host.clone(), children: Vec::new() };
        let replicas = args.replicas.to_string();
        let server = all.spawn(&program, "server", &args.data, &["server", "0", "--replicas", &replicas], true)?;
        let address = all.address(server, &args.data).await?;
        for number in 1..=args.replicas {
            all.spawn(
                &program,
                &format!("replica-{number}"),
                &args.data,
                &["replica", &address, "--listen", LISTEN],
                false,
            )?;
        }
        Ok((all, address))
    }

    fn spawn(
        &mut self,
        program: &Path,
        name: &str,
        data: &Path,
        args: &[&str],
        is_read: bool,
    ) -> Result<usize, Failure> {
        let log_path = data.join(format!("{name}.log"));
        let log = files::create_log(&log_path).map_err(Failure::new)?;
        let errors = log.try_clone().map_err(Failure::new)?;
        let mut command = Command::new(program);
        // A demo is the same everywhere, whatever is configured for the user's own nodes.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(config::is_variable) {
                command.env_remove(name);
            }
        }
        let child = command
            .args(["--config", config::NO_FILE])
            .args(args)
            .arg("--data")
            .arg(data.join(name))
            .stdin(Stdio::null())
            .stdout(if is_read { Stdio::piped() } else { log.into() })
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::new(format_args!("cannot start {}: {error}", program.display())))?;
        self.children.push((name.to_owned(), child));
        Ok(self.children.len() - 1)
    }

    /// The address on the first line that a server prints. Later lines are read and dropped.
    async fn address(&mut self, server: usize, data: &Path) -> Result<String, Failure> {
        let stdout = self.children.get_mut(server).and_then(|(_, child)| child.stdout.take());
        let stdout = stdout.ok_or_else(|| Failure::new("the server has no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let first = self.host.timeout(START_DEADLINE, lines.next_line()).await;
        let address = match &first {
            Ok(Ok(Some(line))) => line.strip_prefix("listening on ").map(str::to_owned),
            _ => None,
        };
        self.host.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        address.ok_or_else(|| {
            let log: PathBuf = data.join("server.log");
            let text = files::read_all(&log, 1 << 16).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            Failure::new(format_args!("the server did not start: {}", text.trim()))
        })
    }

    /// Completes when a process ends by itself. Returns its name.
    async fn any_exit(&mut self) -> String {
        loop {
            for (name, child) in &mut self.children {
                if let Ok(Some(_)) = child.try_wait() {
                    return name.clone();
                }
            }
            self.host.sleep(POLL_INTERVAL).await;
        }
    }

    async fn stop(&mut self) {
        for (_, child) in &mut self.children {
            // fails if the process has ended already
            let _ = child.kill().await;
        }
    }
}
