//! Figures in their three forms.

use aec_runtime::plot::{Chart, Figure, Key, Kind, Node, Series, Tree};
use aec_runtime::read::read_picture;

fn series(name: &str, kind: Kind, points: &[(f64, f64)]) -> Series {
    Series {
        name: name.into(),
        kind,
        x: points.iter().map(|point| point.0).collect(),
        y: points.iter().map(|point| point.1).collect(),
        shade: None,
    }
}

fn curve() -> Chart {
    let points = |rate: f64| -> Vec<(f64, f64)> {
        (0..60)
            .map(|at| (f64::from(at), (-rate * f64::from(at)).exp() + 0.01))
            .collect()
    };
    Chart {
        title: "Loss".into(),
        x_name: "epoch".into(),
        y_name: "squared error".into(),
        y_log: true,
        series: vec![
            series("train", Kind::Line, &points(0.2)),
            series("validation", Kind::Line, &points(0.1)),
        ],
        ..Chart::default()
    }
}

fn parse() -> Tree {
    let node = |label: &str, children: &[usize]| Node {
        label: label.into(),
        children: children.to_vec(),
        ..Node::default()
    };
    Tree {
        title: String::new(),
        nodes: vec![
            node("", &[1, 2]),
            node("", &[3, 4]),
            node("sat", &[]),
            node("the", &[]),
            node("cat", &[]),
        ],
    }
}

#[test]
fn a_tree_as_text() {
    let text = Figure::Tree(parse()).text();
    assert_eq!(text, "·\n├─ ·\n│  ├─ the\n│  └─ cat\n└─ sat\n");
    assert!(parse().is_sound());
    let mut looped = parse();
    looped.nodes[1].children = vec![0];
    assert!(!looped.is_sound());
}

#[test]
fn bars_as_text() {
    let chart = Chart {
        series: vec![series("", Kind::Bars, &[(0.0, 3.0), (1.0, 1.5)])],
        bars: vec!["one".into(), "three".into()],
        ..Chart::default()
    };
    let text = Figure::Chart(chart).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("  one │{} 3", "█".repeat(48)));
    assert_eq!(lines[1], format!("three │{} 1.5", "█".repeat(24)));
}

#[test]
fn every_form_is_written_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let figures = [
        ("curve", Figure::Chart(curve()), "validation"),
        ("tree", Figure::Tree(parse()), "sat"),
    ];
    for (name, figure, text) in figures {
        let svg = dir.path().join(format!("{name}.svg"));
        figure.write(&svg).unwrap();
        let drawn = std::fs::read_to_string(&svg).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.contains(&format!(">{text}</text>")));
        assert!(figure.text().contains(text));
        let png = dir.path().join(format!("{name}.png"));
        figure.write(&png).unwrap();
        let picture = read_picture(&png).unwrap();
        let dark = picture.to_f64_vec().iter().filter(|v| **v < 0.5).count();
        assert!(picture.dims()[2] == 3 && dark > 100, "{name}: {dark}");
        let error = figure.write(&dir.path().join("x.bmp")).unwrap_err();
        assert!(error.message.contains(".png, .svg or .txt"));
    }
}

#[test]
fn strange_values_are_no_trouble() {
    let strange = [
        (0.0, f64::NAN),
        (f64::INFINITY, 1.0),
        (1.0, -1e300),
        (2.0, 1e300),
    ];
    for kind in [Kind::Line, Kind::Dots, Kind::Bars, Kind::Steps] {
        for points in [&strange[..], &[], &strange[2..3]] {
            for log in [false, true] {
                let chart = Chart {
                    title: "<&>\u{7}".into(),
                    x_log: log,
                    y_log: log,
                    series: vec![series("a", kind, points)],
                    key: Some(Key {
                        low: 0.0,
                        high: 1.0,
                    }),
                    ..Chart::default()
                };
                let dir = tempfile::tempdir().unwrap();
                let figure = Figure::Chart(chart);
                figure.text();
                figure.write(&dir.path().join("a.png")).unwrap();
                figure.write(&dir.path().join("a.svg")).unwrap();
            }
        }
    }
    let tree = Figure::Tree(Tree::default());
    assert_eq!(tree.text(), "");
}
