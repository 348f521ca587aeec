//! A training that is killed at any moment and run again ends in the bits of one that was not.

mod common;

use common::Folder;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Kills that hit a running training.
const KILLS: usize = 50;

const SCRIPT: &str = "use optim\n\
    model Small(D, H) {\n  param W: [H, D] ~ glorot\n\
    \x20 loss(x: [D]) {\n    let n: [D] ~ normal(0, 0.1)\n    sum((W' @ tanh(W @ (x + n)) - x)^2)\n  }\n}\n\
    let x: [400, 16] ~ normal(0, 1)\n\
    let m = train Small(16, 8) on x {\n\
    \x20 epochs = 200, batch = 25, seed = 4, validate = x[0..50], early_stop = 150, clip = 1.0\n\
    \x20 checkpoint = (\"small.ckpt\", 5), log = [\"log.csv\", \"log.jsonl\"]\n}\n\
    save(m, \"m.safetensors\")\n";

/// A run that nobody listens to.
fn start(folder: &Folder) -> Child {
    folder
        .command(&["run", "script.ae", "--threads", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("aec starts")
}

/// A number from 0 to 1 that follows from `at` (SplitMix64).
fn random(at: u64) -> f64 {
    let mut z = at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

#[test]
fn a_killed_training_continues_to_the_same_bits() {
    let whole = Folder::new("whole");
    whole.write("script.ae", SCRIPT);
    let began = Instant::now();
    assert!(start(&whole).wait().expect("it ends").success());
    let took = began.elapsed();
    let read = |folder: &Folder, name: &str| std::fs::read(folder.0.join(name)).expect(name);

    let (mut kills, mut tries, mut continued) = (0, 0, 0);
    while kills < KILLS {
        let folder = Folder::new("killed");
        folder.write("script.ae", SCRIPT);
        // Several times over, until a run comes to its end by itself or enough were killed.
        loop {
            tries += 1;
            assert!(tries < 20 * KILLS, "the runs end before they are killed");
            let mut child = start(&folder);
            let before = folder.0.join("small.ckpt").exists();
            let moment = took.mul_f64(random(tries as u64));
            let deadline = Instant::now() + moment;
            let mut ended = None;
            while ended.is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
                ended = child.try_wait().expect("it runs");
            }
            if let Some(status) = ended {
                assert!(status.success());
                break;
            }
            // SIGKILL.
            child.kill().expect("it is ours");
            let _ = child.wait();
            kills += 1;
            continued += usize::from(before);
            if kills == KILLS {
                break;
            }
        }
        assert!(start(&folder).wait().expect("it ends").success());
        for name in ["m.safetensors", "log.csv", "log.jsonl"] {
            assert!(
                read(&folder, name) == read(&whole, name),
                "{name} differs after {kills} kills"
            );
        }
        let names = folder.names();
        let left: Vec<&String> = names.iter().filter(|name| name.ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{left:?} were left behind");
    }
    assert!(
        continued > 5,
        "only {continued} runs had a checkpoint to continue from"
    );
}
