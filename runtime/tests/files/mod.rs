//! Files of every format, made byte by byte.

#![allow(dead_code)]

use std::io::Write;

/// As gzip.
pub fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file.
pub fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, kind, dims.len() as u8];
    dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend(data);
    out
}

/// An NPY file.
pub fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// Little-endian f32.
pub fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A zip archive of one stored and one deflated array.
pub fn archive() -> Vec<u8> {
    let array = npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        &floats(&[1., 2.]),
    );
    let mut sum = flate2::Crc::new();
    sum.update(&array);
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&array).unwrap();
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, method, data) in [
        ("a.npy", 0u16, array.clone()),
        ("b.npy", 8, packed.finish().unwrap()),
    ] {
        let at = out.len() as u32;
        let mut common = Vec::new();
        for word in [20u16, 0, method, 0, 0] {
            common.extend(word.to_le_bytes());
        }
        common.extend(sum.sum().to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((array.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(&data);
        central.extend(b"PK\x01\x02\x14\x00");
        central.extend(&common);
        central.extend([0; 10]);
        central.extend(at.to_le_bytes());
        central.extend(name.as_bytes());
    }
    let (start, size) = (out.len() as u32, central.len() as u32);
    out.extend(&central);
    out.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A JPEG of 64 by 64 grey pixels, each of level 192: quantisation by 8, and a Huffman code of one
/// bit for no change and for no detail. Only the first block's level is said, as 64 times 8.
pub fn jpeg(height: u16, width: u16) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    let mut part = |marker: u8, body: &[u8]| {
        out.extend([0xff, marker]);
        out.extend((body.len() as u16 + 2).to_be_bytes());
        out.extend(body);
    };
    part(0xdb, &[&[0][..], &[8; 64]].concat());
    let (h, w) = (height.to_be_bytes(), width.to_be_bytes());
    part(0xc0, &[8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0]);
    // Lengths of codes 1 to 16, then what they mean: category 0, and category 7 of DC.
    part(0xc4, &[&[0x00, 1, 1][..], &[0; 14], &[0, 7]].concat());
    part(0xc4, &[&[0x10, 1, 0][..], &[0; 14], &[0]].concat());
    part(0xda, &[1, 1, 0, 0, 63, 0]);
    // `10` and 64 in seven bits; then two zero bits for each block, AC of the first included.
    out.extend([0b1010_0000, 0b0000_0000]);
    out.extend([0; 15]);
    out.extend([0xff, 0xd9]);
    out
}

/// A PNG of `height` by `width` grey pixels, each of level 51, whose header says `says`.
pub fn png(height: u32, width: u32, says: Option<(u32, u32)>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&vec![51; (height * width) as usize])
        .unwrap();
    writer.finish().unwrap();
    if let Some((h, w)) = says {
        // The header's chunk: 4 bytes of name from 12, then width and height, then its check sum.
        out[16..20].copy_from_slice(&w.to_be_bytes());
        out[20..24].copy_from_slice(&h.to_be_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(&out[12..29]);
        out[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    }
    out
}

/// A safetensors file with one tensor of two f32.
pub fn safetensors(header: &str, length: Option<u64>) -> Vec<u8> {
    let mut out = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(floats(&[1.0, 2.0]));
    out
}
