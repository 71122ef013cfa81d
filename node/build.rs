//! Embeds the page into the program: every file of `web/dist`, with its media type, tag and compressed form. Without that folder, the
//! program has no page.

#![allow(clippy::disallowed_methods, reason = "a build reads its sources")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let web = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../web");
    // watch a folder that always exists: `web/dist` may be missing
    println!("cargo:rerun-if-changed=../web");
    let dist = web.join("dist");
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        list(&dist, &mut files)?;
    }
    files.sort();

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut table =
        String::from("/// Every file of the page; none if it was not built.\npub(super) const FILES: &[File] = &[\n");
    for (number, file) in files.iter().enumerate() {
        let path = file.strip_prefix(&dist)?.to_str().ok_or("a file name that is not UTF-8")?;
        let media_type = media_type(file)?;
        let bytes = fs::read(file)?;
        let tag = &blake3::hash(&bytes).to_hex()[..32];
        let compressed = gzip(&bytes)?;
        // Copy the file, so that bytes and tag match even if the original changes while the program is compiled.
        fs::write(out.join(format!("{number}")), &bytes)?;
        let gzip = if compressed.len() < bytes.len() {
            fs::write(out.join(format!("{number}.gz")), &compressed)?;
            format!("Some(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}.gz\")))")
        } else {
            "None".into()
        };
        writeln!(
            table,
            "    File {{ path: {:?}, media_type: {media_type:?}, \
             bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}\")), gzip: {gzip}, tag: {tag:?} }},",
            format!("/{path}")
        )?;
    }
    table.push_str("];\n");
    fs::write(out.join("page.rs"), table)?;
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The media type of a file. Browsers must not guess it.
fn media_type(file: &Path) -> Result<&'static str, Box<dyn Error>> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    Ok(match extension.unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        _ => return Err(format!("{}: unknown media type; add it in node/build.rs", file.display()).into()),
    })
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
