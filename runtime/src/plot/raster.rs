//! A scene as PNG: twice as many pixels as it has units, edges smoothed.

use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform,
};

use super::font::Font;
use super::scene::{Anchor, Color, Item, Scene};

/// Pixels of a unit.
const SCALE: f32 = 2.0;

/// Largest side of a picture in pixels.
const LARGEST: f64 = 16384.0;

/// The file's bytes.
pub(super) fn picture(scene: &Scene) -> Vec<u8> {
    let side = |units: f64| (units * f64::from(SCALE)).ceil().clamp(1.0, LARGEST) as u32;
    let (width, height) = (side(scene.width), side(scene.height));
    let Some(mut pixels) = Pixmap::new(width, height) else {
        return Vec::new();
    };
    pixels.fill(tiny_skia::Color::WHITE);
    let font = Font::open();
    for item in &scene.items {
        draw(&mut pixels, &font, item);
    }
    encoded(&pixels)
}

fn paint(Color(r, g, b, opacity): Color) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, opacity);
    paint.anti_alias = true;
    paint
}

fn draw(pixels: &mut Pixmap, font: &Font, item: &Item) {
    let scaled = Transform::from_scale(SCALE, SCALE);
    let mut fill = |path: Option<Path>, color: Color, place: Transform| {
        if let Some(path) = path {
            pixels.fill_path(&path, &paint(color), FillRule::Winding, place, None);
        }
    };
    match item {
        Item::Rect {
            x,
            y,
            width,
            height,
            color,
        } => {
            let rect = Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32);
            fill(rect.map(PathBuilder::from_rect), *color, scaled);
        }
        Item::Circle {
            x,
            y,
            radius,
            color,
        } => fill(
            PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32),
            *color,
            scaled,
        ),
        Item::Line {
            points,
            width,
            color,
        } => {
            let mut path = PathBuilder::new();
            for (at, (x, y)) in points.iter().enumerate() {
                match at {
                    0 => path.move_to(*x as f32, *y as f32),
                    _ => path.line_to(*x as f32, *y as f32),
                }
            }
            let stroke = Stroke {
                width: *width as f32,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                ..Stroke::default()
            };
            if let Some(path) = path.finish() {
                pixels.stroke_path(&path, &paint(*color), &stroke, scaled, None);
            }
        }
        Item::Text {
            x,
            y,
            text,
            size,
            anchor,
            up,
            color,
        } => {
            let before = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => -font.width(text, *size) / 2.0,
                Anchor::End => -font.width(text, *size),
            };
            let turned = if *up { -90.0 } else { 0.0 };
            let place = scaled
                .pre_translate(*x as f32, *y as f32)
                .pre_rotate(turned)
                .pre_translate(before as f32, 0.0);
            fill(font.outline(text, *size), *color, place);
        }
    }
}

/// The pixels, all opaque, as an RGB PNG.
fn encoded(pixels: &Pixmap) -> Vec<u8> {
    let rgb: Vec<u8> = pixels
        .data()
        .chunks_exact(4)
        .flat_map(|pixel| pixel[..3].iter().copied())
        .collect();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    // Into memory, with sizes that fit: neither step can fail.
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&rgb)?;
        writer.finish()
    });
    debug_assert!(written.is_ok());
    out
}
