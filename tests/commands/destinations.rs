//! Existing files are never destroyed, neither by a bundle nor by a downloaded file.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::nodes::Cluster;
use crate::program::{self, Run, binary, vouch, vouch_with_input};

/// An address without a listener, for commands that must be refused before they connect.
const NOBODY: &str = "127.0.0.1:1";

/// A cluster of one, and a working folder with a certified file `letter`.
struct World {
    cluster: Cluster,
    home: tempfile::TempDir,
    bytes: Vec<u8>,
    digest: String,
}

impl World {
    fn start() -> Self {
        let (cluster, home) = (Cluster::start(1), tempfile::tempdir().unwrap());
        let bytes = binary(300_000);
        fs::write(home.path().join("letter"), &bytes).unwrap();
        let digest = bs58::encode(blake3::hash(&bytes).as_bytes()).into_string();
        let world = Self { cluster, home, bytes, digest };
        world.run(&["put", "letter"]).ok();
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Run {
        vouch(self.home.path(), &[args, &["--server", &self.cluster.address]].concat())
    }

    /// Asserts that a command exits with code 1 before any connection; returns the message.
    fn refuses(&self, args: &[&str]) -> String {
        vouch(self.home.path(), &[args, &["--server", NOBODY]].concat()).fails_with(1).to_owned()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn make(program: &str, args: &[&str], path: &Path) -> bool {
    Command::new(program).args(args).arg(path).status().unwrap().success()
}

fn fifo(path: &Path) {
    assert!(make("mkfifo", &[], path));
}

/// Makes a character device with this minor number; `false` without the privilege to do so.
fn device(path: &Path, minor: &str) -> bool {
    let made = Command::new("mknod").arg(path).args(["c", "1", minor]).output().unwrap().status.success();
    if !made || File::options().write(true).open(path).is_err() {
        eprintln!("not tested: this user may make no devices here");
        return false;
    }
    true
}

#[test]
fn command_does_not_overwrite_its_own_input() {
    let world = World::start();
    fs::hard_link(world.path("letter"), world.path("twin")).unwrap();
    symlink("letter", world.path("link")).unwrap();
    for bundle in ["letter", "./letter", "twin", "link"] {
        let message = world.refuses(&["put", "letter", "--bundle", bundle, "--force"]);
        let expected =
            format!("vouch: cannot write the bundle to {bundle}: that is a file to put; name another with --bundle\n");
        assert_eq!(message, expected);
    }
    let mut stdin = program::command(world.home.path());
    stdin.args(["put", "-", "--bundle", "letter", "--force", "--server", NOBODY]);
    let output = stdin.stdin(File::open(world.path("letter")).unwrap()).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("that is a file to put"));
    // the same for the default bundle path, here a link
    fs::write(world.path("other"), "other").unwrap();
    symlink("other", world.path("other.vouch")).unwrap();
    assert!(world.refuses(&["put", "other"]).contains("that is a file to put"));
    // in a list of files only the affected one fails
    let list = world.run(&["put", "other", "letter"]);
    assert!(list.fails_with(1).contains("vouch: other: cannot write the bundle to other.vouch"), "{list:?}");
    assert!(list.text().contains("certified  letter"), "{list:?}");
    assert_eq!(world.read("other"), b"other");

    let bundle = world.read("letter.vouch");
    fs::hard_link(world.path("letter.vouch"), world.path("same.vouch")).unwrap();
    for output in ["letter.vouch", "same.vouch"] {
        let message = world.refuses(&["get", "letter.vouch", "-o", output, "--force"]);
        assert!(message.contains(&format!("cannot write the file to {output}: this command reads it")), "{message}");
    }
    assert!(world.read("letter.vouch") == bundle && world.read("letter") == world.bytes);
}

#[test]
fn existing_bundle_is_not_overwritten() {
    let world = World::start();
    let first = world.read("letter.vouch");
    fs::write(world.path("letter"), "version 2").unwrap();
    let second = world.run(&["put", "letter"]);
    second.ok();
    assert_eq!(second.row("bundle"), "letter.2.vouch");
    assert!(second.stderr.ends_with("letter.vouch is kept: it holds something else\n"), "{second:?}");
    assert!(world.read("letter.vouch") == first);
    // a renewal of the same bytes replaces their bundle; other bytes get the next free name
    assert_eq!(world.run(&["put", "letter", "--renew"]).row("bundle"), "letter.2.vouch");
    fs::write(world.path("letter"), "version 3").unwrap();
    fs::write(world.path("letter.3.vouch"), "no bundle").unwrap();
    let json = world.run(&["put", "letter", "--json"]);
    json.ok();
    assert_eq!((&json.json()["bundle"], json.stderr.as_str()), (&"letter.4.vouch".into(), ""));
    assert_eq!(world.read("letter.3.vouch"), b"no bundle");
    fs::write(world.path("b"), "b").unwrap();
    fs::write(world.path("letter"), "version 4").unwrap();
    let list = world.run(&["put", "letter", "b"]);
    assert!(list.ok().contains(": letter.5.vouch\n") && list.ok().contains(": b.vouch\n"), "{list:?}");
    assert!(world.read("letter.vouch") == first);
    assert_eq!(world.run(&["put", "letter", "--force"]).row("bundle"), "letter.vouch");
    assert!(world.read("letter.vouch") != first);

    // the same bytes certified by another cluster get a bundle of their own
    let other = Cluster::start(1);
    fs::write(world.path("c"), "c").unwrap();
    world.run(&["put", "c"]).ok();
    let put = vouch(world.home.path(), &["put", "c", "--server", &other.address]);
    put.ok();
    assert_eq!(put.row("bundle"), "c.2.vouch");
    let cluster = put.row("cluster");
    vouch(world.home.path(), &["verify", "c", "c.2.vouch", "--cluster", &cluster]).ok();
    // bundles for standard input are named by digest
    let stdin = |server: &str| vouch_with_input(world.home.path(), &["put", "-", "--server", server], b"from a pipe");
    let (one, two) = (stdin(&world.cluster.address), stdin(&other.address));
    one.ok();
    two.ok();
    assert_eq!(two.row("bundle"), one.row("bundle").replace(".vouch", ".2.vouch"));
}

#[test]
fn named_bundle_path_replaces_only_a_bundle_of_the_same_file() {
    let world = World::start();
    fs::write(world.path("precious"), "precious").unwrap();
    let message = world.refuses(&["put", "letter", "--bundle", "precious"]);
    assert_eq!(
        message,
        "vouch: precious exists and holds no bundle that this program can read; name another file with --bundle, or replace \
         it with --force\n"
    );
    fs::write(world.path("other"), "other").unwrap();
    let message = world.refuses(&["put", "other", "--bundle", "letter.vouch"]);
    assert!(
        message.starts_with(&format!(
            "vouch: letter.vouch exists and holds the certificate of other bytes ({}); name another",
            world.digest
        )),
        "{message}"
    );
    let stdin =
        vouch_with_input(world.home.path(), &["put", "-", "--bundle", "letter.vouch", "--server", NOBODY], b"x");
    assert!(stdin.fails_with(1).contains("letter.vouch exists and may hold a certificate of other bytes"), "{stdin:?}");
    // a renewal may replace the bundle of the same file
    world.run(&["put", "letter", "--bundle", "letter.vouch", "--renew"]).ok();
    assert_eq!(world.read("precious"), b"precious");
    world.run(&["put", "letter", "--bundle", "precious", "--force"]).ok();
    assert!(world.read("precious").starts_with(b"{"));
}

#[test]
fn existing_file_is_replaced_only_on_request() {
    let world = World::start();
    fs::write(world.path("copy"), "precious").unwrap();
    fs::set_permissions(world.path("copy"), fs::Permissions::from_mode(0o604)).unwrap();
    for what in ["letter.vouch", &world.digest] {
        let message = world.refuses(&["get", what, "-o", "copy"]);
        assert_eq!(message, "vouch: copy exists; name another file with -o, or replace it with --force\n");
    }
    assert_eq!(world.read("copy"), b"precious");
    world.run(&["get", "letter.vouch", "-o", "copy", "--force"]).ok();
    assert!(world.read("copy") == world.bytes);
    assert_eq!(fs::metadata(world.path("copy")).unwrap().mode() & 0o7777, 0o604, "its mode stays");

    // symbolic links are followed and remain
    symlink("copy", world.path("link")).unwrap();
    fs::write(world.path("copy"), "precious").unwrap();
    assert!(world.refuses(&["get", "letter.vouch", "-o", "link"]).contains("link exists"));
    world.run(&["get", "letter.vouch", "-o", "link", "--force"]).ok();
    symlink("folder/new", world.path("to nothing")).unwrap();
    assert!(world.refuses(&["get", "letter.vouch", "-o", "to nothing"]).contains("there is no folder"));
    fs::create_dir(world.path("folder")).unwrap();
    world.run(&["get", "letter.vouch", "-o", "to nothing"]).ok();
    symlink("folder/proof", world.path("proof")).unwrap();
    world.run(&["put", "letter", "--bundle", "proof"]).ok();
    for link in ["link", "to nothing", "proof"] {
        assert!(fs::symlink_metadata(world.path(link)).unwrap().file_type().is_symlink(), "{link}");
    }
    assert!(world.read("copy") == world.bytes && world.read("folder/new") == world.bytes);
    assert!(world.read("folder/proof") == world.read("letter.vouch"));
    symlink("loop", world.path("loop")).unwrap();
    assert!(world.refuses(&["get", "letter.vouch", "-o", "loop"]).contains("symbolic links"));
    assert!(world.refuses(&["get", "letter.vouch", "-o", "new/"]).contains("it is a folder"));
    let names = ["copy", "folder", "letter", "letter.vouch", "link", "loop", "proof", "to nothing"];
    assert_eq!(world.names(), names, "nothing else is left");
}

#[test]
fn pipes_and_devices_are_written_and_not_replaced() {
    let world = World::start();
    let pipe = world.path("pipe");
    fifo(&pipe);
    let through_pipe = |args: &[&str]| {
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut bytes = Vec::new();
                File::open(&pipe).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            });
            world.run(args).ok();
            reading.join().unwrap()
        })
    };
    assert!(through_pipe(&["get", "letter.vouch", "-o", "pipe"]) == world.bytes);
    assert!(through_pipe(&["get", &world.digest, "-o", "pipe", "--range", "5-9"]) == world.bytes[5..10]);
    assert!(through_pipe(&["put", "letter", "--bundle", "pipe"]) == world.read("letter.vouch"));
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    // the default output name is a pipe
    fs::write(world.path("b"), "b").unwrap();
    symlink("pipe", world.path("b.vouch")).unwrap();
    assert!(through_pipe(&["put", "b"]).starts_with(b"{"));

    if !device(&world.path("full"), "7") {
        return;
    }
    let number = || fs::metadata(world.path("full")).unwrap().rdev();
    let before = number();
    let get = world.run(&["get", "letter.vouch", "-o", "full"]);
    assert!(get.fails_with(1).contains("No space left on device"), "{get:?}");
    let put = world.run(&["put", "letter", "--bundle", "full"]);
    assert!(put.fails_with(1).contains("the file is certified, but its bundle could not be written"), "{put:?}");
    assert!(device(&world.path("null"), "3"));
    world.run(&["get", "letter.vouch", "-o", "null"]).ok();
    world.run(&["put", "letter", "--bundle", "null"]).ok();
    for (name, expected) in [("full", before), ("null", fs::metadata("/dev/null").unwrap().rdev())] {
        let metadata = fs::symlink_metadata(world.path(name)).unwrap();
        assert!(metadata.file_type().is_char_device() && metadata.rdev() == expected, "{name}");
    }
}

#[test]
fn foreign_part_file_is_kept() {
    let world = World::start();
    let get = |more: &[&str]| world.run(&[&["get", "letter.vouch", "-o", "copy"], more].concat());
    let foreign = [binary(50_000).iter().map(|byte| byte ^ 1).collect(), b"short".to_vec(), binary(300_001)];
    for (number, part) in foreign.iter().enumerate() {
        fs::write(world.path("copy.part"), part).unwrap();
        if number < 2 {
            let refused = get(&[]);
            let message = refused.fails_with(1);
            assert!(message.starts_with("vouch: copy.part exists and holds something else; remove it"), "{message}");
            assert!(world.read("copy.part") == *part && !world.path("copy").exists(), "{number}");
        }
        get(&["--force"]).ok();
        assert!(world.read("copy") == world.bytes && !world.path("copy.part").exists());
        fs::remove_file(world.path("copy")).unwrap();
    }
    // nor is a partial download that is no regular file
    symlink("letter", world.path("copy.part")).unwrap();
    assert!(get(&[]).fails_with(1).contains("copy.part exists already"));
    fs::remove_file(world.path("copy.part")).unwrap();
    fifo(&world.path("copy.part"));
    assert!(get(&[]).fails_with(1).contains("copy.part exists already"));
    fs::remove_file(world.path("copy.part")).unwrap();
    assert!(world.read("letter") == world.bytes);
    // nor one that another get is writing to
    let part = File::create(world.path("copy.part")).unwrap();
    part.lock().unwrap();
    assert!(get(&[]).fails_with(1).contains("copy.part is in use by another process"));
    drop(part);
    get(&[]).ok();
    assert_eq!(world.names(), ["copy", "letter", "letter.vouch"]);
}

/// Whatever a partial download holds, the result is correct, and its correct prefix is not requested again.
#[test]
fn partial_download_is_resumed_after_its_correct_prefix() {
    let world = World::start();
    const GROUP: usize = 16 << 10;
    let flipped = |at: usize, length: usize| {
        let mut bytes = world.bytes[..length].to_vec();
        bytes[at] ^= 1;
        bytes
    };
    for (part, from) in [
        (world.bytes[..0].to_vec(), 0),
        (world.bytes[..5].to_vec(), 0),
        (world.bytes[..GROUP].to_vec(), 0),
        (world.bytes[..GROUP + 1].to_vec(), GROUP),
        (world.bytes[..12 * GROUP + 9].to_vec(), 12 * GROUP),
        (world.bytes[..world.bytes.len() - 1].to_vec(), 18 * GROUP),
        (world.bytes.clone(), 18 * GROUP),
        // the incomplete last group cannot be verified and is requested again
        (flipped(12 * GROUP + 1, 12 * GROUP + 9), 12 * GROUP),
        // a wrong group invalidates its whole subtree: the groups form subtrees of 8 + 4
        (flipped(9 * GROUP, 12 * GROUP + 9), 7 * GROUP),
        // a wrong group in the first subtree invalidates everything; the beginning still identifies the file
        (flipped(3 * GROUP, 12 * GROUP + 9), 0),
    ] {
        for what in ["letter.vouch", &world.digest] {
            fs::write(world.path("copy.part"), &part).unwrap();
            let got = world.run(&["get", what, "-o", "copy", "--json"]);
            got.ok();
            assert!(world.read("copy") == world.bytes, "{from}");
            assert_eq!(got.json()["resumed_from"], from, "{got:?}");
            assert!(!world.path("copy.part").exists());
            fs::remove_file(world.path("copy")).unwrap();
        }
    }
}
