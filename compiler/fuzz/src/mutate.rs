//! Damage to scripts. Most of it is done to whole pieces (names, numbers, brackets with what is
//! in them, lines), so that a good part of the results still parses and type-checks; the rest is
//! done to characters.

use crate::pieces::{Kind, Piece, cut, join};
use std::ops::Range;

/// Xorshift: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of 0..n; 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// One of the items.
    pub fn of<'i, T>(&mut self, items: &'i [T]) -> Option<&'i T> {
        items.get(self.below(items.len()))
    }
}

/// Texts that scripts are made of, and some that they are not.
const TEXTS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "\\",
    "'",
    "?",
    "??",
    "..",
    "|>",
    "->",
    "~",
    "=",
    "==",
    "fn ",
    "let ",
    "model ",
    "param ",
    "train ",
    " on ",
    "if ",
    " then ",
    " else ",
    "for ",
    " in ",
    "use ",
    "precision f64\n",
    "test \"t\" ",
    "\n",
    "\n\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "1e999",
    "9999999999999999999",
    "0.",
    "_",
    "#",
    "##",
    "@",
    "^",
    "-",
    "- ",
    "//",
    ";",
    ",",
    ":",
    "{x:.3}",
    "\"{a}\"",
    "  # c\n",
    "\n## d\n",
    " fn x -> ",
    "0..",
    "...",
];

/// Numbers at which things change, and some that nobody can mean.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "64",
    "1000",
    "65536",
    "1000000",
    "2147483648",
    "1000000000000",
    "4611686018427387904",
    "9223372036854775807",
    "0.0",
    "0.5",
    "1.0",
    "1e-300",
    "1e300",
    "1e38",
    "1e-45",
];

/// Operators that may stand for each other.
const CLASSES: &[&[&str]] = &[
    &["+", "-", "*", "/", "//", "@", "^", "??", "|>"],
    &["==", "!=", "<", "<=", ">", ">=", "and", "or"],
    &["=", "~"],
    &[",", ";"],
    &["..", ":"],
];

/// What may be put around an expression: before it, and behind.
const AROUND: &[(&str, &str)] = &[
    ("(", ")"),
    ("[", "]"),
    ("-", ""),
    ("", "'"),
    ("not ", ""),
    ("", "[0]"),
    ("", "[:, 0]"),
    ("", "[1..]"),
    ("", ".0"),
    ("", ".x"),
    ("f(", ")"),
    ("", "()"),
    ("(", ",)"),
    ("grad(", ")"),
    ("jacobian(", ")"),
    ("map(", ", 0..3)"),
    ("sum(", ")"),
    ("shape(", ")"),
    ("stop(", ")"),
    ("fn q -> ", ""),
    ("map(fn q -> ", ", [1.0, 2.0])"),
    ("if true then ", " else 0"),
    ("[", " for i in 0..3]"),
    ("{ let q = ", "; q }"),
    ("{ ", " }"),
    ("\"{", "}\""),
    ("(a = ", ", b = 1)"),
    ("value_and_grad(", ")"),
    ("iterate(", ", 0, 3)"),
    ("real(", ")"),
    ("int(", ")"),
    ("str(", ")"),
    ("zeros(", ")"),
    ("scan(", ", 0, 0..3)"),
    ("hide(", ", true)"),
    ("with(", ", x = 1)"),
    ("freeze(", ")"),
    ("reshape(", ", [2, 2])"),
    ("", " |> f(_, 1)"),
    ("", " ?? 0"),
    ("?", ""),
    ("", " @ "),
    ("1 + ", ""),
    ("", "^2"),
    ("", " == "),
];

/// A damaged `text`; parts of `other` may be put into it.
pub fn mutate(text: &str, other: &str, random: &mut Random) -> String {
    let rounds = match random.below(8) {
        0..4 => 1,
        4..6 => 2,
        6 => 3,
        _ => 6,
    };
    let mut text = text.to_string();
    for _ in 0..rounds {
        text = match random.below(10) {
            0 => characters(text, other, random),
            1 | 2 => {
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                whole_lines(&lines, other, random)
            }
            _ => pieces(cut(&text), other, random),
        };
    }
    text
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn characters(mut text: String, other: &str, random: &mut Random) -> String {
    let (a, b) = (place(&text, random), place(&text, random));
    let (from, to) = (a.min(b), a.max(b));
    let near = text[from..].char_indices().nth(random.below(12));
    let short = near.map_or(to, |(at, _)| from + at);
    let piece = random.of(TEXTS).copied().unwrap_or_default();
    match random.below(6) {
        0 => text.replace_range(from..short, ""),
        1 => text.replace_range(from..to, ""),
        2 => text.insert_str(from, piece),
        3 => text.replace_range(from..short, piece),
        4 => {
            let piece = text[from..short].repeat(1 + random.below(40));
            text.insert_str(from, &piece);
        }
        _ => {
            let (c, d) = (place(other, random), place(other, random));
            let part: String = other[c.min(d)..c.max(d)].chars().take(200).collect();
            text.insert_str(from, &part);
        }
    }
    text
}

fn whole_lines(lines: &[&str], other: &str, random: &mut Random) -> String {
    let mut lines: Vec<&str> = lines.to_vec();
    let (a, b) = (random.below(lines.len()), random.below(lines.len()));
    let others: Vec<&str> = other.split_inclusive('\n').collect();
    match random.below(6) {
        0 if a < lines.len() => drop(lines.remove(a)),
        1 if b < lines.len() => lines.insert(b, lines[a]),
        2 if b < lines.len() => lines.swap(a, b),
        3 | 4 => drop(lines.splice(a..a, item(&others, random).iter().copied())),
        _ => {
            if let Some(line) = random.of(&others) {
                lines.insert(a, line);
            }
        }
    }
    lines.concat()
}

/// The lines of one of a script's definitions or statements: from a line in column 0 to the next.
fn item<'l, 't>(lines: &'l [&'t str], random: &mut Random) -> &'l [&'t str] {
    let begins = |line: &str| line.starts_with(|c: char| c.is_alphabetic() || c == '#');
    let at = random.below(lines.len());
    let start = (0..=at)
        .rev()
        .find(|&n| lines.get(n).is_some_and(|line| begins(line)));
    let start = start.unwrap_or(0);
    let end = (start + 1..lines.len()).find(|&n| begins(lines[n]));
    &lines[start.min(lines.len())..end.unwrap_or(lines.len())]
}

fn pieces(mut pieces: Vec<Piece>, other: &str, random: &mut Random) -> String {
    let at = random.below(pieces.len());
    if pieces.is_empty() {
        return item(&other.split_inclusive('\n').collect::<Vec<_>>(), random).concat();
    }
    match random.below(16) {
        0 => drop(pieces.remove(at)),
        1 => pieces.insert(at, pieces[at].clone()),
        2 => {
            let near = (at + 1 + random.below(6)).min(pieces.len() - 1);
            pieces.swap(at, near);
        }
        3 => replace_like(&mut pieces, random, Piece::is_name),
        4 => replace_like(&mut pieces, random, |piece| piece.kind == Kind::Number),
        5 => {
            let number = random.of(NUMBERS).copied().unwrap_or("0");
            replace(&mut pieces, random, number, |piece| {
                piece.kind == Kind::Number
            });
        }
        // A size of a type, or a name where a number stands, and the other way round.
        6 => {
            let from = some(&pieces, random, |p| p.is_name() || p.kind == Kind::Number);
            let to = some(&pieces, random, |p| p.is_name() || p.kind == Kind::Number);
            if let (Some(from), Some(to)) = (from, to) {
                pieces[to] = pieces[from].clone();
            }
        }
        7 => exchange_operator(&mut pieces, random),
        8 => join_or_cut_lines(&mut pieces, random),
        9 => groups_within(&mut pieces, random),
        10 => group_of(&mut pieces, &cut(other), random),
        11 => around(&mut pieces, random, 1),
        12 if random.below(8) == 0 => {
            let times = 1 + random.below(300);
            around(&mut pieces, random, times);
        }
        13 => {
            let text = random.of(TEXTS).copied().unwrap_or_default();
            pieces.insert(at, Piece::of(Kind::Operator, text));
        }
        14 => remove_group(&mut pieces, random),
        _ => around(&mut pieces, random, 1),
    }
    join(&pieces)
}

/// The place of one of the pieces that are wanted.
fn some(pieces: &[Piece], random: &mut Random, wanted: impl Fn(&Piece) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..pieces.len())
        .filter(|&at| wanted(&pieces[at]))
        .collect();
    random.of(&places).copied()
}

fn replace_like(pieces: &mut [Piece], random: &mut Random, wanted: fn(&Piece) -> bool) {
    if let (Some(from), Some(to)) = (some(pieces, random, wanted), some(pieces, random, wanted)) {
        pieces[to] = pieces[from].clone();
    }
}

fn replace(pieces: &mut [Piece], random: &mut Random, text: &str, wanted: fn(&Piece) -> bool) {
    if let Some(at) = some(pieces, random, wanted) {
        pieces[at].text = text.into();
    }
}

fn exchange_operator(pieces: &mut [Piece], random: &mut Random) {
    let class = |piece: &Piece| CLASSES.iter().find(|class| class.contains(&&*piece.text));
    if let Some(at) = some(pieces, random, |piece| class(piece).is_some())
        && let Some(class) = class(&pieces[at])
    {
        pieces[at].text = random.of(class).copied().unwrap_or("+").into();
    }
}

fn join_or_cut_lines(pieces: &mut [Piece], random: &mut Random) {
    let wanted = if random.below(2) == 0 {
        Kind::Newline
    } else {
        Kind::Blank
    };
    if let Some(at) = some(pieces, random, |piece| piece.kind == wanted) {
        let texts: &[&str] = match wanted {
            Kind::Newline => &[
                "; ", " ", ";\n", ",\n", "\n\n", ";;", "  # c\n", "\r\n", "\n;\n",
            ],
            _ => &[
                "\n", "\n\n", "\n  ", " # c\n", "\n## d\n", "", "  ", "\t", ";",
            ],
        };
        pieces[at].text = random.of(texts).copied().unwrap_or(" ").into();
    }
}

/// The pieces between a bracket and its partner, both included.
fn groups(pieces: &[Piece]) -> Vec<Range<usize>> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece.kind {
            Kind::Open => open.push(at),
            Kind::Close => found.extend(open.pop().map(|start| start..at + 1)),
            _ => {}
        }
    }
    found
}

/// One group takes the place of another of the same brackets.
fn groups_within(pieces: &mut Vec<Piece>, random: &mut Random) {
    let copy = pieces.clone();
    group_of(pieces, &copy, random);
}

fn group_of(pieces: &mut Vec<Piece>, other: &[Piece], random: &mut Random) {
    let Some(to) = random.of(&groups(pieces)).cloned() else {
        return;
    };
    let same = |from: &Range<usize>| other[from.start].text == pieces[to.start].text;
    let from: Vec<Range<usize>> = groups(other).into_iter().filter(same).collect();
    if let Some(from) = random.of(&from) {
        pieces.splice(to, other[from.clone()].iter().take(300).cloned());
    }
}

fn remove_group(pieces: &mut Vec<Piece>, random: &mut Random) {
    if let Some(range) = random.of(&groups(pieces)).cloned() {
        let inner = range.start + 1..range.end - 1;
        pieces.drain(if random.below(2) == 0 { inner } else { range });
    }
}

/// Puts something around a name, a number or a group.
fn around(pieces: &mut Vec<Piece>, random: &mut Random, times: usize) {
    let mut places: Vec<Range<usize>> = (0..pieces.len())
        .filter(|&at| pieces[at].is_name() || matches!(pieces[at].kind, Kind::Number | Kind::Str))
        .map(|at| at..at + 1)
        .collect();
    places.extend(
        groups(pieces)
            .into_iter()
            .filter(|group| pieces[group.start].text != "{"),
    );
    let Some(range) = random.of(&places).cloned() else {
        return;
    };
    let (before, behind) = random.of(AROUND).copied().unwrap_or(("(", ")"));
    pieces.insert(range.end, Piece::of(Kind::Operator, behind.repeat(times)));
    pieces.insert(range.start, Piece::of(Kind::Operator, before.repeat(times)));
}
