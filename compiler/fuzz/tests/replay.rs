//! The corpus: inputs that once found something, and seeds that are unlike the repository's
//! scripts. Each must leave every target without a finding.

use aec_fuzz::mutate::{Random, mutate};
use aec_fuzz::{Target, Verdict, scripts};
use std::path::Path;
use std::thread;

/// Runs on a stack as large as the command's.
fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::Builder::new().stack_size(512 << 20).spawn(work);
    thread.expect("a thread").join().expect("no panic")
}

fn corpus() -> Vec<String> {
    scripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
}

#[test]
fn the_corpus_finds_nothing() {
    let wrong: Vec<String> = deep(|| {
        let corpus = corpus();
        assert!(corpus.len() >= 10, "only {} inputs", corpus.len());
        let mut wrong = Vec::new();
        for text in &corpus {
            for (name, target) in Target::ALL {
                if let Verdict::Finding(finding) = target.examine(text) {
                    wrong.push(format!("{name}: {finding}\n{text}"));
                }
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the targets are given is no garbage: the shares of what is still a script.
#[test]
fn a_good_part_of_the_mutations_are_scripts() {
    let shares = deep(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/language");
        let seeds: Vec<String> = scripts(&folder)
            .into_iter()
            .filter(|s| s.len() < 2000)
            .collect();
        let mut random = Random::new(1);
        Target::ALL.map(|(_, target)| {
            let rounds = 60;
            let accepted = (0..rounds).filter(|_| {
                let (a, b) = (random.below(seeds.len()), random.below(seeds.len()));
                let text = mutate(&seeds[a], &seeds[b], &mut random);
                let verdict = target.examine(&text);
                assert!(
                    !matches!(verdict, Verdict::Finding(_)),
                    "{verdict:?}\n{text}"
                );
                verdict == Verdict::Accepted
            });
            100 * accepted.count() / rounds
        })
    });
    let [parsed, checked, formatted] = shares;
    assert!(
        (15..90).contains(&parsed) && (15..90).contains(&formatted),
        "{shares:?}"
    );
    assert!((5..80).contains(&checked), "{shares:?}");
}
