//! Pictures: PNG and JPEG files, and folders of them.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{ReadError, open, read_up_to};
use crate::Tensor;

/// Most pixels of one picture: a header that promises more is taken for a lie.
const MOST_PIXELS: usize = 1 << 26;

/// Most bytes of a compressed picture.
const MOST_BYTES: u64 = 1 << 30;

/// A decoded picture: bytes row by row, channels innermost.
struct Picture {
    height: usize,
    width: usize,
    /// 1 for grey, 3 for red, green and blue.
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    /// A grey one as red, green and blue.
    fn colored(self) -> Picture {
        if self.channels == 3 {
            return self;
        }
        Picture {
            channels: 3,
            bytes: self.bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
            ..self
        }
    }

    fn dims(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// Reads a PNG or JPEG file (by its first bytes, whatever its name) as `[height, width, channels]`
/// with values from 0 to 1: one channel if it is grey, else three. Transparency is left out.
pub fn read_picture(path: &Path) -> Result<Tensor, ReadError> {
    let picture = decode(path)?;
    Ok(Tensor::f32(&picture.dims(), scaled(&picture.bytes)))
}

/// Pictures of one size, and the class of each if there are classes.
#[derive(Clone, PartialEq, Debug)]
pub struct Pictures {
    /// `[n, height, width, channels]`, values from 0 to 1.
    pub pixels: Tensor,
    /// The file of each.
    pub files: Vec<PathBuf>,
    /// Names of the folders that the pictures lie in, sorted; empty if they lie in `path` itself.
    pub classes: Vec<String>,
    /// The place of each picture's folder in `classes`.
    pub labels: Vec<i64>,
}

/// Reads all PNG and JPEG files of a folder in the order of their names; if it has none, those of
/// its folders, each of which is a class. All must have one size; if one has colour, all have.
pub fn read_pictures(path: &Path) -> Result<Pictures, ReadError> {
    let (files, folders) = listed(path)?;
    let (mut classes, mut labels) = (Vec::new(), Vec::new());
    let files = if files.is_empty() {
        let mut all = Vec::new();
        for folder in folders {
            let (inside, _) = listed(&folder)?;
            if inside.is_empty() {
                continue;
            }
            let name = folder.file_name().unwrap_or_default();
            labels.extend(std::iter::repeat_n(classes.len() as i64, inside.len()));
            classes.push(name.to_string_lossy().into_owned());
            all.extend(inside);
        }
        all
    } else {
        files
    };
    let Some(first) = files.first() else {
        return Err(ReadError::new(
            path,
            "there is no picture in this folder, nor in a folder in it",
        )
        .help("pictures are files whose names end in .png, .jpg or .jpeg"));
    };
    let mut all: Vec<Picture> = Vec::with_capacity(files.len());
    for file in &files {
        let picture = decode(file)?;
        if let Some(known) = all.first()
            && (picture.height, picture.width) != (known.height, known.width)
        {
            let message = format!(
                "this picture is {} x {}, but {} is {} x {}",
                picture.height,
                picture.width,
                first.display(),
                known.height,
                known.width
            );
            return Err(ReadError::new(file, message)
                .help("pictures of a folder become one tensor, so they need one size"));
        }
        all.push(picture);
    }
    if all.iter().any(|picture| picture.channels == 3) {
        all = all.into_iter().map(Picture::colored).collect();
    }
    let [height, width, channels] = all.first().map_or([0; 3], Picture::dims);
    let mut pixels = Vec::with_capacity(all.len() * height * width * channels);
    for picture in &all {
        pixels.extend(scaled(&picture.bytes));
    }
    Ok(Pictures {
        pixels: Tensor::f32(&[all.len(), height, width, channels], pixels),
        files,
        classes,
        labels,
    })
}

fn scaled(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

/// The pictures in a folder and the folders in it, each sorted by name.
fn listed(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ReadError> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotADirectory => {
            ReadError::new(path, "this is a file, not a folder of pictures")
                .help("`data.image` reads one picture")
        }
        _ => ReadError::io(path, &error),
    };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?.path();
        let ending = entry
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        if entry.is_dir() {
            folders.push(entry);
        } else if matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg")) {
            files.push(entry);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn decode(path: &Path) -> Result<Picture, ReadError> {
    let mut source = open(path)?;
    let bytes =
        read_up_to(&mut *source.reader, MOST_BYTES).map_err(|error| ReadError::io(path, &error))?;
    let picture = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => png(path, &bytes)?,
        [0xff, 0xd8, ..] => jpeg(path, &bytes)?,
        [] => return Err(ReadError::new(path, "the file is empty")),
        other => {
            let head: Vec<String> = other.iter().take(4).map(|b| format!("{b:02x}")).collect();
            return Err(ReadError::new(
                path,
                format!("is neither PNG nor JPEG: it begins with {}", head.join(" ")),
            ));
        }
    };
    if picture.bytes.len() != picture.height * picture.width * picture.channels {
        return Err(ReadError::new(path, "the picture ends too early"));
    }
    Ok(picture)
}

fn check_size(path: &Path, height: usize, width: usize) -> Result<(), ReadError> {
    match height.checked_mul(width) {
        Some(pixels @ 1..) if pixels <= MOST_PIXELS => Ok(()),
        _ => Err(ReadError::new(
            path,
            format!("the header promises {height} x {width} pixels"),
        )
        .help(format!(
            "pictures of 1 to {MOST_PIXELS} pixels are read; the header may be damaged"
        ))),
    }
}

fn png(path: &Path, bytes: &[u8]) -> Result<Picture, ReadError> {
    let damaged = |error: png::DecodingError| {
        ReadError::new(path, format!("is a damaged or truncated PNG ({error})"))
    };
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (height, width) = (reader.info().height as usize, reader.info().width as usize);
    check_size(path, height, width)?;
    let samples = reader.output_color_type().0.samples();
    // Grey, or grey and transparency; red, green, blue, or those and transparency.
    let channels = if samples < 3 { 1 } else { 3 };
    let opaque = |pixels: &[u8], out: &mut Vec<u8>| {
        for pixel in pixels.chunks_exact(samples) {
            out.extend_from_slice(&pixel[..channels]);
        }
    };
    let mut out = Vec::new();
    if reader.info().interlaced {
        let mut whole = vec![0; height * width * samples];
        reader.next_frame(&mut whole).map_err(damaged)?;
        opaque(&whole, &mut out);
    } else {
        // Row by row, so that memory follows what the file has, not what its header says.
        while let Some(row) = reader.next_row().map_err(damaged)? {
            opaque(row.data(), &mut out);
        }
    }
    Ok(Picture {
        height,
        width,
        channels,
        bytes: out,
    })
}

fn jpeg(path: &Path, bytes: &[u8]) -> Result<Picture, ReadError> {
    let damaged = |error: zune_jpeg::errors::DecodeErrors| {
        ReadError::new(path, format!("is a damaged or truncated JPEG ({error})"))
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MOST_PIXELS)
        .set_max_height(MOST_PIXELS);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let size = decoder.dimensions();
    let (width, height) =
        size.ok_or_else(|| ReadError::new(path, "the JPEG says nothing of its size"))?;
    check_size(path, height, width)?;
    let channels = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => 1,
        _ => 3,
    };
    let wanted = match channels {
        1 => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let bytes = decoder.decode().map_err(damaged)?;
    Ok(Picture {
        height,
        width,
        channels,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::{Image, write_grid};

    #[test]
    fn a_written_picture_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let image = Image::of(&[2, 2], vec![0.0, 1.0, 0.2, 0.4]).unwrap();
        write_grid(&path, &[vec![image]], 1).unwrap();
        let tensor = read_picture(&path).unwrap();
        assert_eq!(tensor.dims(), [4, 4, 1]);
        assert_eq!(tensor.get_f64(5), 0.0);
        assert_eq!(tensor.get_f64(6), 1.0);
        let all = read_pictures(folder.path()).unwrap();
        assert_eq!(all.pixels.dims(), [1, 4, 4, 1]);
        assert!(all.classes.is_empty());
    }
}
