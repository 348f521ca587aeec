//! Files that lie, in every format: cut off, with counts that no file has, of another kind, not
//! text, very wide. Each is an error that names the file and says what is wrong with it, or data
//! that are right, and none costs more memory than the file is worth.

// The counting allocator.
#![allow(unsafe_code)]

mod files;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aec_runtime::read::{
    Encoding, ReadError, Stored, read_columns, read_csv, read_idx, read_npy, read_npz,
    read_picture, read_text,
};
use aec_runtime::write::load_weights;
use aec_runtime::{Elem, Tensor};
use files::{archive, floats, idx, jpeg, npy, png, safetensors, zipped};

/// The system's allocator, counting what is in use and its peak.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// One test at a time, as memory is counted for all threads together.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise on `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise on `at` and `layout` is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Most bytes that reading a small file may take beyond what it holds: buffers of the readers and
/// of the decompressors.
const ROOM: usize = 4 << 20;

/// All rows of a file that they stay in, as numbers.
fn stored(path: &Path) -> Result<Vec<f64>, ReadError> {
    let stored = Stored::open(path, Elem::F32)?;
    let rows: Vec<usize> = (0..stored.rows()).collect();
    Ok(stored.read(&rows)?.to_f64_vec())
}

/// Everything that a reader gives, as numbers.
type Read = fn(&Path) -> Result<Vec<f64>, ReadError>;

/// A format: a file's name, how it is read, and good files of it.
struct Format {
    name: &'static str,
    read: Read,
    good: Vec<u8>,
    /// Files whose header promises what is not there, or too much of it.
    lies: Vec<Vec<u8>>,
    /// Whether a part of a file can be a whole file: text, and what may lack its end mark.
    parts: bool,
}

fn all(tensors: &[(String, Tensor)]) -> Vec<f64> {
    tensors.iter().flat_map(|(_, t)| t.to_f64_vec()).collect()
}

fn formats() -> Vec<Format> {
    let array = |shape: &str, order: &str| {
        let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}, }}");
        npy(&header, &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    };
    let tables = "a,b\n1,2\n3,4.5\n5,6\n7,8\n".as_bytes().to_vec();
    let words = "size,colour\n1,red\n2,blue\n,red\n4,\n5,\"dark green\"\n"
        .as_bytes()
        .to_vec();
    let bytes = idx(8, &[3, 2, 2], &(0..12).collect::<Vec<u8>>());
    let big = u32::MAX;
    let idx_lies = vec![
        idx(8, &[big], &[1, 2, 3]),
        idx(14, &[big, big, big, big], &[1, 2, 3]),
        idx(13, &[1 << 30, 1 << 30], &[1, 2, 3]),
        zipped(&idx(8, &[big, big], &[1, 2, 3])),
    ];
    let npy_lies = || {
        vec![
            array("(1152921504606846976,)", "False"),
            array("(1073741824, 1073741824)", "False"),
            array("(1152921504606846976, 1152921504606846976)", "True"),
            array("(-1,)", "False"),
            npy(
                "{'descr': '<U99', 'fortran_order': False, 'shape': (2,), }",
                &[0; 64],
            ),
            npy("{", &[]),
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'".to_vec(),
        ]
    };
    let tensor = |shape: &str, end: &str| {
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}")
    };
    vec![
        Format {
            name: "t.csv",
            read: |path| read_csv(path).map(|table| table.values),
            good: tables.clone(),
            lies: vec![b"a,b\n1,1e999\n".to_vec(), b"a\n\"1\n2\n".to_vec()],
            parts: true,
        },
        Format {
            name: "t.csv.gz",
            read: |path| read_csv(path).map(|table| table.values),
            good: zipped(&tables),
            lies: vec![zipped(b"a,b\n1,2,3\n")],
            parts: false,
        },
        Format {
            name: "words.csv",
            read: |path| {
                let columns = read_columns(path)?;
                Ok(columns
                    .into_iter()
                    .flat_map(|column| column.values)
                    .collect())
            },
            good: words,
            lies: vec![b"a,b\nx,2\ny\n".to_vec()],
            parts: true,
        },
        Format {
            name: "t.idx",
            read: |path| read_idx(path).map(|idx| idx.scaled().to_f64_vec()),
            good: bytes.clone(),
            lies: idx_lies,
            parts: false,
        },
        Format {
            name: "t.idx.gz",
            read: |path| read_idx(path).map(|idx| idx.scaled().to_f64_vec()),
            good: zipped(&bytes),
            lies: vec![zipped(&[])],
            parts: false,
        },
        Format {
            name: "t.npy",
            read: |path| read_npy(path).map(|tensor| tensor.to_f64_vec()),
            good: array("(2, 3)", "False"),
            lies: npy_lies(),
            parts: false,
        },
        Format {
            name: "stored.npy",
            read: stored,
            good: array("(2, 3)", "False"),
            lies: [npy_lies(), vec![array("(2, 3)", "True")]].concat(),
            parts: false,
        },
        Format {
            name: "stored.idx.gz",
            read: stored,
            good: zipped(&bytes),
            lies: vec![zipped(&bytes[..bytes.len() - 1])],
            parts: false,
        },
        Format {
            name: "t.npz",
            read: |path| read_npz(path).map(|arrays| all(&arrays)),
            good: archive(),
            lies: vec![b"PK\x05\x06".to_vec(), {
                let mut lie = archive();
                let at = lie.len() - 22;
                lie[at + 10..at + 20].fill(0xff);
                lie
            }],
            parts: false,
        },
        Format {
            name: "t.png",
            read: |path| read_picture(path).map(|picture| picture.to_f64_vec()),
            good: png(40, 30, None),
            lies: vec![
                png(40, 30, Some((1 << 30, 1 << 30))),
                png(40, 30, Some((0x7fff_ffff, 1))),
                png(40, 30, Some((0, 30))),
                png(40, 30, Some((4000, 4000))),
            ],
            parts: false,
        },
        Format {
            name: "t.jpg",
            read: |path| read_picture(path).map(|picture| picture.to_f64_vec()),
            good: jpeg(64, 64),
            lies: vec![jpeg(u16::MAX, u16::MAX), jpeg(0, 64)],
            parts: false,
        },
        Format {
            name: "t.safetensors",
            read: |path| load_weights(path).map(|weights| all(&weights.tensors)),
            good: safetensors(&tensor("[2]", "8"), None),
            lies: vec![
                safetensors(&tensor("[2]", "8"), Some(1 << 60)),
                safetensors(&tensor("[1152921504606846976]", "8"), None),
                safetensors(&tensor("[2]", "1152921504606846976"), None),
                safetensors("[[[[", None),
            ],
            parts: false,
        },
        Format {
            name: "t.txt",
            read: |path| read_text(path, Encoding::Utf8).map(|text| vec![text.len() as f64]),
            good: "ein größerer Text\n".repeat(20).into_bytes(),
            lies: vec![b"one\ntwo \xff\n".to_vec()],
            parts: true,
        },
    ]
}

/// Reads a file of these bytes within the memory that it is worth.
fn read(format: &Format, folder: &Path, bytes: &[u8]) -> Result<Vec<f64>, ReadError> {
    let path = folder.join(format.name);
    std::fs::write(&path, bytes).unwrap();
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = (format.read)(&path);
    let taken = PEAK.load(Ordering::Relaxed) - before;
    let most = ROOM + 64 * bytes.len();
    assert!(
        taken < most,
        "{}: {taken} bytes for a file of {}",
        format.name,
        bytes.len()
    );
    if let Err(error) = &result {
        assert_eq!(error.path, path);
        assert!(error.message.len() > 10, "{error}");
        assert!(!error.message.ends_with('.'), "{error}");
    }
    result
}

#[test]
fn files_that_lie() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    for format in formats() {
        let name = format.name;
        let whole = read(&format, folder, &format.good).unwrap_or_else(|error| panic!("{error}"));
        assert!(!whole.is_empty(), "{name}");
        for length in (0..format.good.len()).step_by(7) {
            let cut = read(&format, folder, &format.good[..length]);
            match cut {
                Err(_) => {}
                // What is left of a text is a text; a picture may lack its end mark.
                Ok(part) => assert!(format.parts || part == whole, "{name} cut at {length}"),
            }
        }
        for (at, lie) in format.lies.iter().enumerate() {
            let error = read(&format, folder, lie);
            assert!(error.is_err(), "{name}, lie {at}: {error:?}");
        }
        // Another kind of file, an empty one, a folder, none at all.
        let noise: Vec<u8> = (0..4000u32).map(|i| ((i * i * 31) >> 3) as u8).collect();
        for other in [&noise[..], b"PK\x03\x04", b"\xff\xd8\xff", &[0; 100], &[]] {
            let result = read(&format, folder, other);
            let empty_text = name == "t.txt" && std::str::from_utf8(other).is_ok();
            assert!(
                result.is_err() || empty_text,
                "{name}: {:?}",
                &other[..other.len().min(9)]
            );
        }
        let inside = folder.join("folder");
        std::fs::create_dir_all(&inside).unwrap();
        let error = (format.read)(&inside).unwrap_err();
        assert!(error.message.contains("folder"), "{name}: {error}");
        let error = (format.read)(Path::new("/dev/zero")).unwrap_err();
        assert!(error.message.contains("device"), "{name}: {error}");
        let error = (format.read)(&folder.join("absent")).unwrap_err();
        assert!(error.message.contains("no such file"), "{name}: {error}");
    }
}

#[test]
fn what_the_good_files_hold() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let value = |name: &str| {
        let formats = formats();
        let format = formats.iter().find(|format| format.name == name).unwrap();
        read(format, dir.path(), &format.good).unwrap()
    };
    assert_eq!(value("t.csv"), [1.0, 2.0, 3.0, 4.5, 5.0, 6.0, 7.0, 8.0]);
    // Numbers, 0 for the hole; blue, dark green, red.
    assert_eq!(
        value("words.csv"),
        [1.0, 2.0, 0.0, 4.0, 5.0, 2.0, 0.0, 2.0, 0.0, 1.0]
    );
    assert_eq!(value("stored.npy"), value("t.npy"));
    assert_eq!(value("t.png"), vec![f64::from(51.0f32 / 255.0); 40 * 30]);
    assert_eq!(value("t.jpg"), vec![f64::from(192.0f32 / 255.0); 64 * 64]);
}

#[test]
fn a_hundred_thousand_columns() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wide.csv");
    let line = |cell: fn(usize) -> String| {
        let cells: Vec<String> = (0..100_000).map(cell).collect();
        cells.join(",") + "\n"
    };
    let text = line(|at| format!("c{at}")) + &line(|at| at.to_string()) + &line(|_| "x".into());
    std::fs::write(&path, &text).unwrap();
    let error = read_csv(&path).unwrap_err();
    assert_eq!(error.line, Some(3));
    assert!(error.message.contains("column 1 (c0)"), "{error}");
    assert_eq!(read_columns(&path).unwrap().len(), 100_000);
    std::fs::write(&path, text.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();
    let table = read_csv(&path).unwrap();
    assert_eq!(
        (table.rows, table.cols, table.values[99_999]),
        (1, 100_000, 99_999.0)
    );
}
