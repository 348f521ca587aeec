//! A scene as SVG.

use std::fmt::Write as _;

use super::scene::{Anchor, Color, Item, Scene};

/// The file's text. Letters are the reader's own sans serif.
pub(super) fn text(scene: &Scene) -> String {
    let (width, height) = (number(scene.width), number(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for item in &scene.items {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", shape(item));
    }
    out.push_str("</svg>\n");
    out
}

fn shape(item: &Item) -> String {
    match item {
        Item::Rect {
            x,
            y,
            width,
            height,
            color,
        } => format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {}/>",
            number(*x),
            number(*y),
            number(*width),
            number(*height),
            paint("fill", *color)
        ),
        Item::Line {
            points,
            width,
            color,
        } => {
            let points: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{},{}", number(*x), number(*y)))
                .collect();
            format!(
                "<polyline points=\"{}\" fill=\"none\" stroke-width=\"{}\" \
                 stroke-linejoin=\"round\" stroke-linecap=\"round\" {}/>",
                points.join(" "),
                number(*width),
                paint("stroke", *color)
            )
        }
        Item::Circle {
            x,
            y,
            radius,
            color,
        } => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {}/>",
            number(*x),
            number(*y),
            number(*radius),
            paint("fill", *color)
        ),
        Item::Text {
            x,
            y,
            text,
            size,
            anchor,
            up,
            color,
        } => {
            let (x, y) = (number(*x), number(*y));
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let turned = match up {
                true => format!(" transform=\"rotate(-90 {x} {y})\""),
                false => String::new(),
            };
            format!(
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{anchor}\" {}{turned}>{}</text>",
                number(*size),
                paint("fill", *color),
                escaped(text)
            )
        }
    }
}

fn paint(what: &str, Color(r, g, b, opacity): Color) -> String {
    let opacity = match opacity {
        255 => String::new(),
        opacity => format!(" {what}-opacity=\"{:.2}\"", f64::from(opacity) / 255.0),
    };
    format!("{what}=\"#{r:02x}{g:02x}{b:02x}\"{opacity}")
}

/// Two decimals, without zeros at the end.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    // A control character has no place in XML.
    text.replace('>', "&gt;")
        .replace(|letter: char| letter.is_control(), " ")
}
