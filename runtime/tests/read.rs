//! Readers on good files and on every kind of bad one.

use std::fs;
use std::path::{Path, PathBuf};

mod files;

use aec_runtime::read::{IdxData, ReadError, read_columns, read_csv, read_idx, read_npy, read_npz};
use aec_runtime::{Data, Elem};
use files::{archive, floats, idx, npy, zipped};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn put(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn csv_error(text: &str) -> ReadError {
    let dir = folder();
    read_csv(&put(&dir, "t.csv", text.as_bytes())).unwrap_err()
}

#[test]
fn a_table_with_header_and_gaps() {
    let dir = folder();
    let text = "\u{feff}age, height ,x\r\n1,2.5,-3e2\n\nNA,,7\n\" 4 \",5,nan\n";
    for path in [
        put(&dir, "t.csv", text.as_bytes()),
        put(&dir, "t.csv.gz", &zipped(text.as_bytes())),
    ] {
        let table = read_csv(&path).unwrap();
        assert_eq!(table.header.as_deref().unwrap(), ["age", "height", "x"]);
        assert_eq!((table.rows, table.cols), (3, 3));
        assert_eq!(table.observed, [1, 1, 1, 0, 0, 1, 1, 1, 0]);
        assert_eq!(table.values[..3], [1.0, 2.5, -300.0]);
        assert!(table.values[3].is_nan() && table.values[8].is_nan());
        assert!(table.any_missing());
        assert_eq!(table.tensor(Elem::F32).dims(), [3, 3]);
        assert_eq!(
            table.mask().data(),
            &Data::Bool(vec![1, 1, 1, 0, 0, 1, 1, 1, 0])
        );
    }
}

#[test]
fn tables_without_header_and_with_other_separators() {
    let dir = folder();
    let table = read_csv(&put(&dir, "a.csv", b"1,2\n3,4")).unwrap();
    assert_eq!(
        (table.header, table.values),
        (None, vec![1.0, 2.0, 3.0, 4.0])
    );
    let table = read_csv(&put(&dir, "b.tsv", b"a\tb\n3\t4\n")).unwrap();
    assert_eq!((table.rows, table.values), (1, vec![3.0, 4.0]));
    let table = read_csv(&put(&dir, "c.csv", b"1;2\n3;\n")).unwrap();
    assert_eq!((table.rows, table.observed), (2, vec![1, 1, 1, 0]));
    let table = read_csv(&put(&dir, "d.csv", b",NA\n1,2\n")).unwrap();
    assert_eq!((table.rows, table.header), (2, None));
}

#[test]
fn bad_tables_name_line_and_column() {
    let ragged = csv_error("a,b\n1,2\n3\n");
    assert_eq!(ragged.line, Some(3));
    assert_eq!(
        ragged.message,
        "this line has 1 cell, the first has 2 cells"
    );
    let word = csv_error("a,b\n1,2\n3,abc\n");
    assert_eq!(word.line, Some(3));
    assert_eq!(word.message, "column 2 (b): `abc` is not a number");
    let mixed = csv_error("a,1\n1,2\n");
    assert_eq!(
        (mixed.line, mixed.message.as_str()),
        (Some(1), "column 1: `a` is not a number")
    );
    assert!(mixed.help.unwrap().contains("header"));
    let blanks = csv_error("a,b\n\n\n1,x y\n");
    assert_eq!(blanks.line, Some(4));
    assert_eq!(csv_error("").message, "the file is empty");
    assert_eq!(
        csv_error("a,b\n").message,
        "there are no rows below the header"
    );
    let dir = folder();
    let bytes = read_csv(&put(&dir, "t.csv", b"1,2\n3,\xff\x00\n")).unwrap_err();
    assert_eq!(bytes.line, Some(2));
    assert!(bytes.to_string().contains("t.csv:2: column 2"), "{bytes}");
    let help = |text: &str| csv_error(text).help.unwrap();
    assert!(help("a;b\n1,5;2\n").contains("point"));
    assert!(help("a b\n1 2\n").contains("blanks"));
}

#[test]
fn tables_in_other_writings_are_refused_alike() {
    let dir = folder();
    let utf16: Vec<u8> = "\u{feff}a\tb\n1\t2\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let path = put(&dir, "u.csv", &utf16);
    let messages = [
        read_csv(&path).unwrap_err().message,
        read_columns(&path).unwrap_err().message,
    ];
    assert_eq!(messages, ["the table is in UTF-16"; 2]);
    for number in ["inf", "1e400"] {
        let path = put(&dir, "n.csv", format!("a,b\n1,2\n3,{number}\n").as_bytes());
        let message = format!("column 2 (b): `{number}` is not a finite number");
        assert_eq!(read_csv(&path).unwrap_err().message, message);
        let columns = read_columns(&path).unwrap_err();
        assert_eq!((columns.message, columns.line), (message, Some(3)));
    }
}

#[test]
fn files_that_cannot_be_opened() {
    let dir = folder();
    let absent = dir.path().join("absent.csv");
    assert!(
        read_csv(&absent)
            .unwrap_err()
            .message
            .contains("no such file")
    );
    assert!(
        read_idx(&absent)
            .unwrap_err()
            .to_string()
            .contains("absent.csv")
    );
    assert!(read_csv(dir.path()).unwrap_err().message.contains("folder"));
    assert!(
        read_csv(Path::new("absent.csv"))
            .unwrap_err()
            .help
            .unwrap()
            .contains("current folder")
    );
    let fake = put(&dir, "t.csv.gz", b"1,2\n");
    assert!(
        read_csv(&fake)
            .unwrap_err()
            .message
            .contains("no gzip file")
    );
    let mut torn = zipped(&b"1,2\n".repeat(1000));
    torn.truncate(torn.len() - 9);
    assert!(
        read_csv(&put(&dir, "torn.gz", &torn))
            .unwrap_err()
            .message
            .contains("too early")
    );
    let mut bad = zipped(&b"1,2\n".repeat(1000));
    let last = bad.len() - 5;
    bad[last] ^= 0xff;
    assert!(
        read_csv(&put(&dir, "bad.gz", &bad))
            .unwrap_err()
            .message
            .contains("damaged")
    );
}

#[test]
fn idx_of_every_type() {
    let dir = folder();
    let read = |bytes: &[u8]| read_idx(&put(&dir, "x", bytes)).unwrap();
    let bytes = read(&idx(8, &[2, 3], &[0, 1, 2, 3, 4, 255]));
    assert_eq!(bytes.dims, [2, 3]);
    assert_eq!(bytes.data, IdxData::Bytes(vec![0, 1, 2, 3, 4, 255]));
    let scaled = bytes.clone().scaled();
    assert_eq!(
        scaled.as_f32().unwrap()[3..],
        [3.0 / 255.0, 4.0 / 255.0, 1.0]
    );
    assert_eq!(bytes.ints().get_i64(5), 255);
    assert_eq!(
        read(&idx(9, &[2], &[255, 1])).data,
        IdxData::Numbers(Data::I32(vec![-1, 1]))
    );
    assert_eq!(
        read(&idx(11, &[1], &[255, 254])).data,
        IdxData::Numbers(Data::I32(vec![-2]))
    );
    assert_eq!(
        read(&idx(12, &[1], &7i32.to_be_bytes())).ints().data(),
        &Data::I64(vec![7])
    );
    assert_eq!(
        read(&idx(13, &[1], &1.5f32.to_be_bytes()))
            .scaled()
            .as_f32()
            .unwrap(),
        [1.5]
    );
    assert_eq!(
        read(&idx(14, &[1], &2.5f64.to_be_bytes())).data,
        IdxData::Numbers(Data::F64(vec![2.5]))
    );
    assert_eq!(
        read(&idx(8, &[0, 28, 28], &[])).scaled().dims(),
        [0, 28, 28]
    );
    let packed = put(&dir, "x.gz", &zipped(&idx(8, &[2], &[9, 8])));
    assert_eq!(read_idx(&packed).unwrap().data, IdxData::Bytes(vec![9, 8]));
}

#[test]
fn every_truncation_of_an_idx_file_is_an_error() {
    let dir = folder();
    let whole = idx(8, &[3, 2, 2], &(0..12).collect::<Vec<u8>>());
    assert!(read_idx(&put(&dir, "x", &whole)).is_ok());
    for len in 0..whole.len() {
        for path in [
            put(&dir, "x", &whole[..len]),
            put(&dir, "x.gz", &zipped(&whole[..len])),
        ] {
            let error = read_idx(&path).unwrap_err();
            assert!(
                error.message.contains("ends within") || error.message.contains("promises"),
                "{error}"
            );
        }
    }
    let packed = zipped(&whole);
    for len in 0..packed.len() {
        assert!(
            read_idx(&put(&dir, "y.gz", &packed[..len])).is_err(),
            "{len} bytes of gzip"
        );
    }
    let mut longer = whole;
    longer.push(0);
    assert!(
        read_idx(&put(&dir, "x", &longer))
            .unwrap_err()
            .message
            .contains("has 13")
    );
    assert!(
        read_idx(&put(&dir, "x.gz", &zipped(&longer)))
            .unwrap_err()
            .message
            .contains("has more")
    );
}

#[test]
fn lying_idx_headers_cost_no_memory() {
    let dir = folder();
    for dims in [
        &[u32::MAX][..],
        &[u32::MAX, u32::MAX],
        &[u32::MAX; 4],
        &[0, u32::MAX, u32::MAX, u32::MAX, 5],
    ] {
        for kind in [8, 14] {
            for bytes in [
                idx(kind, dims, &[1, 2, 3]),
                zipped(&idx(kind, dims, &[1, 2, 3])),
            ] {
                assert!(
                    read_idx(&put(&dir, "x", &bytes))
                        .unwrap_err()
                        .message
                        .contains("promises")
                );
            }
        }
    }
    assert!(
        read_idx(&put(&dir, "x", &idx(8, &[], &[])))
            .unwrap_err()
            .message
            .contains("0 axes")
    );
    assert!(
        read_idx(&put(&dir, "x", &idx(10, &[1], &[1])))
            .unwrap_err()
            .message
            .contains("no IDX file")
    );
    assert!(
        read_idx(&put(&dir, "x", b"P5 28 28"))
            .unwrap_err()
            .message
            .contains("50 35 20 32")
    );
}

#[test]
fn numpy_arrays() {
    let dir = folder();
    let read = |bytes: &[u8]| read_npy(&put(&dir, "x.npy", bytes));
    let rows = npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",
        &floats(&[1., 2., 3., 4., 5., 6.]),
    );
    let tensor = read(&rows).unwrap();
    assert_eq!(
        (tensor.dims(), tensor.as_f32().unwrap()),
        (&[2, 3][..], &[1., 2., 3., 4., 5., 6.][..])
    );
    let columns = npy(
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
        &floats(&[1., 4., 2., 5., 3., 6.]),
    );
    assert_eq!(read(&columns).unwrap(), tensor);
    let scalar = npy(
        "{'descr': '>i8', 'fortran_order': False, 'shape': (), }",
        &5i64.to_be_bytes(),
    );
    assert_eq!(read(&scalar).unwrap().data(), &Data::I64(vec![5]));
    let halves = npy(
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }",
        &[0, 0x3c, 0, 0xc0, 1, 0],
    );
    assert_eq!(
        read(&halves).unwrap().as_f32().unwrap(),
        [1.0, -2.0, 2f32.powi(-24)]
    );
    let flags = npy(
        "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }",
        &[1, 0],
    );
    assert_eq!(read(&flags).unwrap().data(), &Data::Bool(vec![1, 0]));
    for len in 0..rows.len() {
        assert!(read(&rows[..len]).is_err());
    }
    let text = npy(
        "{'descr': '<U5', 'fortran_order': False, 'shape': (2,), }",
        &[],
    );
    assert!(read(&text).unwrap_err().message.contains("<U5"));
    let lie = npy(
        "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 9999999999999, 9999999999999), }",
        &[],
    );
    let _ = read(&lie);
    let lie = npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }",
        &[1],
    );
    assert!(read(&lie).unwrap_err().message.contains("promises"));
}

#[test]
fn arrays_of_several_pieces() {
    let dir = folder();
    // Elements are read 262,144 at a time.
    for count in [262_143, 262_144, 262_145, 600_001] {
        let ints: Vec<i64> = (0..count).map(|i| i * i - 7).collect();
        let bytes: Vec<u8> = ints.iter().flat_map(|v| v.to_be_bytes()).collect();
        let header = format!("{{'descr': '>i8', 'fortran_order': False, 'shape': ({count},), }}");
        let whole = npy(&header, &bytes);
        let read = |bytes: &[u8]| read_npy(&put(&dir, "x.npy", bytes));
        assert_eq!(read(&whole).unwrap().data(), &Data::I64(ints));
        for cut in [1, 8, 8 * 262_144] {
            if let Some(left) = bytes.len().checked_sub(cut) {
                let error = read(&whole[..whole.len() - cut]).unwrap_err();
                assert!(error.message.ends_with(&format!("the file has {left}")));
            }
        }
    }
}

#[test]
fn numpy_archives() {
    let dir = folder();
    let whole = archive();
    let arrays = read_npz(&put(&dir, "x.npz", &whole)).unwrap();
    let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        arrays
            .iter()
            .all(|(_, tensor)| tensor.as_f32() == Some(&[1., 2.][..]))
    );
    for len in 0..whole.len() {
        assert!(read_npz(&put(&dir, "x.npz", &whole[..len])).is_err());
    }
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x81;
        // What the check sums cover cannot be changed unseen; the rest must not be a panic.
        if let Ok(all) = read_npz(&put(&dir, "x.npz", &bad)) {
            assert!(
                all.iter()
                    .all(|(_, tensor)| tensor.as_f32() == Some(&[1., 2.][..]))
            );
        }
    }
}
