//! No text makes the parser panic, hang or overflow its stack, and no span the renderer.

use aec_syntax::ast::{ExprKind, Item, ItemKind, Script, Stmt, StmtKind};
use aec_syntax::dump::dump;
use aec_syntax::{
    Diagnostic, FileId, Label, ReplInput, SourceMap, Span, Style, parse_expr, parse_repl,
    parse_script, render, render_json,
};
use std::path::Path;

fn parse(text: &str) -> (Script, Vec<Diagnostic>) {
    parse_script(FileId(0), text)
}

fn codes(text: &str) -> Vec<&'static str> {
    parse(text).1.iter().map(|d| d.code).collect()
}

fn scripts() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("in the repository")
        .map(|e| e.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|p| std::fs::read_to_string(p).expect("a text"))
        .collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

const PIECES: [&str; 40] = [
    "(", ")", "[", "]", "{", "}", "\"", "'", "`", "\n", ";", ",", ":", "=", "==", "->", "..", ".",
    "|>", "??", "?", "~", "@", "#", "##", "\0", "é", "“", "\\", "let ", "fn ", "if ", "else ",
    "model ", "param ", "train ", " on ", "{e:", "9e999", "_",
];

/// One to four random edits.
fn mutate(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len() + 1);
        let length = 1 + random.below(12);
        let end = (at + length).min(chars.len());
        match random.below(4) {
            0 => drop(chars.drain(at..end)),
            1 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            2 => drop(chars.splice(at..end, PIECES[random.below(PIECES.len())].chars())),
            _ => {
                let copied: Vec<char> = chars[at..end].to_vec();
                let to = random.below(chars.len() + 1);
                drop(chars.splice(to..to, copied));
            }
        }
    }
    chars.into_iter().collect()
}

fn has_error_node(item: &Item) -> bool {
    matches!(
        item.kind,
        ItemKind::Stmt(Stmt {
            kind: StmtKind::Error,
            ..
        })
    )
}

#[test]
fn mutated_scripts() {
    let scripts = scripts();
    let mut random = Random(7);
    let (mut valid, mut rounds) = (0, 0);
    for round in 0..60 {
        for text in &scripts {
            let text = mutate(text, &mut random);
            let mut sources = SourceMap::new();
            let id = sources.add("mutated.ae", &text);
            let (script, diagnostics) = parse_script(id, &text);
            rounds += 1;
            valid += usize::from(diagnostics.is_empty());
            if diagnostics.is_empty() {
                assert!(
                    !script.items.iter().any(has_error_node),
                    "an error node without a message:\n{text}"
                );
            }
            let limit = 4 * script.items.len() + 40;
            assert!(diagnostics.len() <= limit, "{} messages", diagnostics.len());
            for item in &script.items {
                let span = item.span;
                assert!(span.start <= span.end && span.end as usize <= text.len());
                assert!(text.get(span.start as usize..span.end as usize).is_some());
            }
            for diagnostic in &diagnostics {
                assert!(
                    !render(
                        &sources,
                        diagnostic,
                        Style {
                            color: round % 2 == 0,
                            width: 80
                        }
                    )
                    .is_empty()
                );
                render_json(&sources, diagnostic);
            }
            dump(&script);
            parse_repl(id, &text);
        }
    }
    assert!(
        valid * 20 > rounds && valid * 2 < rounds,
        "{valid} of {rounds} stayed valid"
    );
}

#[test]
fn every_prefix_of_a_script() {
    for text in scripts() {
        for (at, _) in text.char_indices().step_by(7) {
            parse(&text[..at]);
            parse_repl(FileId(0), &text[..at]);
        }
    }
}

/// What is deeper than the limit is one message, and the items around it are kept.
#[test]
fn deep_nesting() {
    let n = 10_000;
    let texts = [
        "(".repeat(n),
        format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        format!("{}1{}", "[".repeat(n), "]".repeat(n)),
        format!("{}1{}", "{".repeat(n), "}".repeat(n)),
        format!("{}1", "-".repeat(n)),
        format!("{}1", "not ".repeat(n)),
        format!("x{}", "'".repeat(n)),
        format!("x{}", ".y".repeat(n)),
        format!("x{}", "()".repeat(n)),
        format!("x{}", "[0]".repeat(n)),
        format!("x{}", " + x".repeat(n)),
        format!("x{}", " ^ x".repeat(n)),
        format!("x{}", " ?? x".repeat(n)),
        format!("x{}", " |> f".repeat(n)),
        format!("{}x", "fn x -> ".repeat(n)),
        format!("{}x", "if a then b else ".repeat(n)),
        format!("{}{{ 1 }}", "if a { b } else ".repeat(n)),
        format!("fn f(x: {}int) = x", "?".repeat(n)),
        format!("fn f(x: {}int) = x", "int -> ".repeat(n)),
        format!("fn f(x: [{}1]) = x", "1 + ".repeat(n)),
        format!("let {}x{} = 1", "(".repeat(n), ")".repeat(n)),
        "for i in x { ".repeat(n),
        format!("\"{}", "{\"".repeat(n)),
        format!("{}x{}", "\"{".repeat(n), "}\"".repeat(n)),
    ];
    for text in texts {
        let whole = format!("let a = 1\n{text}\nlet b = 2\n");
        let (script, diagnostics) = parse(&whole);
        let head: String = text.chars().take(20).collect();
        assert!(!diagnostics.is_empty(), "{head}");
        assert!(diagnostics.len() <= 25, "{head}: {}", diagnostics.len());
        assert!(script.items.len() >= 3, "{head}: {}", script.items.len());
        dump(&script);
    }
}

/// What people write is far below the limit.
#[test]
fn reasonable_nesting_is_fine() {
    let n = 250;
    for text in [
        format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        format!("x{}", " + x".repeat(n)),
        format!("let t = [{}]", "[1, -2, 3 + 4], ".repeat(5000)),
        format!("f({})", "g(a + b, -c), ".repeat(5000)),
        format!("fn f(x) {{\n{}x\n}}", "let y = x + 1\n".repeat(5000)),
    ] {
        assert_eq!(codes(&text), [""; 0]);
    }
}

#[test]
fn a_megabyte() {
    let line = "let value_of_something = f(a, b + 1)[2..5] @ W' # words\n";
    let text = line.repeat((1 << 20) / line.len() + 1);
    let (script, diagnostics) = parse(&text);
    assert!(diagnostics.is_empty());
    assert_eq!(script.items.len(), text.lines().count());
    // One line, one item, one error somewhere in it.
    let text = format!("let x = [{} $ 1]", "1, ".repeat(350_000));
    assert_eq!(codes(&text), ["E0101"]);
    // Nothing but closers, nothing but quotes, nothing but garbage.
    for piece in [
        ")", "}", "\"", "'", "\0", "$ ", "let ", "(\n", "{\n", "if ", "\"{",
    ] {
        let (_, diagnostics) = parse(&piece.repeat(200_000 / piece.len()));
        assert!(!diagnostics.is_empty());
    }
}

#[test]
fn odd_bytes() {
    assert_eq!(codes("let a = 1\0\nlet b = 2"), ["E0101"]);
    assert_eq!(
        codes("let a = 1 \0\0\0\0 + 2\r\nlet b = \u{1}2"),
        ["E0101", "E0101"]
    );
    assert_eq!(codes("\u{feff}let a = 1\r\n\r\nlet b = a\r\n"), [""; 0]);
    assert_eq!(codes("let a = 1\u{feff}"), ["E0101"]);
    assert_eq!(codes(""), [""; 0]);
    assert_eq!(codes("\n\r\n  \t# only a comment"), [""; 0]);
    assert_eq!(codes("let größe = 3; let x_1 = größe"), [""; 0]);
    let (_, diagnostics) = parse(&"$ \n".repeat(1000));
    assert_eq!(diagnostics.len(), 20);
    let (script, _) = parse("\u{feff}## Doc.\r\n## More.\r\n\r\nlet a = 1\r\n");
    assert_eq!(script.doc.as_deref(), Some("Doc.\nMore."));
}

#[test]
fn planted_errors_are_reported_once_each() {
    let base = scripts().join("\n");
    assert_eq!(codes(&base), [""; 0]);
    for (from, to, code) in [
        ("param c: [D] = 0", "param c: [D] = ", "E0110"),
        ("sigmoid(W @ x + b)", "sigmoid(W @ x + b", "E0111"),
        ("let (train_x, test_x) =", "let (train_x test_x) =", "E0110"),
        ("  epochs    = 40", "  epochs    40", "E0110"),
        ("use optim", "use 3", "E0110"),
        ("for h in hyps", "for h of hyps", "E0110"),
        (
            "plot.grid([test_x[0..10]",
            "plot.grid([test_x[0..10",
            "E0111",
        ),
        ("if i <= k then i else", "if i <= k then i els", "E0110"),
    ] {
        let text = base.replacen(from, to, 1);
        assert_ne!(text, base, "{from}");
        assert_eq!(codes(&text), [code], "{to}");
    }
}

#[test]
fn at_most_three_syntax_errors_per_item() {
    let body = "  let = 1\n".repeat(50);
    assert_eq!(
        codes(&format!("fn f(x) {{\n{body}  x\n}}\nlet = 2")).len(),
        4
    );
}

#[test]
fn repl_waits_while_something_is_open() {
    let incomplete = [
        "f(1,",
        "model M(D) {",
        "let x =",
        "x +",
        "a |>",
        "if c then a else",
        "fn f(x) {\n  let y = x",
        "[1, 2,\n\n",
        "fn x ->",
    ];
    for text in incomplete {
        assert!(
            matches!(parse_repl(FileId(0), text), ReplInput::Incomplete),
            "{text}"
        );
    }
    for (text, errors) in [
        ("x", 0),
        ("f(1)]", 1),
        ("let x = 1; x", 0),
        ("", 0),
        ("f(]", 1),
        ("print\n", 1),
        ("x +\n", 1),
        ("\"abc", 1),
        ("let a = (\nlet b = 1", 1),
    ] {
        match parse_repl(FileId(0), text) {
            ReplInput::Complete(_, diagnostics) => assert_eq!(diagnostics.len(), errors, "{text}"),
            ReplInput::Incomplete => panic!("{text} is complete"),
        }
    }
}

#[test]
fn one_expression() {
    assert!(matches!(
        parse_expr(FileId(0), "1 + x").map(|e| e.kind),
        Ok(ExprKind::Binary { .. })
    ));
    assert!(matches!(
        parse_expr(FileId(0), "\n  f(x)\n").map(|e| e.kind),
        Ok(ExprKind::Call { .. })
    ));
    for text in ["", "1 +", "let x = 1", "a b", "x\ny", "_"] {
        assert!(parse_expr(FileId(0), text).is_err(), "{text}");
    }
}

#[test]
fn spans_are_those_of_the_file() {
    let text = "let s = \"a {f(xyz):.2} b\"\n";
    let (script, _) = parse(text);
    let shown = format!("{script:?}");
    let at = text.find("xyz").expect("there");
    assert!(shown.contains(&format!("0:{at}..{}", at + 3)), "{shown}");
    let (script, _) = parse("\u{feff}abc");
    assert_eq!(
        (script.items[0].span.start, script.items[0].span.end),
        (3, 6)
    );
}

fn sample(sources: &mut SourceMap) -> Diagnostic {
    let a = sources.add(
        "a.ae",
        "model A(D) {\n  encoder(x: [D]) = sigmoid(W @ x + b)\n}\n",
    );
    let b = sources.add("b.ae", "let é = A(64)\n");
    let at = |id: FileId, start: usize, end: usize| Span::new(id, start, end);
    Diagnostic::error("E0301", at(a, 41, 42), "sizes do not match in `W @ x`")
        .here("[H, H]: declared here")
        .label(at(a, 45, 46), "[D]: D = 64")
        .label(at(b, 9, 14), "from here")
        .help("`param W: [H, D]` would make this product [H]")
        .note("a fact")
}

#[test]
fn rendering_names_every_file() {
    let mut sources = SourceMap::new();
    let diagnostic = sample(&mut sources);
    let wanted = "\
error[E0301]: sizes do not match in `W @ x`
 --> a.ae:2:29
  |
2 |   encoder(x: [D]) = sigmoid(W @ x + b)
  |                             ^   - [D]: D = 64
  |                             |
  |                             [H, H]: declared here
  |
 ::: b.ae:1:9
  |
1 | let é = A(64)
  |         ----- from here
  |
  = help: `param W: [H, D]` would make this product [H]
  = note: a fact
";
    assert_eq!(render(&sources, &diagnostic, Style::PLAIN), wanted);
    assert!(
        render(
            &sources,
            &diagnostic,
            Style {
                color: true,
                width: 100
            }
        )
        .contains('\u{1b}')
    );
}

#[test]
fn json_has_stable_fields() {
    let mut sources = SourceMap::new();
    let diagnostic =
        sample(&mut sources).help_edit("do \"this\"", Span::new(FileId(1), 0, 3), "x\n");
    let json = render_json(&sources, &diagnostic);
    for part in [
        "{\"severity\":\"error\",\"code\":\"E0301\",\"message\":\"sizes do not match in `W @ x`\",\"file\":\"a.ae\",\"line\":2,\"column\":29,\"end_line\":2,\"end_column\":30,\"labels\":[",
        "{\"file\":\"b.ae\",\"line\":1,\"column\":9,\"end_line\":1,\"end_column\":14,\"start\":9,\"end\":14,\"text\":\"from here\",\"primary\":false}]",
        "{\"text\":\"do \\\"this\\\"\",\"edit\":{\"file\":\"b.ae\",\"line\":1,\"column\":1,\"end_line\":1,\"end_column\":4,\"start\":0,\"end\":3,\"replacement\":\"x\\n\"}}],\"notes\":[\"a fact\"]}",
    ] {
        assert!(json.contains(part), "{part}\nin {json}");
    }
    assert!(!json.contains('\n'));
}

#[test]
fn any_span_can_be_rendered() {
    let mut sources = SourceMap::new();
    let text = "let é = 1\r\n\tαβγ\0\u{1b}[31m\nend";
    let id = sources.add("x.ae", text);
    let empty = sources.add("empty.ae", "");
    let long = sources.add("long.ae", &"x + ".repeat(500));
    let files = [id, empty, long, FileId(99), Span::NONE.file];
    let offsets = [
        0,
        1,
        4,
        5,
        6,
        10,
        13,
        14,
        20,
        24,
        30,
        1000,
        399_999,
        u32::MAX,
    ];
    for file in files {
        for start in offsets {
            for end in offsets {
                let span = Span { file, start, end };
                let mut diagnostic = Diagnostic::error("E0000", span, "m").here("h");
                diagnostic.labels.push(Label {
                    span: Span {
                        file: id,
                        start: end,
                        end: start,
                    },
                    text: "t".into(),
                    primary: false,
                });
                assert!(
                    render(
                        &sources,
                        &diagnostic,
                        Style {
                            color: false,
                            width: 0
                        }
                    )
                    .contains("E0000")
                );
                render_json(&sources, &diagnostic);
            }
        }
    }
    let nowhere = Diagnostic::warning("W0001", Span::NONE, "made by the compiler").note("n");
    let shown = render(&sources, &nowhere, Style::PLAIN);
    assert!(
        shown.starts_with("warning[W0001]: made by the compiler\n") && shown.contains("= note: n"),
        "{shown}"
    );
}

#[test]
fn comments_keep_their_places() {
    let text = "# a\nlet x = 1 ## b\n## c\nlet y = [ # d\n  1]";
    let (_, _, comments) = aec_syntax::parse_script_with_comments(FileId(0), text);
    let seen: Vec<_> = comments
        .iter()
        .map(|c| (&*c.text, c.doc, c.own_line, c.span.start))
        .collect();
    assert_eq!(
        seen,
        [
            ("# a", false, true, 0),
            ("## b", true, false, 14),
            ("## c", true, true, 19),
            ("# d", false, false, 34)
        ]
    );
}

#[test]
fn every_code_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let mut used = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("in the repository") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        used.extend(codes(&text));
    }
    used.insert("E0125");
    let explained: std::collections::BTreeSet<&str> = aec_syntax::codes::pages()
        .map(|page| page.code)
        .filter(|code| code.starts_with("E01"))
        .collect();
    assert_eq!(used, explained);
}
