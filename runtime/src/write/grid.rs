//! Grids of small pictures as PNG: originals above reconstructions, samples, filters.

use std::io;
use std::path::Path;

use super::{WriteError, write_atomic};
use crate::Tensor;

/// Grids are enlarged until they are about this wide.
const WIDTH_WANTED: usize = 400;
/// Most pixels of a grid.
const MOST_PIXELS: usize = 1 << 28;
/// Grey of the lines between cells.
const BACKGROUND: u8 = 96;

/// A picture: row-major, channels innermost, values from 0 (black) to 1.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// `height * width * channels` values.
    pub pixels: Vec<f32>,
}

impl Image {
    /// One example as a picture: `[h, w]` is grey, `[h, w, 1]` and `[h, w, 3]` are as they say; a
    /// vector of n is a square if n or n / 3 is a square number, else one line of pixels.
    /// Other shapes are `None`.
    pub fn of(dims: &[usize], pixels: Vec<f32>) -> Option<Image> {
        if dims.iter().product::<usize>() != pixels.len() {
            return None;
        }
        let (height, width, channels) = match *dims {
            [height, width] => (height, width, 1),
            [height, width, channels @ (1 | 3)] => (height, width, channels),
            [n] => {
                let root = |n: usize| Some(n.isqrt()).filter(|side| side * side == n);
                match (root(n), root(n / 3).filter(|_| n.is_multiple_of(3))) {
                    (Some(side), _) => (side, side, 1),
                    (None, Some(side)) => (side, side, 3),
                    (None, None) => (1, n, 1),
                }
            }
            _ => return None,
        };
        Some(Image {
            height,
            width,
            channels,
            pixels,
        })
    }

    /// Each example along the first axis as a picture, by [`Image::of`].
    pub fn row(examples: &Tensor) -> Option<Vec<Image>> {
        let (&count, dims) = examples.dims().split_first()?;
        let size: usize = dims.iter().product();
        (0..count)
            .map(|at| {
                Image::of(
                    dims,
                    (at * size..(at + 1) * size)
                        .map(|i| examples.get_f64(i) as f32)
                        .collect(),
                )
            })
            .collect()
    }

    /// A pixel's channel as a byte; values outside 0..1 are clamped, NaN is black.
    fn byte(&self, y: usize, x: usize, channel: usize) -> u8 {
        let channel = if self.channels == 1 { 0 } else { channel };
        let value = self.pixels[(y * self.width + x) * self.channels + channel];
        // `as` saturates and takes NaN to 0.
        (value.clamp(0.0, 1.0) * 255.0).round() as u8
    }
}

/// Writes rows of pictures as one PNG, a line of background between and around the cells. Each
/// cell is as large as the largest picture. Pixels become squares of `scale`; 0 chooses the scale
/// so that the picture is about 400 wide.
pub fn write_grid(path: &Path, rows: &[Vec<Image>], scale: usize) -> Result<(), WriteError> {
    let all = || rows.iter().flatten();
    if all().any(|image| image.pixels.len() != image.height * image.width * image.channels) {
        return Err(WriteError::new(
            path,
            "a picture's number of values does not fit its size",
        ));
    }
    let cell_height = all().map(|image| image.height).max().unwrap_or(0);
    let cell_width = all().map(|image| image.width).max().unwrap_or(0);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if cell_height == 0 || cell_width == 0 {
        return Err(WriteError::new(path, "there is no picture to draw"));
    }
    let too_large = || WriteError::new(path, "the picture would be too large");
    let size =
        |count: usize, cell: usize| (cell.checked_add(1)?).checked_mul(count)?.checked_add(1);
    let height = size(rows.len(), cell_height).ok_or_else(too_large)?;
    let width = size(columns, cell_width).ok_or_else(too_large)?;
    let scale = if scale == 0 {
        WIDTH_WANTED.div_ceil(width)
    } else {
        scale
    };
    let area = (height.checked_mul(scale))
        .zip(width.checked_mul(scale))
        .and_then(|(h, w)| h.checked_mul(w));
    if area.is_none_or(|area| area > MOST_PIXELS) {
        return Err(too_large());
    }
    let channels = if all().any(|image| image.channels == 3) {
        3
    } else {
        1
    };
    let mut small = vec![BACKGROUND; height * width * channels];
    for (row, images) in rows.iter().enumerate() {
        for (column, image) in images.iter().enumerate() {
            let (top, left) = (row * (cell_height + 1) + 1, column * (cell_width + 1) + 1);
            for y in 0..image.height {
                for x in 0..image.width {
                    for channel in 0..channels {
                        small[((top + y) * width + left + x) * channels + channel] =
                            image.byte(y, x, channel);
                    }
                }
            }
        }
    }
    let mut large = Vec::with_capacity(small.len() * scale * scale);
    for line in small.chunks_exact(width * channels) {
        let start = large.len();
        for pixel in line.chunks_exact(channels) {
            for _ in 0..scale {
                large.extend_from_slice(pixel);
            }
        }
        let end = large.len();
        for _ in 1..scale {
            large.extend_from_within(start..end);
        }
    }
    write_atomic(path, |out| {
        let mut encoder = png::Encoder::new(out, (width * scale) as u32, (height * scale) as u32);
        encoder.set_color(if channels == 3 {
            png::ColorType::Rgb
        } else {
            png::ColorType::Grayscale
        });
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(io_error)?;
        writer.write_image_data(&large).map_err(io_error)?;
        writer.finish().map_err(io_error)
    })
}

fn io_error(error: png::EncodingError) -> io::Error {
    match error {
        png::EncodingError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
