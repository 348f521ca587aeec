//! Running the binary in a folder of its own.

#![allow(dead_code)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository is there")
}

/// A folder that is removed when the test ends.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new, empty one.
    pub fn new(name: &str) -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("aec-cli-{}-{name}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Folder(path)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Folder {
        fs::write(self.0.join(name), content).expect("the folder is writable");
        self
    }

    /// Names of all that is in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("the folder is readable")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// `aec` with these arguments, in this folder.
    pub fn command(&self, args: &[&str]) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_aec")), args)
    }

    /// The same, but Ctrl-C reaches it: what a shell starts in the background ignores the signal,
    /// with all that it starts in turn, and `aec` respects that.
    pub fn command_to_interrupt(&self, args: &[&str]) -> Command {
        if !cfg!(target_os = "linux") {
            return self.command(args);
        }
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_aec")]);
        self.prepared(command, args)
    }

    fn prepared(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .args(args)
            .current_dir(&self.0)
            .env_remove("AEC_SHARED")
            .env("XDG_DATA_HOME", self.0.join("data-home"));
        command
    }

    /// Runs it to its end.
    pub fn aec(&self, args: &[&str]) -> Run {
        Run::of(
            self.command(args)
                .stdin(Stdio::null())
                .output()
                .expect("aec starts"),
        )
    }

    /// Runs it with text on standard input.
    pub fn aec_with_input(&self, args: &[&str], input: &str) -> Run {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("aec starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin
            .write_all(input.as_bytes())
            .expect("aec reads its input");
        drop(stdin);
        Run::of(child.wait_with_output().expect("aec ends"))
    }

    /// Writes a script and runs it.
    pub fn run(&self, script: &str) -> Run {
        self.write("script.ae", script);
        self.aec(&["run", "script.ae"])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Run {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    pub fn of(output: Output) -> Run {
        Run {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It ended well.
    #[track_caller]
    pub fn well(self) -> Run {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It ended with this code, said all of these on standard error, and did not panic.
    #[track_caller]
    pub fn fails(self, code: i32, says: &[&str]) -> Run {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for text in says {
            assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        }
        assert!(
            !self.err.contains("panicked") && !self.err.contains("bug in aec"),
            "{self:#?}"
        );
        self
    }
}
