//! "Did you mean …?": the nearest of the names that exist, only when it is near.

/// The candidate with the fewest edits (insertions, deletions, replacements, swaps of
/// neighbours) from `name`, if those are few for its length; of equals the first in the
/// alphabet, whatever order they come in. Case counts
/// for less than half an edit; a name of one letter is near only to its other case.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().collect();
    let limit = match wanted.len() {
        0 => return None,
        1 => 0,
        2..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.filter(|c| *c != name) {
        let other: Vec<char> = candidate.chars().collect();
        if other.len().abs_diff(wanted.len()) > limit {
            continue;
        }
        let plain = distance(&wanted, &other);
        let folded = distance(&fold(&wanted), &fold(&other));
        // Two letters with one replaced have little in common.
        let near =
            folded <= limit && (folded == 0 || folded * 2 < wanted.len().max(other.len()) + 1);
        let cost = folded * 3 + (plain - folded.min(plain)).min(1);
        if near && best.is_none_or(|best| (cost, candidate) < best) {
            best = Some((cost, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn fold(name: &[char]) -> Vec<char> {
    name.iter().flat_map(|c| c.to_lowercase()).collect()
}

/// Edit distance with swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const NAMES: [&str; 9] = [
        "mean",
        "max",
        "min",
        "sigmoid",
        "softmax",
        "log_softmax",
        "x",
        "H",
        "train_x",
    ];

    fn suggest(name: &str) -> Option<&'static str> {
        nearest(name, NAMES.into_iter())
    }

    #[test]
    fn near_names() {
        assert_eq!(suggest("sigmod"), Some("sigmoid"));
        assert_eq!(suggest("sgimoid"), Some("sigmoid"));
        assert_eq!(suggest("meen"), Some("mean"));
        assert_eq!(suggest("Softmax"), Some("softmax"));
        assert_eq!(suggest("logsoftmax"), Some("log_softmax"));
        assert_eq!(suggest("trainx"), Some("train_x"));
        assert_eq!(suggest("h"), Some("H"));
    }

    #[test]
    fn far_names() {
        assert_eq!(suggest("q"), None);
        assert_eq!(suggest("decoder"), None);
        assert_eq!(suggest("ab"), None);
        assert_eq!(suggest(""), None);
        assert_eq!(suggest("sum"), None);
    }

    #[test]
    fn a_swap_is_one_edit_and_the_name_itself_no_suggestion() {
        assert_eq!(nearest("mxa", ["xam", "max"].into_iter()), Some("max"));
        assert_eq!(nearest("max", ["max"].into_iter()), None);
    }
}
