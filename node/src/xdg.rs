//! Where a user's files are: the XDG Base Directory Specification, and the folder that systemd gives a service.

use std::ffi::OsString;
use std::path::PathBuf;

/// A variable that is set and not empty, as a path.
fn folder(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn base(variable: impl Fn(&str) -> Option<OsString>, name: &str, in_home: &str) -> Option<PathBuf> {
    folder(&variable, name).or_else(|| folder(&variable, "HOME").map(|home| home.join(in_home)))
}

/// The user's folder of configuration, `$XDG_CONFIG_HOME/vouch` or `~/.config/vouch`. `None` without a home folder.
pub(crate) fn config_folder() -> Option<PathBuf> {
    base(|name| std::env::var_os(name), "XDG_CONFIG_HOME", ".config").map(|folder| folder.join("vouch"))
}

/// The user's folder of data, `$XDG_DATA_HOME/vouch` or `~/.local/share/vouch`. `None` without a home folder.
pub(crate) fn data_folder() -> Option<PathBuf> {
    base(|name| std::env::var_os(name), "XDG_DATA_HOME", ".local/share").map(|folder| folder.join("vouch"))
}

/// The data folder of this service, if systemd started this process with `StateDirectory=`.
pub(crate) fn state_folder() -> Option<PathBuf> {
    state_folder_of(|name| std::env::var_os(name), std::process::id())
}

/// `SYSTEMD_EXEC_PID` names the process that systemd started. Its children inherit the variables: a node in a terminal of another
/// service must not write into the folder of that service.
fn state_folder_of(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Option<PathBuf> {
    let started = variable("SYSTEMD_EXEC_PID");
    if started.is_some_and(|started| started.to_str() != Some(&process.to_string())) {
        return None;
    }
    // several folders are separated by colons; the first one is the service's own
    let all = variable("STATE_DIRECTORY")?;
    std::env::split_paths(&all).next().filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_variable_comes_before_the_home_folder() {
        let with = |config: &'static str, home: &'static str| {
            base(move |name| Some(if name == "HOME" { home } else { config }.into()), "XDG_DATA_HOME", ".local/share")
        };
        assert_eq!(with("/data", "/home/a"), Some("/data".into()));
        assert_eq!(with("", "/home/a"), Some("/home/a/.local/share".into()));
        assert_eq!(with("", ""), None);
    }

    #[test]
    fn the_folder_of_a_service_is_only_for_the_process_that_systemd_started() {
        let of = |folders: &'static str, started: Option<&'static str>| {
            let variable = move |name: &str| if name == "STATE_DIRECTORY" { Some(folders) } else { started };
            state_folder_of(move |name| variable(name).map(OsString::from), 7)
        };
        assert_eq!(of("/var/lib/vouch", Some("7")), Some("/var/lib/vouch".into()));
        assert_eq!(of("/var/lib/vouch:/var/lib/other", Some("7")), Some("/var/lib/vouch".into()));
        // systemd before 248 does not name the process
        assert_eq!(of("/var/lib/vouch", None), Some("/var/lib/vouch".into()));
        assert_eq!(of("/var/lib/vouch", Some("8")), None);
        assert_eq!(of("", Some("7")), None);
        assert_eq!(of("relative", Some("7")), None);
    }
}
